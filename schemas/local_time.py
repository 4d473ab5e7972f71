"""Dates and times as record systems write them, and ages (FORMATS part 1 and CH-2).

A time is ISO 8601 with ``Z`` or an offset, or Europe/London wall time in one of the date forms, a space and ``HH:MM``.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from schemas.codes import AgeBand
from schemas.errors import Rejected

LONDON = ZoneInfo("Europe/London")
_MONTHS = {
    m: n for n, m in enumerate(("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), 1)
}
_DATE_FORMS = (
    re.compile(r"(?P<d>[0-9]{1,2})/(?P<m>[0-9]{1,2})/(?P<y>[0-9]{4})"),
    re.compile(r"(?P<y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})"),
    re.compile(r"(?P<d>[0-9]{1,2})(?P<s>[ -]?)(?P<mon>[A-Za-z]{3})(?P=s)(?P<y>[0-9]{4})"),
    re.compile(r"(?P<y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})"),
)
_ISO_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})"
)
_WALL_TIME = re.compile(r"(?P<h>[0-9]{2}):(?P<min>[0-9]{2})(:(?P<sec>[0-9]{2}))?")
_ADULT_AGE = 18
_BANDS = (
    (5, AgeBand.UNDER_5),
    (10, AgeBand.FIVE_TO_9),
    (13, AgeBand.TEN_TO_12),
    (16, AgeBand.THIRTEEN_TO_15),
    (_ADULT_AGE, AgeBand.SIXTEEN_TO_17),
)


class LocalMoment(NamedTuple):
    """An instant, and whether its wall time was in doubt (it occurs twice, or not at all, on a night of clock change)."""

    at: datetime
    ambiguous: bool


def parse_date(text: str, *, field: str | None = None) -> date:
    """Return the date that ``text`` writes in one of the forms of FORMATS part 1 (day first).

    Raises:
        Rejected: it is in none of them, or there is no such day.
    """
    cleaned = text.strip()
    for form in _DATE_FORMS:
        match = form.fullmatch(cleaned)
        if match is None:
            continue
        parts = match.groupdict()
        month = _MONTHS.get(parts["mon"].upper(), 0) if parts.get("mon") else int(parts["m"])
        try:
            return date(int(parts["y"]), month, int(parts["d"]))
        except ValueError:
            raise Rejected("there is no such date", field=field) from None
    raise Rejected("the date is in none of the accepted forms", field=field)


def parse_wall_time(text: str, *, field: str | None = None) -> time:
    """Return the local time of day ``HH:MM``.

    Raises:
        Rejected: it is not one.
    """
    match = _WALL_TIME.fullmatch(text.strip())
    if match is None:
        raise Rejected("the time is not HH:MM", field=field)
    try:
        return time(int(match["h"]), int(match["min"]), int(match["sec"] or 0))
    except ValueError:
        raise Rejected("there is no such time of day", field=field) from None


def join_wall_time(day: date, clock: time) -> LocalMoment:
    """Return the instant of a Europe/London wall time; of one that occurs twice, the earlier (FORMATS CH-2)."""
    wall = datetime.combine(day, clock, tzinfo=LONDON)
    first, second = wall.replace(fold=0), wall.replace(fold=1)
    return LocalMoment(first.astimezone(UTC), first.utcoffset() != second.utcoffset())


def parse_moment(text: str, *, field: str | None = None) -> LocalMoment:
    """Return the instant that ``text`` writes; a date without a time is local midnight.

    Raises:
        Rejected: it is in none of the accepted forms, or there is no such instant.
    """
    cleaned = text.strip()
    if _ISO_MOMENT.fullmatch(cleaned):
        try:
            moment = datetime.fromisoformat(cleaned)
            return LocalMoment(moment.astimezone(UTC), False)
        except (ValueError, OverflowError):
            raise Rejected("there is no such instant", field=field) from None
    head, space, tail = cleaned.rpartition(" ")
    try:
        if space and ":" in tail:
            return join_wall_time(parse_date(head, field=field), parse_wall_time(tail, field=field))
        return join_wall_time(parse_date(cleaned, field=field), time(0, 0))
    except OverflowError:
        raise Rejected("there is no such instant", field=field) from None


def local_date(moment: datetime) -> date:
    """Return the Europe/London date of an aware instant."""
    return moment.astimezone(LONDON).date()


def age_on(born: date, day: date) -> int:
    """Return the age in whole years; a child born on 29 February has a birthday on 1 March in other years."""
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def find_age_band(born: date | None, expected_delivery: date | None, day: date) -> AgeBand | None:
    """Return the age band on ``day``: ``unborn`` with an expected date of delivery and no date of birth, none with neither."""
    if born is None:
        return AgeBand.UNBORN if expected_delivery is not None else None
    age = age_on(born, day)
    return next((band for limit, band in _BANDS if age < limit), AgeBand.ADULT)


def is_child(born: date | None, day: date) -> bool:
    """Return whether somebody born is under 18 on ``day``."""
    return born is not None and age_on(born, day) < _ADULT_AGE


def latest_acceptable(received_at: datetime) -> datetime:
    """Return the latest instant at which an incident may be reported: receipt, with 5 minutes for clocks that differ."""
    return received_at + timedelta(minutes=5)
