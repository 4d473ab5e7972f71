"""Dates, times and ages as record systems write them (FORMATS CH-2)."""

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codes import AgeBand
from schemas.errors import Rejected
from schemas.local_time import (
    LONDON,
    age_on,
    find_age_band,
    is_child,
    join_wall_time,
    latest_acceptable,
    local_date,
    parse_date,
    parse_moment,
    parse_wall_time,
)


@pytest.mark.parametrize(
    "text",
    [
        "05/11/2026",
        "5/11/2026",
        "2026-11-05",
        "05NOV2026",
        "05 NOV 2026",
        "05-NOV-2026",
        "5 nov 2026",
        "20261105",
        " 05Nov2026 ",
    ],
)
def test_every_form_of_a_date(text: str) -> None:
    assert parse_date(text) == date(2026, 11, 5)


@pytest.mark.parametrize(
    "text",
    [
        "31/02/2016",
        "2026/11/05",
        "11-05-2026",
        "05-11-2026",
        "5/11/26",
        "05 NOVEMBER 2026",
        "05-NOV 2026",
        "00/01/2026",
        "",
        "０５/11/2026",
    ],
)
def test_what_is_no_date_is_rejected_without_its_value(text: str) -> None:
    with pytest.raises(Rejected) as raised:
        parse_date(text, field="DOB")
    assert raised.value.field == "DOB"
    assert not text or text not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-16T22:31:09Z", datetime(2026, 11, 16, 22, 31, 9, tzinfo=UTC)),
        ("2026-10-20T20:00:00+01:00", datetime(2026, 10, 20, 19, 0, tzinfo=UTC)),
        ("16/11/2026 19:40", datetime(2026, 11, 16, 19, 40, tzinfo=UTC)),
        ("16/07/2026 19:40", datetime(2026, 7, 16, 18, 40, tzinfo=UTC)),
        ("19-NOV-2026 11:50", datetime(2026, 11, 19, 11, 50, tzinfo=UTC)),
        ("17/07/2026", datetime(2026, 7, 16, 23, 0, tzinfo=UTC)),
    ],
)
def test_moments(text: str, at: datetime) -> None:
    assert parse_moment(text) == (at, False)


@pytest.mark.parametrize(
    "text",
    ["2026-11-16T22:31:09", "16/11/2026 25:00", "16/11/2026 9:40", "soon", "2026-13-01T00:00:00Z", "16/11/2026T10:00"],
)
def test_what_is_no_moment_is_rejected(text: str) -> None:
    with pytest.raises(Rejected):
        parse_moment(text)


def test_a_wall_time_that_occurs_twice_is_the_earlier_and_flagged() -> None:
    assert parse_moment("25/10/2026 01:30") == (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), True)
    assert parse_moment("25/10/2026 02:00") == (datetime(2026, 10, 25, 2, 0, tzinfo=UTC), False)
    assert parse_moment("29/03/2026 01:30").ambiguous


def test_an_offset_leaves_no_doubt() -> None:
    assert parse_moment("2026-10-25T01:30:00+00:00") == (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), False)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2090, 1, 1)))  # noqa: DTZ001  # a wall time
def test_a_wall_time_reads_back_the_same(wall: datetime) -> None:
    wall = wall.replace(second=0, microsecond=0)
    moment = parse_moment(f"{wall:%d/%m/%Y %H:%M}")
    assert moment == join_wall_time(wall.date(), wall.time())
    if not moment.ambiguous:
        assert moment.at.astimezone(LONDON).replace(tzinfo=None) == wall


@given(st.text(max_size=30))
def test_any_text_gives_a_moment_or_rejected(text: str) -> None:
    try:
        parse_moment(text)
    except Rejected:
        return


def test_wall_time_needs_two_figures() -> None:
    assert parse_wall_time("07:05") == time(7, 5)
    for text in ("7:05", "24:00", "07.05", "07:05 pm"):
        with pytest.raises(Rejected):
            parse_wall_time(text)


@pytest.mark.parametrize(
    ("years", "band"),
    [
        (0, "0-4"),
        (4, "0-4"),
        (5, "5-9"),
        (9, "5-9"),
        (10, "10-12"),
        (12, "10-12"),
        (13, "13-15"),
        (15, "13-15"),
        (16, "16-17"),
        (17, "16-17"),
        (18, "adult"),
    ],
)
def test_age_bands(years: int, band: str) -> None:
    day = date(2026, 11, 16)
    assert find_age_band(date(2026 - years, 11, 16), None, day) == AgeBand(band)
    assert find_age_band(date(2026 - years - 1, 11, 17), None, day) == AgeBand(band)


def test_the_unborn_and_the_unknown() -> None:
    assert find_age_band(None, date(2027, 1, 27), date(2026, 11, 19)) is AgeBand.UNBORN
    assert find_age_band(None, None, date(2026, 11, 19)) is None
    assert not is_child(None, date(2026, 11, 19))


def test_a_leap_day_child_has_a_birthday_in_march() -> None:
    assert age_on(date(2012, 2, 29), date(2026, 2, 28)) == 13
    assert age_on(date(2012, 2, 29), date(2026, 3, 1)) == 14


def test_the_local_date_decides() -> None:
    assert local_date(datetime(2026, 7, 1, 23, 30, tzinfo=UTC)) == date(2026, 7, 2)


def test_clocks_may_differ_by_minutes() -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    assert latest_acceptable(now) - now == timedelta(minutes=5)
