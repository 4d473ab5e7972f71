"""Dates, times, numbers and spans as GOV.UK writes them (style guide A to Z: dates, times, numbers), in London time."""

from datetime import UTC, date, datetime, timedelta
from typing import Final

from schemas.local_time import LONDON

_NO_BREAK: Final = "\u00a0"
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def format_day(value: date) -> str:
    """Return ``21 November 2026``; of an instant, its day in London."""
    day = value.astimezone(LONDON) if isinstance(value, datetime) else value
    return f"{day.day}{_NO_BREAK}{day:%B}{_NO_BREAK}{day.year}"


def format_time(value: datetime) -> str:
    """Return ``3:05pm``, ``3pm``, ``midday`` or ``midnight``, in London."""
    local = value.astimezone(LONDON)
    if local.minute == 0 and local.hour in (0, 12):
        return "midnight" if local.hour == 0 else "midday"
    minutes = f":{local.minute:02d}" if local.minute else ""
    return f"{local.hour % 12 or 12}{minutes}{'am' if local.hour < 12 else 'pm'}"


def format_moment(value: datetime | None) -> str:
    """Return ``21 November 2026 at 3:05pm``; of none, ``not known``."""
    return "not known" if value is None else f"{format_day(value)} at {format_time(value)}"


def format_number(value: float) -> str:
    """Return ``12,345``, and one decimal of what is not whole."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def format_span(value: timedelta | float) -> str:
    """Return the two largest parts of a span: ``2 days 3 hours``, ``5 minutes``, ``less than a minute``."""
    seconds = int(value.total_seconds() if isinstance(value, timedelta) else value)
    if seconds < _MINUTE:
        return "less than a minute"
    days, hours, minutes = seconds // _DAY, seconds % _DAY // _HOUR, seconds % _HOUR // _MINUTE
    parts = [(days, "day"), (hours, "hour"), (minutes, "minute")]
    first = next(number for number, (amount, _) in enumerate(parts) if amount)
    shown = [part for part in parts[first : first + 2] if part[0]]
    return " ".join(f"{amount}{_NO_BREAK}{name}{'' if amount == 1 else 's'}" for amount, name in shown)


def format_until(value: datetime, now: datetime) -> str:
    """Return ``in 2 hours`` or ``2 hours ago``."""
    return f"in {format_span(value - now)}" if value >= now else f"{format_span(now - value)} ago"


def format_instant(value: datetime) -> str:
    """Return an instant for machines (the ``datetime`` attribute of HTML's ``time``)."""
    return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def count_of(number: int, one: str, many: str | None = None) -> str:
    """Return ``1 message`` or ``1,234 messages``."""
    return f"{format_number(number)}{_NO_BREAK}{one if number == 1 else many or one + 's'}"
