"""Dates and times as people in England read them, in the manner of the GOV.UK style guide: "17 November 2026, 9:15pm"."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

LONDON = ZoneInfo("Europe/London")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_SHORT_MONTHS = tuple(month[:3].lower() for month in _MONTHS)
_INSTANT = re.compile(r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})$")
_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}$")
_LOCAL = re.compile(r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}$")
_NAMED_MONTH = re.compile(r"^(\d{1,2})[ -]?([A-Za-z]{3})[ -]?(\d{4})$")
_BRITISH = re.compile(
    r"^(\d{1,2})/(\d{1,2})/(\d{4})(?: (\d{2}):(\d{2}))?$"
)  # day first; a time is local (FORMATS part 1)


def write_date(day: date) -> str:
    """Return "17 November 2026"."""
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def write_time(moment: datetime, zone: ZoneInfo = LONDON) -> str:
    """Return "9:15pm", "9am", "midday" or "midnight", in local time."""
    local = moment.astimezone(zone)
    if local.minute == 0 and local.hour in {0, 12}:
        return "midday" if local.hour else "midnight"
    hour = local.hour % 12 or 12
    minutes = f":{local.minute:02}" if local.minute else ""
    return f"{hour}{minutes}{'pm' if local.hour >= 12 else 'am'}"


def write_instant(moment: datetime, zone: ZoneInfo = LONDON) -> str:
    """Return "17 November 2026, 9:15pm" in local time. ``moment`` is aware; a naive one is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return f"{write_date(aware.astimezone(zone).date())}, {write_time(aware, zone)}"


def write_if_date(text: str, zone: ZoneInfo = LONDON) -> str:
    """Return ``text`` written for people if it is wholly a date or an instant (ISO with offset, or day first); otherwise unchanged."""
    for pattern, write in _FORMS:
        if found := pattern.match(text):
            try:
                return write(found, zone)
            except ValueError:
                return text
    return text


def _write_iso(found: re.Match[str], zone: ZoneInfo) -> str:
    moment = datetime.fromisoformat(found[0])
    return write_instant(moment if moment.tzinfo else moment.replace(tzinfo=zone), zone)


def _write_day(found: re.Match[str], _zone: ZoneInfo) -> str:
    return write_date(date.fromisoformat(found[0]))


def _write_named_month(found: re.Match[str], _zone: ZoneInfo) -> str:
    return write_date(date(int(found[3]), _SHORT_MONTHS.index(found[2].lower()) + 1, int(found[1])))


def _write_british(found: re.Match[str], zone: ZoneInfo) -> str:
    day, month, year = (int(part) for part in found.groups()[:3])
    if found[4] is None:
        return write_date(date(year, month, day))
    return write_instant(datetime(year, month, day, int(found[4]), int(found[5]), tzinfo=zone), zone)


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], ZoneInfo], str]], ...] = (
    (_INSTANT, _write_iso),
    (_LOCAL, _write_iso),
    (_DATE, _write_day),
    (_NAMED_MONTH, _write_named_month),
    (_BRITISH, _write_british),
)
