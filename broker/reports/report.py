"""A report: a question of inspectors as data, what it reads, and a pure function from what was read to tables and plots."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from broker.reports.cell_store import Reading, Sum
from broker.reports.durations import find_quantile
from broker.reports.periods import ReportFilters
from broker.reports.plots import Plot
from broker.reports.tables import ShownTable, Table
from broker.store.pool import Connection
from schemas.directory import Directory


class Answer(StrEnum):
    """How much of its question a report can answer without content."""

    FULL = "full"
    PART = "part"


class Filter(StrEnum):
    """A filter that people can set beside the period."""

    AREA = "area"
    SENDER = "sender"
    RECIPIENT = "recipient"
    KIND = "kind"


@dataclass(frozen=True, slots=True)
class OwnFilter:
    """A filter of one report alone: its name in the address, its label and a hint."""

    name: str
    label: str
    hint: str


@dataclass(frozen=True, slots=True)
class ReportData:
    """What a report is made from: sums of kept counts, what it looked up itself, and names."""

    sums: tuple[Sum, ...]
    filters: ReportFilters
    now: datetime
    found: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    """Agencies' and areas' names by id, from the directory."""
    _sorted: dict[tuple[str, ...], dict[tuple[str, ...], list[Sum]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Sums by measure and the dimensions that were asked for so far: tables ask again and again, for one value after another."""

    def name(self, code: str) -> str:
        """Return an agency's or area's name, or its id."""
        return self.names.get(code, code) or "No agency"

    def total(self, measure: str, **where: str) -> int:
        """Return how often a measure was counted; ``where`` gives dimensions' values."""
        return sum(s.n for s in self._select(measure, where))

    def group(self, measure: str, *by: str, **where: str) -> dict[Any, int]:
        """Return the counts of a measure by one dimension, or by a tuple of several."""
        found: dict[Any, int] = {}
        for s in self._select(measure, where):
            key = getattr(s, by[0]) if len(by) == 1 else tuple(getattr(s, name) for name in by)
            found[key] = found.get(key, 0) + s.n
        return {key: n for key, n in found.items() if n}

    def quantile(self, measure: str, share: float, **where: str) -> timedelta | None:
        """Return a quantile of the durations that a measure counts."""
        return find_quantile(self.group(measure, "bucket", **where), share)

    def _select(self, measure: str, where: Mapping[str, str]) -> Sequence[Sum]:
        names = tuple(where)
        found = self._sorted.get((measure, *names))
        if found is None:
            found = self._sorted[measure, *names] = {}
            for s in self.sums:
                if s.measure == measure:
                    found.setdefault(tuple(getattr(s, name) for name in names), []).append(s)
        return found.get(tuple(where.values()), ())


@dataclass(frozen=True, slots=True)
class Made:
    """What a report's function makes, before small numbers are suppressed."""

    tables: tuple[Table, ...]
    plots: tuple[Plot, ...] = ()
    notes: tuple[str, ...] = ()
    """What these figures say or do not say, beside the report's own caveats."""


@dataclass(frozen=True, slots=True)
class LookContext:
    """What a report may look at beside kept counts."""

    connection: Connection
    filters: ReportFilters
    now: datetime
    directory: Directory | None


@dataclass(frozen=True, slots=True)
class Report:
    """One report.

    Attributes:
        number: of the question in DOMAIN section 7.
        definitions: what each measure means.
        cannot_say: what the hub cannot know without content, and who can answer it.
        look: reads what no count holds (what stands open now, the directory).
    """

    id: str
    number: int
    title: str
    question: str
    answer: Answer
    build: Callable[[ReportData], Made]
    definitions: tuple[tuple[str, str], ...]
    cannot_say: tuple[tuple[str, str], ...] = ()
    filters: tuple[Filter, ...] = (Filter.AREA, Filter.KIND)
    own_filters: tuple[OwnFilter, ...] = ()
    reads: tuple[Reading, ...] = ()
    look: Callable[[LookContext], Awaitable[Mapping[str, Any]]] | None = None


@dataclass(frozen=True, slots=True)
class ReportResult:
    """A report as people get it."""

    report: Report
    filters: ReportFilters
    made_at: datetime
    tables: tuple[ShownTable, ...]
    plots: tuple[Plot, ...]
    notes: tuple[str, ...]
    threshold: int

    def find_table(self, name: str) -> ShownTable | None:
        """Return a table by name, or none."""
        return next((table for table in self.tables if table.name == name), None)
