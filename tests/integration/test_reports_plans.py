"""Reports read few rows: no query of any report reads a table of facts or counts from end to end, at a hundred thousand events."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import pytest

from broker.reports.catalogue import REPORTS
from broker.reports.cell_store import write_query
from broker.reports.making import ReportMaker
from broker.reports.periods import ReportFilters
from broker.store import upgrade_database
from tests.support.report_facts import fill_reports

FIRST, DAYS, A_DAY = date(2026, 2, 1), 100, 100
NOW = datetime(2026, 7, 20, 12, tzinfo=UTC)
LARGE = {"report_cells", "report_referrals", "report_deliveries", "report_clocks", "report_subjects"}


@pytest.fixture
async def owner(database: str) -> AsyncIterator[asyncpg.Connection]:
    await upgrade_database(database)
    connection = await asyncpg.connect(database)
    await connection.execute("SET jit = off")
    await fill_reports(connection, FIRST, DAYS, A_DAY)
    yield connection
    await connection.close()


def list_scans(plan: dict[str, Any]) -> list[str]:
    found = [plan["Relation Name"]] if plan["Node Type"] == "Seq Scan" else []
    return found + [name for child in plan.get("Plans", ()) for name in list_scans(child)]


async def explain(connection: asyncpg.Connection, statement: str, values: list[Any]) -> list[str]:
    told = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *values)
    return list_scans(json.loads(told)[0]["Plan"])


async def test_no_report_reads_a_large_table_from_end_to_end(owner: asyncpg.Connection) -> None:
    month = ReportFilters.read({"from": "2026-03-10", "to": "2026-05-20", "area": "E10000001"}, today=date(2026, 7, 20))
    for report in REPORTS:
        for reading in report.reads:
            statement, values = write_query(reading, month)
            assert not LARGE & set(await explain(owner, statement, values)), (report.id, reading)
    await check_looks(owner)


async def check_looks(owner: asyncpg.Connection) -> None:
    """Nor does what a report looks up itself: what waits now is found by partial indexes."""
    maker = ReportMaker(lambda: NOW)
    filters = ReportFilters.read({"from": "2026-03-10", "to": "2026-05-20"}, today=date(2026, 7, 20))
    before = {r["relname"]: r["seq_scan"] for r in await _scans(owner)}
    for report in REPORTS:
        result = await maker.make(owner, report, filters)
        assert result.tables, report.id
    after = {r["relname"]: r["seq_scan"] for r in await _scans(owner)}
    assert {name for name in LARGE if after[name] > before[name]} == set()


async def _scans(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    await connection.execute("SELECT pg_stat_force_next_flush()")
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    rows: list[asyncpg.Record] = await connection.fetch(
        "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname = ANY($1::text[])", list(LARGE)
    )
    return rows
