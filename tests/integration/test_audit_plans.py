"""At a hundred thousand events no read of the audit and no report goes through a whole table: every statement that a read runs is explained."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bench.audit import open_reader
from bench.filled import FilledCounty, describe_county, prepare_county
from bench.filling import CountyPlan
from broker.reports.catalogue import REPORTS
from broker.reports.making import ReportMaker
from broker.reports.periods import ReportFilters
from tests.support.audit_questions import list_questions

EVENTS = 100_000
MAY_BE_SCANNED = frozenset({"audit_streams", "agency_queues", "projection_cursors"})
"""Tables that stay small however long the log grows: one row a combination of filters, an agency, a projection."""


@pytest.fixture
async def county(database: str, tmp_path: Path) -> FilledCounty:
    plan = CountyPlan.of(EVENTS, datetime.now(UTC), weeks=26)
    known = await prepare_county(database, tmp_path, plan, lambda _step: None)
    return describe_county(tmp_path, database, known, postgres_pid=0)


@pytest.mark.timeout(400)
async def test_no_read_goes_through_a_whole_table(county: FilledCounty) -> None:
    asked: list[tuple[str, tuple[Any, ...]]] = []

    async def listen(connection: Any) -> None:
        connection.add_query_logger(lambda record: asked.append((record.query, tuple(record.args or ()))))

    owner = await asyncpg.connect(county.dsn)
    pool = await asyncpg.create_pool(county.dsn, min_size=1, max_size=2, setup=listen, server_settings={"jit": "off"})
    large = {
        row["relname"]
        for row in await owner.fetch("SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples > 2000")
    }
    assert {
        "messages",
        "deliveries",
        "receipts",
        "clocks",
        "log_entries",
        "audit_events",
        "consents",
        "quarantine",
        "report_cells",
        "report_durations",
        "report_referrals",
        "report_deliveries",
        "report_clocks",
    } <= large
    audit = open_reader(pool, county)
    faults: set[tuple[str, str, str]] = set()
    explained = 0
    for name, ask in list_questions(county).items():
        asked.clear()
        await ask(audit, 3)
        explained += len(asked)
        faults |= {(name, *fault) for fault in await find_scans(owner, asked, large)}
    for given in list_periods(county):
        for report in REPORTS:
            asked.clear()
            async with pool.acquire() as connection:
                filters = ReportFilters.read(given, today=county.ends_at.date())
                result = await ReportMaker(lambda: county.ends_at).make(connection, report, filters)
            assert result.tables, report.id
            explained += len(asked)
            faults |= {(report.id, *fault) for fault in await find_scans(owner, asked, large)}
    await pool.close()
    await owner.close()
    assert explained > 300
    assert faults == set()


def list_periods(county: FilledCounty) -> list[dict[str, str]]:
    last = county.ends_at.date()
    first = last - timedelta(days=70)
    asked = {"from": first.isoformat(), "to": last.isoformat()}
    return [asked, {**asked, "area": "E10999001"}, {**asked, "kind": "PPN"}]


async def find_scans(
    owner: asyncpg.Connection, asked: list[tuple[str, tuple[Any, ...]]], large: set[str]
) -> set[tuple[str, str]]:
    """Return which large tables would be read from end to end, and by which statement."""
    found = set()
    for query, args in asked:
        if not query.lstrip().upper().startswith(("SELECT", "WITH")) or "pg_advisory" in query:
            continue
        (explanation,) = await owner.fetchrow(f"EXPLAIN (FORMAT JSON) {query}", *args)
        nodes = _walk(json.loads(explanation)[0]["Plan"])
        scanned = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
        found |= {(table, query[:100]) for table in (scanned & large) - MAY_BE_SCANNED}
    return found


def _walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _walk(inner)
