"""Working days, school days and statutory periods: pure calendar arithmetic (FORMATS CH-20; DOMAIN section 1).

Instants are aware and returned in UTC; days are local days of the partnership's time zone. Hours are elapsed hours across clock changes.
"""

import calendar
from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from schemas.directory import Calendar
from schemas.errors import ConfigInvalid

_SATURDAY = 5
_LAST_SECOND = time(23, 59, 59)
SEARCH_LIMIT = timedelta(days=366)


def is_working_day(day: date, bank_holidays: Collection[date]) -> bool:
    """Return whether ``day`` is Monday to Friday and no bank holiday."""
    return day.weekday() < _SATURDAY and day not in bank_holidays


def add_working_days(day: date, count: int, bank_holidays: Collection[date]) -> date:
    """Return the ``count``-th working day after ``day``, which itself never counts. ``count`` is at least 1."""
    if count < 1:
        raise ConfigInvalid("a period of working days has at least one", field="working_days")
    while count:
        day += timedelta(days=1)
        count -= is_working_day(day, bank_holidays)
    return day


def add_months(day: date, count: int) -> date:
    """Return the same day ``count`` months later, clipped to that month's last day."""
    years, month = divmod(day.month - 1 + count, 12)
    year = day.year + years
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def is_school_day(day: date, school: Calendar, bank_holidays: Collection[date]) -> bool:
    """Return whether ``day`` is a school day: in a term, and no half term, INSET day, weekend or bank holiday."""
    return (
        is_working_day(day, bank_holidays)
        and any(term.first <= day <= term.last for term in school.terms)
        and not any(closed.first <= day <= closed.last for closed in school.half_terms)
        and day not in school.inset_days
    )


def find_next_school_start(
    after: datetime, school: Calendar, bank_holidays: Collection[date], zone: ZoneInfo
) -> datetime | None:
    """Return the first start of a school day after the instant ``after``, or none within a year (the calendar ends before it)."""
    first = after.astimezone(zone).date()
    day = first
    while day - first <= SEARCH_LIMIT:
        if is_school_day(day, school, bank_holidays):
            start = to_instant(day, school.day_starts, zone)
            if start > after:
                return start
        day += timedelta(days=1)
    return None


def to_instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return the instant of a local time of day, in UTC; of one that occurs twice, the earlier (FORMATS CH-2)."""
    return datetime.combine(day, at, tzinfo=zone).astimezone(UTC)


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return local midnight at the beginning of ``day``, in UTC."""
    return to_instant(day, time(0), zone)


def end_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return the last second of the local ``day``, in UTC."""
    return to_instant(day, _LAST_SECOND, zone)


def due_after_hours(starts_at: datetime, hours: float) -> datetime:
    """Return the instant ``hours`` elapsed hours after ``starts_at``, in UTC."""
    return starts_at.astimezone(UTC) + timedelta(hours=hours)


def due_after_working_days(
    starts_at: datetime, count: int, *, closes: time, bank_holidays: Collection[date], zone: ZoneInfo
) -> datetime:
    """Return when a period of ``count`` working days is over: at ``closes`` local time of the last, the day of starting not counted."""
    return to_instant(add_working_days(starts_at.astimezone(zone).date(), count, bank_holidays), closes, zone)


def due_after_days(starts_at: datetime, count: int, zone: ZoneInfo) -> datetime:
    """Return the end of a period of ``count`` calendar days that begins with the day of ``starts_at``."""
    return end_of_day(starts_at.astimezone(zone).date() + timedelta(days=count - 1), zone)


def due_after_months(starts_at: datetime, count: int, zone: ZoneInfo) -> datetime:
    """Return the end of the corresponding day ``count`` months later, clipped to that month's last day."""
    return end_of_day(add_months(starts_at.astimezone(zone).date(), count), zone)
