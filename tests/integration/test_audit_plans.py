"""At a hundred thousand events no read of the audit goes through a whole table: every statement that a read runs is explained."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import asyncpg
import pytest

from bench.audit import SampleRegistry
from bench.synthetic_audit import fill_audit, plan_audit
from broker.audit.gate import AuditGate
from broker.audit.reader import AuditReader
from broker.log import LogWriter
from broker.registry import Registry
from broker.store import upgrade_database
from schemas.keys import KeyUse, generate_ed25519_jwk
from tests.support.audit_questions import list_questions
from tests.support.hub_api import LOG_ORIGIN

EVENTS = 100_000
MAY_BE_SCANNED = frozenset({"audit_streams", "agency_queues", "projection_cursors"})
"""Tables that stay small however long the log grows: one row a combination of filters, an agency, a projection."""


@pytest.fixture
async def filled(database: str) -> str:
    await upgrade_database(database)
    owner = await asyncpg.connect(database)
    await fill_audit(owner, plan_audit(EVENTS), lambda _step: None)
    await owner.close()
    return database


@pytest.mark.timeout(300)
async def test_no_read_goes_through_a_whole_table(filled: str) -> None:
    asked: list[tuple[str, tuple[Any, ...]]] = []

    async def listen(connection: Any) -> None:
        connection.add_query_logger(lambda record: asked.append((record.query, tuple(record.args or ()))))

    def now() -> datetime:
        return datetime.now(UTC)

    plan = plan_audit(EVENTS)
    owner = await asyncpg.connect(filled)
    pool = await asyncpg.create_pool(filled, min_size=1, max_size=2, setup=listen, server_settings={"jit": "off"})
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
    } <= large
    registry = cast("Registry", SampleRegistry(["csc.marchshire", "police.marchshire"]))
    audit = AuditReader(
        pool, AuditGate(pool, LogWriter(LOG_ORIGIN, generate_ed25519_jwk(KeyUse.LOG)), now), registry, now, now
    )
    faults: set[tuple[str, str, str]] = set()
    explained = 0
    for name, ask in list_questions(plan.referrals, plan.ends_at - plan.span, plan.ends_at).items():
        asked.clear()
        await ask(audit, 3)
        for query, args in list(asked):
            if not query.lstrip().upper().startswith(("SELECT", "WITH")) or "pg_advisory" in query:
                continue
            (explanation,) = await owner.fetchrow(f"EXPLAIN (FORMAT JSON) {query}", *args)
            explained += 1
            scanned = {
                node["Relation Name"]
                for node in _walk(json.loads(explanation)[0]["Plan"])
                if node["Node Type"] == "Seq Scan"
            }
            faults |= {(name, table, query[:100]) for table in (scanned & large) - MAY_BE_SCANNED}
    await pool.close()
    await owner.close()
    assert explained > 100
    assert faults == set()


def _walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _walk(inner)
