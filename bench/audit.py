"""``make bench ONLY=audit``: every read of the audit at ten million events, each logged first, against 300 ms at the 95th percentile."""

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final, cast

import asyncpg

from bench.servers import open_database, write_result
from bench.synthetic_audit import AuditPlan, fill_audit, plan_audit
from broker.audit.gate import AuditGate
from broker.audit.reader import AuditReader
from broker.log import LogWriter
from broker.registry import Registry
from broker.store import open_pool
from schemas.directory import Directory, WitnessPolicy
from schemas.keys import KeyUse, generate_ed25519_jwk
from tests.support.audit_questions import list_questions
from tests.support.hub_api import LOG_ORIGIN, set_role_password, with_login

EVENTS: Final = 10_000_000
ROUNDS: Final = 40
LIMIT_MS: Final = 300


class SampleRegistry:
    """A directory of the county's agencies, as the reader asks for it; signed ones are measured elsewhere."""

    def __init__(self, agencies: Sequence[str]) -> None:
        now = datetime.now(UTC)
        self._snapshot = SimpleNamespace(
            directory=Directory.model_validate(
                {
                    "version": 1,
                    "issued_at": now,
                    "expires_at": now.replace(year=now.year + 1),
                    "partnership": {"id": "marchshire"},
                    "agencies": [
                        {
                            "id": agency,
                            "name": agency,
                            "kind": "agency",
                            "roles": ["csc"],
                            "area": "E10999001",
                            "public_body": True,
                            "s16la_body": True,
                        }
                        for agency in agencies
                    ],
                    "witnesses": WitnessPolicy(agencies=("csc.marchshire", "police.marchshire"), quorum=2).model_dump(),
                }
            ),
            encryption_keys={},
        )

    async def current(self) -> Any:
        return self._snapshot


async def measure(events: int, rounds: int) -> dict[str, Any]:
    """Fill a database and return times by question (milliseconds), the slowest first."""
    plan = plan_audit(events)
    async with open_database("audit") as dsn:
        owner = await asyncpg.connect(dsn)
        started = time.monotonic()
        try:
            await fill_audit(owner, plan, lambda step: print(f"  {time.monotonic() - started:6.0f} s  {step}"))
            filled = time.monotonic() - started
            for role in ("safelane_api",):
                await set_role_password(owner, role)
            streams = await owner.fetchval("SELECT count(*) FROM audit_streams")
            agencies = [
                row[0]
                for row in await owner.fetch(
                    "SELECT DISTINCT sender FROM audit_streams WHERE sender IS NOT NULL UNION SELECT DISTINCT recipient FROM audit_streams WHERE recipient IS NOT NULL"
                )
            ]
        finally:
            await owner.close()
        times = await ask_all(dsn, plan, rounds, agencies)
    slowest = max(found["p95"] for found in times.values())
    return {
        "events": plan.events,
        "streams": streams,
        "filled_seconds": round(filled),
        "limit_ms": LIMIT_MS,
        "slowest_p95_ms": slowest,
        "within": slowest <= LIMIT_MS,
        "milliseconds": dict(sorted(times.items(), key=lambda item: -item[1]["p95"])),
    }


async def ask_all(dsn: str, plan: AuditPlan, rounds: int, agencies: Sequence[str]) -> dict[str, dict[str, float]]:
    """Ask every question ``rounds`` times, one after another, in turns, so that no question has the caches for itself."""
    pool = await open_pool(with_login(dsn, "safelane_api"), name="bench-audit", most=4)
    try:
        log = LogWriter(LOG_ORIGIN, generate_ed25519_jwk(KeyUse.LOG))
        registry = cast("Registry", SampleRegistry(agencies))
        audit = AuditReader(pool, AuditGate(pool, log, _now), registry, _now, _now)
        questions = list_questions(plan.referrals, plan.ends_at - plan.span, plan.ends_at)
        times: dict[str, list[float]] = {name: [] for name in questions}
        for number in range(rounds + 1):
            for name, ask in questions.items():
                started = time.perf_counter()
                await ask(audit, number)
                if number:  # the first round warms connections and plans
                    times[name].append((time.perf_counter() - started) * 1000)
    finally:
        await pool.close()
    return {
        name: {
            "p50": round(statistics.median(found), 1),
            "p95": round(_percentile(found, 95), 1),
            "max": round(max(found), 1),
        }
        for name, found in times.items()
    }


def _percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, (len(ordered) * percent + 99) // 100 - 1)]


def _now() -> datetime:
    return datetime.now(UTC)


def main(events: int = EVENTS, rounds: int = ROUNDS) -> None:
    """Measure, write the result and print it."""
    print(f"audit: filling {events} events")
    result = asyncio.run(measure(events, rounds))
    write_result("audit", result)
    for name, found in result["milliseconds"].items():
        print(f"  {found['p50']:8.1f} {found['p95']:8.1f} {found['max']:8.1f} ms  {name}")
    verdict = "within" if result["within"] else "OVER"
    print(
        f"audit: slowest p95 {result['slowest_p95_ms']} ms, {verdict} {LIMIT_MS} ms; {result['events']} events, {result['streams']} streams"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.audit")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    main(options.events, options.rounds)
