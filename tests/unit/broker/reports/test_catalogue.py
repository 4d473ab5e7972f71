"""Twenty reports, each complete as data: questions, measures, readings that exist; and the page that lists them is current."""

import re
from datetime import date
from pathlib import Path

import pytest

from broker.reports import counting, projection
from broker.reports.catalogue import REPORTS, find_report
from broker.reports.cell_store import write_query
from broker.reports.listing import write_listing
from broker.reports.periods import ReportFilters
from schemas.errors import NotFound

ROOT = Path(__file__).parents[4]
COUNTED = Path(counting.__file__).read_text() + Path(projection.__file__).read_text()


def test_there_are_the_twenty_questions() -> None:
    assert [report.number for report in REPORTS] == list(range(1, 21))
    assert len({report.id for report in REPORTS}) == 20
    assert all(report.definitions or report.number == 20 for report in REPORTS)
    with pytest.raises(NotFound):
        find_report("nothing")


def test_what_a_report_cannot_answer_names_who_can() -> None:
    for report in REPORTS:
        assert report.answer != "part" or report.cannot_say, report.id
        assert all(what and who for what, who in report.cannot_say)


def test_every_measure_that_is_read_is_counted_somewhere() -> None:
    for report in REPORTS:
        for reading in report.reads:
            assert f'"{reading.measure}"' in COUNTED, (report.id, reading.measure)


def test_queries_name_no_value() -> None:
    filters = ReportFilters.read(
        {"from": "2026-01-05", "to": "2026-12-31", "area": "'; --", "kind": "x"}, today=date(2026, 12, 31)
    )
    for report in REPORTS:
        for reading in report.reads:
            statement, values = write_query(reading, filters)
            assert "--" not in statement
            assert {int(n) for n in re.findall(r"\$(\d+)", statement)} == set(range(1, len(values) + 1))


def test_the_page_of_reports_is_current() -> None:
    assert (ROOT / "docs" / "reports.md").read_text(encoding="utf-8") == write_listing()
