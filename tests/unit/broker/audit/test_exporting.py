"""Files of what was found: no cell is a formula, the bound is told, each page is asked for once."""

import csv
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from broker.audit.exporting import ExportFormat, defuse_cell, write_csv_row, write_export
from broker.audit.projecting import ProjectionState
from broker.audit.searching import FoundEvent, SearchPage

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
STATE = ProjectionState("audit_events", 9, NOW, 9, NOW)


def event(position: int, **changes: Any) -> FoundEvent:
    members: dict[str, Any] = dict.fromkeys(FoundEvent.__dataclass_fields__)
    return FoundEvent(**(members | {"position": position, "at": NOW, "event": "decided"} | changes))


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "  =1", "＝1", "=HYPERLINK(x)", "-2+3+cmd|' /C calc'!A0"]
)
def test_what_a_spreadsheet_would_run_becomes_text(text: str) -> None:
    assert defuse_cell(text) == f"'{text}"
    (cell,) = next(csv.reader([write_csv_row([text]).decode()]))
    assert cell.startswith("'")


def test_plain_values_stay_as_they_are() -> None:
    assert defuse_cell(None) == ""
    assert defuse_cell(7) == "7"
    assert defuse_cell(NOW) == "2026-11-23T10:00:00+00:00"
    assert defuse_cell(UUID(int=1)) == "00000000-0000-0000-0000-000000000001"
    (row,) = csv.reader([write_csv_row(['a "quoted", cell', "police.marchshire"]).decode()])
    assert row == ['a "quoted", cell', "police.marchshire"]


async def produce(pages: int, form: ExportFormat, most: int) -> list[str]:
    asked: list[str | None] = []

    async def read_page(cursor: str | None) -> SearchPage:
        asked.append(cursor)
        number = int(cursor or 0)
        rows = tuple(event(100 - 2 * number - n, subject="=x") for n in range(2))
        return SearchPage(rows, str(number + 1) if number + 1 < pages else None, STATE, None)

    text = b"".join([piece async for piece in write_export(read_page, form, most=most)]).decode()
    assert asked == [None, *map(str, range(1, len(asked)))]
    return text.splitlines()


async def test_every_page_is_written_and_a_file_cut_short_says_so() -> None:
    whole = await produce(3, ExportFormat.CSV, 100)
    assert len(whole) == 1 + 6
    assert all('"\'=x"' in line for line in whole[1:])
    cut = await produce(3, ExportFormat.CSV, 3)
    assert len(cut) == 1 + 3 + 1
    assert "Stopped after 3 rows" in cut[-1]
    exact = await produce(2, ExportFormat.JSON_LINES, 4)
    assert len(exact) == 4
    assert "truncated" in (await produce(3, ExportFormat.JSON_LINES, 4))[-1]
