"""Strict CSV (RFC 4180, or with the format's own delimiter): UTF-8, quotes doubled, one width, the columns of the format and no formula
(FORMATS CH-25)."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from adapters.mapping.limits import DOCUMENT, MAX_RECORDS, decode_document, is_blank
from schemas.errors import Rejected, TooLarge

HEADER = "(header)"
ROW = "(row)"
_MOST_CELLS = 2_000
_ALWAYS_FORMULA = ("=", "@", "\t", "\r")
_NUMBER_OR_TELEPHONE = re.compile(r"[+-]?[0-9][0-9 ().,-]*")


def parse_csv(data: bytes, delimiter: str = ",") -> tuple[list[str], list[list[str]]]:
    """Return the header and the data rows, each a list of raw cells.

    Lines with nothing in them are passed over, also those of delimiters alone, which spreadsheets leave below the last row.

    Args:
        data: the document.
        delimiter: the one character between cells.

    Raises:
        Rejected: not UTF-8, or a quote that is misplaced or never closed (the file was cut off).
    """
    rows: list[list[str]] = []
    written = 0
    for row in _split_rows(decode_document(data, allow_mark=True), delimiter):
        if not all(is_blank(cell) for cell in row):
            rows.append(row)
        written += row != [""]
        if written - 1 > MAX_RECORDS:
            raise TooLarge(f"there are more than {MAX_RECORDS} rows", field=DOCUMENT)
    if not rows:
        raise Rejected("there is no header line", field=HEADER)
    return rows[0], rows[1:]


def check_header(header: Sequence[str], columns: Sequence[str]) -> None:
    """Check that the header names the format's columns, each once, in any order.

    Raises:
        Rejected: a column is missing, unknown or there twice.
    """
    if len(header) != len(set(header)):
        raise Rejected("a column is there twice", field=HEADER)
    missing = [column for column in columns if column not in header]
    if missing:
        raise Rejected(f"columns are missing: {', '.join(missing)}", field=HEADER)
    if len(header) > len(columns):
        raise Rejected(f"columns that the format does not have: {len(header) - len(columns)}", field=HEADER)


def read_row(header: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """Return a row's cells by column, empty ones left out.

    Raises:
        Rejected: the row's width is not the header's, or a spreadsheet would run a cell.
    """
    if len(cells) != len(header):
        raise Rejected("the row has another number of cells than the header", field=ROW)
    for column, cell in zip(header, cells, strict=True):
        if is_formula(cell):
            raise Rejected("a cell that a spreadsheet would run", field=column)
    return {column: cell for column, cell in zip(header, cells, strict=True) if not is_blank(cell)}


def is_formula(cell: str) -> bool:
    """Return whether a spreadsheet would run the cell; ``+`` and ``-`` may begin a number or telephone number."""
    if cell.startswith(_ALWAYS_FORMULA):
        return True
    return cell.startswith(("+", "-")) and not _NUMBER_OR_TELEPHONE.fullmatch(cell.strip())


@lru_cache(maxsize=8)
def _make_patterns(delimiter: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of a quoted and of a plain cell."""
    mark = re.escape(delimiter)
    end = rf"(?={mark}|\r\n|\n|\r|$)"
    return re.compile(rf'"([^"]*(?:""[^"]*)*)"{end}'), re.compile(rf'[^"{mark}\r\n]*{end}')


def _split_rows(text: str, delimiter: str) -> Iterator[list[str]]:
    in_quotes, plain = _make_patterns(delimiter)
    position = 0
    row: list[str] = []
    while position < len(text):
        quoted = text[position] == '"'
        match = (in_quotes if quoted else plain).match(text, position)
        if match is None:
            raise Rejected("a quote is misplaced or never closed", field=DOCUMENT)
        if len(row) >= _MOST_CELLS:
            raise TooLarge(f"a row has more than {_MOST_CELLS} cells", field=ROW)
        row.append(match[1].replace('""', '"') if quoted else match[0])
        position = match.end()
        if text.startswith(delimiter, position):
            position += 1
            if position == len(text):
                row.append("")
            continue
        position += 2 if text.startswith("\r\n", position) else 1
        yield row
        row = []
    if row:
        yield row
