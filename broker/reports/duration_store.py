"""Kept counts of durations (table ``report_durations``): one for each step, bucket and day or month, and again over all areas and over all kinds.

A median is made of hundreds of buckets, so that reading it by area and kind and summing would read a hundred times as many rows as it needs. A row whose
area or kind is ``*`` counts all of them; the key has equal things first and the date last, so that a read is one stretch of the index for each step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker.reports.counting import Cell
from broker.reports.periods import DAY, MONTH, Stretch
from broker.store.pool import Connection

MEASURE: Final = "stage"
ALL: Final = "*"
"""Stands for all areas, or all kinds; no code looks like it (``facts.keep_code``)."""
_COLUMNS: Final = ("code", "area", "kind", "span", "starts_on", "bucket")


@dataclass(frozen=True, slots=True)
class DurationReading:
    """Which steps, of which kinds (none: of all), and whether kinds are told apart."""

    codes: tuple[str, ...]
    kinds: tuple[str, ...]
    by_kind: bool


async def add_durations(connection: Connection, counts: Mapping[Cell, int]) -> None:
    """Add to the kept counts, in one order everywhere."""
    kept: dict[tuple[Any, ...], int] = {}
    for cell, n in counts.items():
        for span, day in ((DAY, cell.day), (MONTH, cell.day.replace(day=1))):
            for area in (cell.area, ALL):
                for kind in (cell.kind, ALL):
                    key = (cell.code, area, kind, span, day, cell.bucket)
                    kept[key] = kept.get(key, 0) + n
    ordered = sorted((key, n) for key, n in kept.items() if n)
    if not ordered:
        return
    await connection.execute(
        "INSERT INTO report_durations AS d (code, area, kind, span, starts_on, bucket, n)"
        " SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::date[], $6::smallint[], $7::bigint[])"
        " ON CONFLICT (code, area, kind, span, starts_on, bucket) DO UPDATE SET n = d.n + excluded.n",
        *([key[number] for key, _ in ordered] for number in range(len(_COLUMNS))),
        [n for _, n in ordered],
    )


def write_query(
    reading: DurationReading, stretches: Sequence[Stretch], *, area: str | None, kind: str | None
) -> tuple[str, list[Any]]:
    """Return the statement that sums durations by step, by kind where asked, and bucket; and its values."""
    values: list[Any] = [list(reading.codes), ALL if area is None else area]
    wanted: Sequence[str] | None = reading.kinds or None
    if kind is not None:
        wanted = (kind,) if wanted is None or kind in wanted else ()
    if ALL in {area, kind}:
        wanted = ()  # somebody typed it; it is no area's or kind's code
    if wanted is not None:
        values.append(list(wanted))
        source = "(SELECT code, kind FROM unnest($1::text[]) code CROSS JOIN unnest($3::text[]) kind)"
    elif reading.by_kind:
        source = f"({_LIST_KINDS})"
    else:
        source = f"(SELECT code, '{ALL}' AS kind FROM unnest($1::text[]) code)"  # noqa: S608 - our own names
    parts = []
    for stretch in stretches:
        values.extend((stretch.span, stretch.first, stretch.last))
        last = len(values)
        parts.append(
            "SELECT bucket, n FROM report_durations d WHERE d.code = a.code AND d.area = $2 AND d.kind = a.kind"  # noqa: S608 - marks
            f" AND d.span = ${last - 2} AND d.starts_on BETWEEN ${last - 1} AND ${last}"
        )
    shown = "a.code, a.kind, d.bucket" if reading.by_kind else "a.code, d.bucket"
    return (
        f"SELECT {shown}, sum(d.n)::bigint AS n FROM {source} a CROSS JOIN LATERAL ({' UNION ALL '.join(parts)}) d"  # noqa: S608 - our own names
        f" GROUP BY {shown} HAVING sum(d.n) <> 0"
    ), values


# Each step's kinds, found by one look at the index for each: how many there are depends on senders, not on this code.
_LIST_KINDS: Final = """
WITH RECURSIVE found AS (
  SELECT code, (SELECT min(d.kind) FROM report_durations d WHERE d.code = c.code AND d.area = $2 AND d.kind > '*') AS kind FROM unnest($1::text[]) c (code)
  UNION ALL SELECT f.code, (SELECT min(d.kind) FROM report_durations d WHERE d.code = f.code AND d.area = $2 AND d.kind > f.kind)
  FROM found f WHERE f.kind IS NOT NULL
) SELECT code, kind FROM found WHERE kind IS NOT NULL
"""
