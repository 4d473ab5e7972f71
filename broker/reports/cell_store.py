"""Kept counts (table ``report_cells``): added to by the projection, by local day and again by local month; summed for a report.

Counts of durations, of which there is one for each bucket, are in ``broker.reports.duration_store``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import asyncpg

from broker.reports import duration_store
from broker.reports.counting import Cell, Counts
from broker.reports.periods import DAY, MONTH, Period, ReportFilters, Stretch
from broker.store.pool import Connection

_DIMENSIONS: Final = ("kind", "area", "agency", "code", "within", "bucket")
_MOST_DAYS: Final = 92
"""A longer period shows its course by months, a shorter one by days (or weeks, which its days make)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a report reads of one measure: ``by`` names the dimensions that it tells apart (``kind``, ``area``, ``agency``, ``code``,
    ``within``, ``bucket``, ``time``); all else is summed. ``codes`` limits the measure to some codes. ``until_end`` sums from the beginning of
    time to the period's end, for what stands open. ``own`` names the filters that apply to it; ``kinds`` limits it to some kinds of referral."""

    measure: str
    by: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    until_end: bool = False
    own: tuple[str, ...] = ("area", "agency", "kind")
    kinds: tuple[str, ...] = ()
    named: str = ""
    """The measure's name in what is read, where a report reads it twice and tells other dimensions apart."""


@dataclass(frozen=True, slots=True)
class Sum:
    """How often something was counted; dimensions that were not told apart are empty. ``time`` is the first day of a day or month."""

    measure: str
    n: int
    kind: str = ""
    area: str = ""
    agency: str = ""
    code: str = ""
    within: str = ""
    bucket: int = -1
    time: date | None = None


async def add_counts(connection: Connection, counts: Counts) -> None:
    """Add to the kept counts, in one order everywhere, so that two writers never wait for each other in a circle."""
    spans: dict[tuple[str, Cell], int] = {}
    durations = {cell: n for cell, n in counts.items() if cell.measure == duration_store.MEASURE}
    await duration_store.add_durations(connection, durations)
    for cell, n in counts.items():
        if cell.measure == duration_store.MEASURE:
            continue
        for span, key in ((DAY, cell), (MONTH, cell._replace(day=cell.day.replace(day=1)))):
            spans[span, key] = spans.get((span, key), 0) + n
    ordered = sorted(((span, cell, n) for (span, cell), n in spans.items() if n), key=lambda row: row[:2])
    if not ordered:
        return
    await connection.execute(
        "INSERT INTO report_cells AS c (measure, span, starts_on, kind, area, agency, code, within, bucket, n)"
        " SELECT * FROM unnest($1::text[], $2::text[], $3::date[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],"
        " $9::smallint[], $10::bigint[])"
        " ON CONFLICT (measure, span, starts_on, kind, area, agency, code, within, bucket) DO UPDATE SET n = c.n + excluded.n",
        [cell.measure for _, cell, _ in ordered],
        [span for span, _, _ in ordered],
        [cell.day for _, cell, _ in ordered],
        *([getattr(cell, name) for _, cell, _ in ordered] for name in _DIMENSIONS),
        [n for _, _, n in ordered],
    )


async def read_sums(connection: Connection, readings: Sequence[Reading], filters: ReportFilters) -> list[Sum]:
    """Return what ``readings`` ask for, in the period and under the filters."""
    found: list[Sum] = []
    for reading in readings:
        statement, values = write_query(reading, filters)
        rows = await connection.fetch(statement, *values)
        found += [_read_sum(reading, row) for row in rows]
    return found


def write_query(reading: Reading, filters: ReportFilters) -> tuple[str, list[Any]]:
    """Return the statement that sums one reading, and its values."""
    if reading.measure == duration_store.MEASURE:
        # Steps belong to no agency: where one is asked for, there are none.
        codes = () if "agency" in reading.own and filters.agency is not None else reading.codes
        return duration_store.write_query(
            duration_store.DurationReading(codes, reading.kinds, by_kind="kind" in reading.by),
            _choose_stretches(reading, filters.period),
            area=filters.area if "area" in reading.own else None,
            kind=filters.kind if "kind" in reading.own else None,
        )
    shown = [name for name in reading.by if name != "time"]
    selected = [f'"{name}"' for name in shown]
    if "time" in reading.by:
        selected.append(_name_time(filters.period))
    values: list[Any] = [reading.measure]
    conditions = ["measure = $1", _write_stretches(_choose_stretches(reading, filters.period), values)]
    wanted: Mapping[str, str | None] = {"area": filters.area, "agency": filters.agency, "kind": filters.kind}
    for name in reading.own:
        if wanted[name] is not None:
            values.append(wanted[name])
            conditions.append(f'"{name}" = ${len(values)}')
    if reading.codes:
        values.append(list(reading.codes))
        conditions.append(f"code = ANY(${len(values)}::text[])")
    if reading.kinds:
        values.append(list(reading.kinds))
        conditions.append(f"kind = ANY(${len(values)}::text[])")
    grouped = ", ".join(str(number) for number in range(1, len(selected) + 1))
    columns = ", ".join([*selected, "sum(n)::bigint AS n"])
    ending = f" GROUP BY {grouped} HAVING sum(n) <> 0" if grouped else " HAVING sum(n) <> 0"
    return f"SELECT {columns} FROM report_cells WHERE {' AND '.join(conditions)}{ending}", values  # noqa: S608 - our own names


def _choose_stretches(reading: Reading, period: Period) -> list[Stretch]:
    if reading.until_end:
        return Period(date(1970, 1, 1), period.last).split()
    if "time" in reading.by and period.days <= _MOST_DAYS:
        return [Stretch(DAY, period.first, period.last)]
    return period.split()


def _write_stretches(stretches: Sequence[Stretch], values: list[Any]) -> str:
    parts = []
    for stretch in stretches:
        values.extend((stretch.span, stretch.first, stretch.last))
        last = len(values)
        parts.append(f"(span = ${last - 2} AND starts_on BETWEEN ${last - 1} AND ${last})")
    return f"({' OR '.join(parts)})"


def _name_time(period: Period) -> str:
    return "starts_on AS time" if period.days <= _MOST_DAYS else "date_trunc('month', starts_on)::date AS time"


def _read_sum(reading: Reading, row: asyncpg.Record) -> Sum:
    told = {name: row[name] for name in reading.by}
    return Sum(measure=reading.named or reading.measure, n=row["n"], **told)
