"""Typed tables: what a report counts, before and after small numbers are suppressed (``broker.reports.suppression``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from broker.reports.durations import write_duration
from schemas.local_time import LONDON

Value = str | int | date | datetime | timedelta | None


class Sort(StrEnum):
    """What a column holds."""

    LABEL = "label"
    COUNT = "count"
    """How many referrals, deliveries or children: suppressed where small."""
    PERCENT = "percent"
    """One count of another: computed from what is shown, so that it tells no more."""
    DURATION = "duration"
    """A median or the like of so many: shown only where their number is."""
    NUMBER = "number"
    """A number that concerns no child: never suppressed."""
    DAY = "day"
    MOMENT = "moment"


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        part, whole: of a percentage, the counts that it is of.
        counted: of a duration, the count of what it is taken over.
        hidden: a count that is never shown and follows from others (a remainder): it is protected all the same.
    """

    name: str
    title: str
    sort: Sort = Sort.LABEL
    part: str = ""
    whole: str = ""
    counted: str = ""
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Counts as they are.

    Attributes:
        across: sums within a row: the total's column and those of its parts.
        total_row: the last row is the sum of the others, in every count column.
        protected: whether small numbers must not be shown. Staff, keys and agreements are no children.
        shares: count column to the name of what its total row counts, where another table of the report counts the same.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Value], ...]
    across: tuple[tuple[str, tuple[str, ...]], ...] = ()
    total_row: bool = False
    protected: bool = True
    shares: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class ShownCell:
    """One cell as it is shown. ``value`` is none where it is suppressed or there is nothing."""

    text: str
    value: Value = None
    suppressed: bool = False


@dataclass(frozen=True, slots=True)
class ShownTable:
    """A table as people get it: on the page, in plots and as CSV alike."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[ShownCell, ...], ...]
    total_row: bool
    note: str = ""
    suppressed: bool = False
    """Whether anything in it is suppressed."""

    def find(self, row: int, column: str) -> ShownCell:
        """Return one cell by its row's number and its column's name."""
        return self.rows[row][[c.name for c in self.columns].index(column)]

    def list_values(self, column: str) -> list[Value]:
        """Return a column's values without the total's; none where suppressed."""
        rows = range(len(self.rows) - 1 if self.total_row else len(self.rows))
        return [self.find(row, column).value for row in rows]

    def list_labels(self) -> list[str]:
        """Return the first column's texts without the total's."""
        rows = self.rows[:-1] if self.total_row else self.rows
        return [row[0].text for row in rows]


def write_value(sort: Sort, value: Value) -> str:
    """Return a value for people: numbers with commas, dates and times as GOV.UK writes them, local time."""
    if value is None:
        return "–"
    if isinstance(value, datetime):
        local = value.astimezone(LONDON)
        return f"{local.day} {local:%B %Y} {local:%H:%M}"
    if isinstance(value, date):
        return f"{value.day} {value:%B %Y}"
    if isinstance(value, timedelta):
        return write_duration(value)
    if isinstance(value, int):
        return f"{value:,}%" if sort is Sort.PERCENT else f"{value:,}"
    return value


def add_total(rows: Sequence[Mapping[str, Value]], columns: Sequence[Column], label: str = "All") -> dict[str, Value]:
    """Return the row that sums the counts of ``rows``; durations of it are the caller's to add."""
    total: dict[str, Value] = {columns[0].name: label}
    for column in columns:
        if column.sort in {Sort.COUNT, Sort.NUMBER}:
            total[column.name] = sum(_as_int(row.get(column.name)) for row in rows)
    return total


def _as_int(value: Any) -> int:
    return value if isinstance(value, int) else 0
