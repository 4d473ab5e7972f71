"""Working days, school days and statutory periods, with England's bank holidays and two schools' calendars."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.calendars import (
    add_months,
    add_working_days,
    due_after_days,
    due_after_hours,
    due_after_months,
    due_after_working_days,
    find_next_school_start,
    is_school_day,
    is_working_day,
    to_instant,
)
from schemas.directory import Calendar, Span
from schemas.errors import ConfigInvalid

LONDON = ZoneInfo("Europe/London")
HOLIDAYS = frozenset({date(2026, 12, 25), date(2026, 12, 28), date(2027, 1, 1)})
SCHOOL = Calendar(
    id="oakfield",
    day_starts=time(8, 40),
    terms=(Span(first=date(2026, 9, 3), last=date(2026, 12, 18)), Span(first=date(2027, 1, 4), last=date(2027, 3, 25))),
    half_terms=(Span(first=date(2026, 10, 26), last=date(2026, 10, 30)),),
    inset_days=(date(2026, 9, 3), date(2026, 11, 2), date(2026, 11, 23), date(2027, 1, 4)),
)
DAYS = st.dates(date(2026, 9, 1), date(2027, 3, 1))


def london(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=LONDON)


@pytest.mark.parametrize(
    ("day", "count", "due"),
    [
        (date(2026, 11, 16), 1, date(2026, 11, 17)),
        (date(2026, 11, 20), 1, date(2026, 11, 23)),  # a Friday: the weekend does not count
        (date(2026, 11, 21), 2, date(2026, 11, 24)),  # a Saturday: Monday is day 1
        (date(2026, 12, 24), 1, date(2026, 12, 29)),  # Christmas Day, a weekend and the substitute Boxing Day
        (date(2026, 11, 17), 45, date(2027, 1, 22)),
    ],
)
def test_working_days_are_counted_from_the_day_after(day: date, count: int, due: date) -> None:
    assert add_working_days(day, count, HOLIDAYS) == due


@given(DAYS, st.integers(1, 60))
def test_a_working_day_period_ends_on_a_working_day_with_that_many_in_between(day: date, count: int) -> None:
    due = add_working_days(day, count, HOLIDAYS)
    passed = [day + timedelta(days=n) for n in range(1, (due - day).days + 1)]
    assert sum(is_working_day(one, HOLIDAYS) for one in passed) == count
    assert is_working_day(due, HOLIDAYS)


def test_a_period_of_no_working_days_is_refused() -> None:
    with pytest.raises(ConfigInvalid):
        add_working_days(date(2026, 11, 16), 0, HOLIDAYS)


def test_working_days_fall_due_at_local_closing_time() -> None:
    due = due_after_working_days(
        london(2026, 10, 23, 18), 1, closes=time(17), bank_holidays=HOLIDAYS, zone=LONDON
    )  # the clocks go back on 25 October
    assert due == datetime(2026, 10, 26, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "is_open"),
    [
        (date(2026, 11, 24), True),
        (date(2026, 11, 23), False),  # INSET
        (date(2026, 11, 22), False),  # Sunday
        (date(2026, 10, 28), False),  # half term
        (date(2026, 12, 21), False),  # after the term
        (date(2027, 1, 4), False),  # INSET on the first day
    ],
)
def test_school_days(day: date, *, is_open: bool) -> None:
    assert is_school_day(day, SCHOOL, HOLIDAYS) is is_open


@pytest.mark.parametrize(
    ("incident", "due"),
    [
        (london(2026, 11, 21, 23, 30), london(2026, 11, 24, 8, 40)),  # Saturday night; Monday is INSET
        (london(2026, 11, 24, 8, 39), london(2026, 11, 24, 8, 40)),  # before school, the same day
        (london(2026, 11, 24, 8, 40), london(2026, 11, 25, 8, 40)),  # at the bell: the next one
        (london(2026, 10, 24, 3), london(2026, 11, 3, 8, 40)),  # half term, then INSET
        (london(2026, 12, 18, 20, 50), london(2027, 1, 5, 8, 40)),  # Christmas, then INSET
    ],
)
def test_the_next_school_day_starts_after_the_incident(incident: datetime, due: datetime) -> None:
    assert find_next_school_start(incident, SCHOOL, HOLIDAYS, LONDON) == due


def test_a_calendar_that_has_ended_has_no_next_school_day() -> None:
    assert find_next_school_start(london(2027, 3, 26), SCHOOL, HOLIDAYS, LONDON) is None


@given(st.integers(0, 200 * 24 * 60))
def test_no_school_day_starts_between_an_incident_and_its_deadline(minutes: int) -> None:
    incident = datetime(2026, 9, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    due = find_next_school_start(incident, SCHOOL, HOLIDAYS, LONDON)
    assert due is not None
    assert due > incident
    day = incident.astimezone(LONDON).date()
    while day < due.astimezone(LONDON).date():
        start = to_instant(day, SCHOOL.day_starts, LONDON)
        assert not (is_school_day(day, SCHOOL, HOLIDAYS) and start > incident)
        day += timedelta(days=1)


@pytest.mark.parametrize(
    ("day", "months", "due"),
    [
        (date(2027, 1, 31), 1, date(2027, 2, 28)),
        (date(2028, 1, 31), 1, date(2028, 2, 29)),
        (date(2026, 12, 12), 1, date(2027, 1, 12)),
        (date(2026, 11, 12), 14, date(2028, 1, 12)),
    ],
)
def test_months_are_clipped_to_the_last_day(day: date, months: int, due: date) -> None:
    assert add_months(day, months) == due


def test_a_month_ends_with_its_last_second() -> None:
    assert due_after_months(london(2026, 11, 12, 11, 5), 1, LONDON) == datetime(2026, 12, 12, 23, 59, 59, tzinfo=UTC)


def test_three_days_begin_with_the_day_itself() -> None:
    assert due_after_days(london(2026, 11, 6), 3, LONDON) == datetime(2026, 11, 8, 23, 59, 59, tzinfo=UTC)


def test_hours_are_elapsed_hours_across_a_clock_change() -> None:
    assert due_after_hours(london(2026, 10, 24, 12), 24) == london(2026, 10, 25, 11)
