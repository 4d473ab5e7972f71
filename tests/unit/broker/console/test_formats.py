"""Dates, times, numbers and spans as GOV.UK writes them."""

from datetime import UTC, date, datetime, timedelta

import pytest

from broker.console import formats


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        (datetime(2026, 11, 21, 15, 5, tzinfo=UTC), "21 November 2026 at 3:05pm"),
        (datetime(2026, 7, 1, 11, 0, tzinfo=UTC), "1 July 2026 at midday"),
        (datetime(2026, 6, 30, 23, 0, tzinfo=UTC), "1 July 2026 at midnight"),
        (datetime(2026, 1, 2, 0, 30, tzinfo=UTC), "2 January 2026 at 12:30am"),
        (datetime(2026, 1, 2, 9, 0, tzinfo=UTC), "2 January 2026 at 9am"),
    ],
)
def test_moments_are_in_london_time(instant: datetime, expected: str) -> None:
    assert plain(formats.format_moment(instant)) == expected


def test_days_numbers_and_counts() -> None:
    assert plain(formats.format_day(date(2026, 3, 9))) == "9 March 2026"
    assert formats.format_number(1234567) == "1,234,567"
    assert formats.format_number(0.25) == "0.2"
    assert plain(formats.count_of(1, "message")) == "1 message"
    assert plain(formats.count_of(2000, "message")) == "2,000 messages"


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (timedelta(seconds=59), "less than a minute"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(hours=2, minutes=5, seconds=9), "2 hours 5 minutes"),
        (timedelta(days=1, minutes=5), "1 day"),
        (timedelta(days=3, hours=1), "3 days 1 hour"),
    ],
)
def test_spans_have_their_two_largest_parts(span: timedelta, expected: str) -> None:
    assert plain(formats.format_span(span)) == expected


def test_until_and_ago() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    assert plain(formats.format_until(now + timedelta(hours=2), now)) == "in 2 hours"
    assert plain(formats.format_until(now - timedelta(hours=2), now)) == "2 hours ago"
    assert formats.format_instant(now) == "2026-11-21T00:00:00Z"
