"""What reports read from the kept counts is what one would count by going through every cell: on a made-up county, under random filters."""

import random
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import asyncpg

from broker.reports.catalogue import REPORTS
from broker.reports.cell_store import Reading, Sum, read_sums
from broker.reports.counting import Counts
from broker.reports.periods import ReportFilters
from broker.store import upgrade_database
from tests.support.report_facts import AREAS, KINDS, SENDERS, fill_reports

FIRST, DAYS, A_DAY = date(2026, 2, 1), 75, 8
TODAY = date(2026, 7, 20)


async def test_what_is_read_from_kept_counts_is_what_was_counted(database: str) -> None:
    await upgrade_database(database)
    owner = await asyncpg.connect(database)
    try:
        counts = await fill_reports(owner, FIRST, DAYS, A_DAY)
        readings = sorted({reading for report in REPORTS for reading in report.reads}, key=repr)
        chance = random.Random(5)  # noqa: S311 - a choice that can be repeated
        found_any = 0
        for reading in readings * 3:
            filters = draw_filters(chance)
            found = {replace(s, n=0): s.n for s in await read_sums(owner, [reading], filters)}
            assert found == sum_cells(counts, reading, filters), (reading, filters)
            found_any += bool(found)
        assert found_any > len(readings)
    finally:
        await owner.close()


def draw_filters(chance: random.Random) -> ReportFilters:
    first = FIRST + timedelta(days=chance.randrange(DAYS))
    given = {"from": first.isoformat(), "to": (first + timedelta(days=chance.randrange(150))).isoformat()}
    given |= {"area": chance.choice((*AREAS, "*"))} if chance.random() < 0.5 else {}
    given |= {"kind": chance.choice((*KINDS, "*", "unheard of"))} if chance.random() < 0.4 else {}
    given |= {"agency": chance.choice(SENDERS)} if chance.random() < 0.2 else {}
    return ReportFilters.read(given, today=TODAY)


def sum_cells(counts: Counts, reading: Reading, filters: ReportFilters) -> dict[Sum, int]:
    found: Counter[Sum] = Counter()
    period = filters.period
    for cell, n in counts.items():
        if (
            cell.measure != reading.measure
            or cell.day > period.last
            or (cell.day < period.first and not reading.until_end)
        ):
            continue
        if any(getattr(filters, name) not in {None, getattr(cell, name)} for name in reading.own):
            continue
        if (reading.codes and cell.code not in reading.codes) or (reading.kinds and cell.kind not in reading.kinds):
            continue
        told: dict[str, Any] = {name: getattr(cell, name) for name in reading.by if name != "time"}
        if "time" in reading.by:
            told["time"] = cell.day if period.days <= 92 else cell.day.replace(day=1)
        found[Sum(reading.named or reading.measure, 0, **told)] += n
    return {key: n for key, n in found.items() if n}
