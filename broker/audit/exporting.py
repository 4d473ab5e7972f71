"""What a search finds, as a file: CSV that no spreadsheet takes for formulas, or JSON lines. Streamed, bounded, and of one state of the log."""

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import asdict, fields
from enum import StrEnum
from typing import Any, Final

import orjson

from broker.audit.plain import to_plain
from broker.audit.searching import FoundEvent, SearchPage

MAX_ROWS: Final = 100_000
PAGE_ROWS: Final = 2_000
FIRST_ROWS: Final = 200
"""Of the first page: a file begins at once, however long it is."""
_COLUMNS: Final = tuple(field.name for field in fields(FoundEvent))
_STARTS_A_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What spreadsheets read as a formula at the start of a cell (OWASP, CSV Injection); full-width signs count as their plain forms."""
_FULL_WIDTH: Final = str.maketrans("＝＋－＠", "=+-@")


class ExportFormat(StrEnum):
    """How a file is written."""

    CSV = "csv"
    JSON_LINES = "jsonl"


MEDIA_TYPES: Final = {
    ExportFormat.CSV: "text/csv; charset=utf-8; header=present",
    ExportFormat.JSON_LINES: "application/jsonl; charset=utf-8",
}
ReadPage = Callable[[str | None], Awaitable[SearchPage]]
"""Reads the page that begins at a cursor."""


def count_rows(cursor: str | None) -> int:
    """Return how many rows the page that begins at a cursor has; at none begins the first."""
    return FIRST_ROWS if cursor is None else PAGE_ROWS


async def write_export(read_page: ReadPage, form: ExportFormat, *, most: int = MAX_ROWS) -> AsyncIterator[bytes]:
    """Yield the file piece by piece. Where it stops at ``most`` rows, its last line says so."""
    if form is ExportFormat.CSV:
        yield write_csv_row(_COLUMNS)
    cursor, written = None, 0
    while True:
        page = await read_page(cursor)
        events = page.events[: most - written]
        written += len(events)
        yield b"".join(_write_event(event, form) for event in events)
        cursor = page.next_cursor
        if cursor is None:
            break
        if written >= most:
            yield _write_cut(form, most)
            break


def write_csv_row(values: Iterable[Any]) -> bytes:
    """Return one CSV line (RFC 4180): every cell quoted, and none of them a formula to a spreadsheet."""
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow([defuse_cell(value) for value in values])
    return line.getvalue().encode()


def defuse_cell(value: Any) -> str:
    """Return a cell's text; what a spreadsheet would run begins with an apostrophe instead."""
    if value is None:
        return ""
    text = str(to_plain(value))
    begins = text.lstrip(" ").translate(_FULL_WIDTH)
    return f"'{text}" if begins.startswith(_STARTS_A_FORMULA) else text


def _write_event(event: FoundEvent, form: ExportFormat) -> bytes:
    if form is ExportFormat.CSV:
        return write_csv_row(getattr(event, name) for name in _COLUMNS)
    return orjson.dumps(to_plain(asdict(event))) + b"\n"


def _write_cut(form: ExportFormat, most: int) -> bytes:
    words = f"Stopped after {most} rows. Narrow the search to export the rest."
    return write_csv_row([words]) if form is ExportFormat.CSV else orjson.dumps({"truncated": words}) + b"\n"
