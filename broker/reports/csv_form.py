"""A report's table as CSV: the same cells as on the page, suppressed alike, and safe to open in a spreadsheet."""

import csv
import io
from typing import Final

from broker.reports.tables import ShownTable

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def write_csv(table: ShownTable) -> str:
    """Return a table as CSV (RFC 4180): column titles, then rows; a text that a spreadsheet would run as a formula begins with an apostrophe."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([make_safe(column.title) for column in table.columns])
    writer.writerows([make_safe(cell.text) for cell in row] for row in table.rows)
    return out.getvalue()


def make_safe(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
