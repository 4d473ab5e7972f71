"""Periods: whole months and the days at their edges make up every day once; filters are read strictly."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.reports.periods import DAY, Period, ReportAskedWrongly, ReportFilters, local_day, local_hour

days = st.dates(min_value=date(2024, 1, 1), max_value=date(2027, 12, 31))


@given(days, st.integers(min_value=0, max_value=900))
def test_stretches_cover_every_day_once(first: date, more: int) -> None:
    period = Period(first, first + timedelta(days=more))
    covered: list[date] = []
    for stretch in period.split():
        if stretch.span != DAY:
            assert stretch.first.day == 1
            assert (stretch.last + timedelta(days=1)).day == 1
        covered += [stretch.first + timedelta(days=n) for n in range((stretch.last - stretch.first).days + 1)]
    assert sorted(covered) == [period.first + timedelta(days=n) for n in range(period.days)]


def test_a_period_begins_and_ends_at_local_midnight() -> None:
    summer = Period(date(2026, 7, 1), date(2026, 7, 31))
    assert summer.starts_at == datetime(2026, 6, 30, 23, tzinfo=UTC)
    assert summer.ends_at == datetime(2026, 7, 31, 23, tzinfo=UTC)
    assert local_day(datetime(2026, 7, 1, 23, 30, tzinfo=UTC)) == date(2026, 7, 2)
    assert local_hour(datetime(2026, 7, 1, 23, 30, tzinfo=UTC)) == 0


def test_filters_default_to_the_last_ninety_days() -> None:
    filters = ReportFilters.read({"area": "", "hours": "48"}, today=date(2026, 11, 26))
    assert (filters.period.first, filters.period.last, filters.area) == (date(2026, 8, 29), date(2026, 11, 26), None)
    assert filters.find("hours") == "48"
    assert ReportFilters.read(filters.to_texts(), today=date(2030, 1, 1)) == filters


@pytest.mark.parametrize(
    "given",
    [{"from": "26/11/2026"}, {"from": "2026-11-27", "to": "2026-11-26"}, {"to": "1999-01-01"}, {"area": "x" * 200}],
)
def test_what_is_no_filter_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ReportAskedWrongly):
        ReportFilters.read(given, today=date(2026, 11, 26))
