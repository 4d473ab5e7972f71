"""A report's table as CSV: the same cells as on the page, suppressed alike, and safe to open in a spreadsheet."""

import csv
import io

from broker.audit.exporting import defuse_cell
from broker.reports.tables import ShownTable


def write_csv(table: ShownTable) -> str:
    """Return a table as CSV (RFC 4180): column titles, then rows; a text that a spreadsheet would run as a formula begins with an apostrophe."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([defuse_cell(column.title) for column in table.columns])
    writer.writerows([defuse_cell(cell.text) for cell in row] for row in table.rows)
    return out.getvalue()
