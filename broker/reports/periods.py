"""What a report is asked about: a period of whole local days, an area, an agency, a kind; and the stretches in which counts of it are kept.

Counts are kept by local day and again by local month, so that a long period reads few rows: whole months from the months, its edges from the days.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Self

from schemas.errors import MalformedMessage
from schemas.local_time import LONDON

EARLIEST: Final = date(2020, 1, 1)
LATEST: Final = date(2199, 12, 31)
_DEFAULT_DAYS: Final = 90
_MOST_TEXT: Final = 80
DAY, MONTH = "day", "month"


class ReportAskedWrongly(MalformedMessage):
    """A filter of a report is not of its form."""

    code = "report-filter"
    public_message = "The report cannot be made from these filters."


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of days or of whole months, both ends included; a month is named by its first day."""

    span: str
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Period:
    """Whole local days (Europe/London), both ends included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.last - self.first).days + 1

    @property
    def starts_at(self) -> datetime:
        """The instant at which it begins."""
        return datetime.combine(self.first, time(), LONDON).astimezone(UTC)

    @property
    def ends_at(self) -> datetime:
        """The instant at which it is over."""
        return datetime.combine(self.last + timedelta(days=1), time(), LONDON).astimezone(UTC)

    def split(self) -> list[Stretch]:
        """Return the whole months in it and the days at its edges: at most one stretch of months and two of days."""
        first_month = self.first if self.first.day == 1 else _next_month(self.first)
        after_months = _next_month(self.last) if _next_month(self.last) - timedelta(days=1) == self.last else None
        after_months = after_months or self.last.replace(day=1)
        if after_months <= first_month:
            return [Stretch(DAY, self.first, self.last)]
        found = [Stretch(MONTH, first_month, after_months - timedelta(days=1))]
        if self.first < first_month:
            found.append(Stretch(DAY, self.first, first_month - timedelta(days=1)))
        if after_months <= self.last:
            found.append(Stretch(DAY, after_months, self.last))
        return found

    def list_months(self) -> list[date]:
        """Return the first day of each month that it touches."""
        months = [self.first.replace(day=1)]
        while _next_month(months[-1]) <= self.last:
            months.append(_next_month(months[-1]))
        return months


@dataclass(frozen=True, slots=True)
class ReportFilters:
    """A period, and one area, agency or kind, or all. ``more`` holds a report's own filters by name."""

    period: Period
    area: str | None = None
    agency: str | None = None
    kind: str | None = None
    more: Mapping[str, str] | None = None

    @classmethod
    def read(cls, given: Mapping[str, str], *, today: date) -> Self:
        """Read filters from texts: ``from`` and ``to`` as YYYY-MM-DD (default: the last 90 days), ``area``, ``agency``, ``kind``, others.

        Raises:
            ReportAskedWrongly: one is not of its form.
        """
        last = _read_day(given, "to", today)
        first = _read_day(given, "from", last - timedelta(days=_DEFAULT_DAYS - 1))
        if first > last:
            raise ReportAskedWrongly("the first day is after the last", field="from")
        known = {"from", "to", "area", "agency", "kind"}
        more = {name: _read_code(given, name) or "" for name in given if name not in known}
        return cls(
            Period(first, last),
            area=_read_code(given, "area"),
            agency=_read_code(given, "agency"),
            kind=_read_code(given, "kind"),
            more={name: value for name, value in more.items() if value},
        )

    def find(self, name: str, default: str = "") -> str:
        """Return a report's own filter."""
        return (self.more or {}).get(name, default)

    def to_texts(self) -> dict[str, str]:
        """Return the filters as ``read`` takes them, for links and records."""
        texts = {"from": self.period.first.isoformat(), "to": self.period.last.isoformat(), **(self.more or {})}
        texts |= {n: v for n, v in (("area", self.area), ("agency", self.agency), ("kind", self.kind)) if v}
        return texts


def local_day(moment: datetime) -> date:
    """Return the local date (Europe/London) of an instant."""
    return moment.astimezone(LONDON).date()


def local_hour(moment: datetime) -> int:
    """Return the local hour of the day (Europe/London) of an instant."""
    return moment.astimezone(LONDON).hour


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _read_day(given: Mapping[str, str], name: str, default: date) -> date:
    text = given.get(name, "").strip()
    if not text:
        return default
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ReportAskedWrongly("must be a date such as 2026-11-24", field=name) from None
    if not EARLIEST <= day <= LATEST:
        raise ReportAskedWrongly(f"must be between {EARLIEST} and {LATEST}", field=name)
    return day


def _read_code(given: Mapping[str, str], name: str) -> str | None:
    text = given.get(name, "").strip()
    if len(text) > _MOST_TEXT or not text.isprintable():
        raise ReportAskedWrongly("must be a short code", field=name)
    return text or None
