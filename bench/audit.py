"""``make bench ONLY=audit``: every read of the audit at ten million events, each logged first, against 300 ms at the 95th percentile."""

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from bench.filled import EVENTS, FilledCounty, open_filled
from bench.servers import write_result
from broker.audit.gate import AuditGate
from broker.audit.reader import AuditReader
from broker.log import LogWriter
from broker.registry import Registry
from broker.store import open_pool
from deploy.authority.signing import read_trust
from tests.support.audit_questions import list_questions
from tests.support.console import LOG_ORIGIN
from tests.support.hub_api import set_role_password, with_login

ROUNDS: Final = 40
LIMIT_MS: Final = 300


async def measure(events: int, rounds: int, *, fresh: bool = False) -> dict[str, Any]:
    """Open the filled county and return times by question (milliseconds), the slowest first."""
    async with open_filled(events, fresh=fresh) as county:
        owner = await asyncpg.connect(county.dsn)
        try:
            await set_role_password(owner, "safelane_api")
            streams = await owner.fetchval("SELECT count(*) FROM audit_streams")
        finally:
            await owner.close()
        load = os.getloadavg()[0]
        times = await ask_all(county, rounds)
    slowest = max(found["p95"] for found in times.values())
    return {
        "at": datetime.now(UTC).isoformat(),
        "events": county.events,
        "streams": streams,
        "filled_seconds": county.seconds,
        "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
        "limit_ms": LIMIT_MS,
        "slowest_p95_ms": slowest,
        "within": slowest <= LIMIT_MS,
        "milliseconds": dict(sorted(times.items(), key=lambda item: -item[1]["p95"])),
    }


async def ask_all(county: FilledCounty, rounds: int) -> dict[str, dict[str, float]]:
    """Ask every question ``rounds`` times, one after another, in turns, so that no question has the caches for itself."""
    pool = await open_pool(with_login(county.dsn, "safelane_api"), name="bench-audit", most=4)
    try:
        audit = open_reader(pool, county)
        questions = list_questions(county)
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


def open_reader(pool: asyncpg.Pool, county: FilledCounty) -> AuditReader:
    """Return the audit's reader over the county's own directory and log."""
    trust = read_trust(county.trust_file)
    registry = Registry(pool, trust.authority_keys(), _now, authority_jwks=trust.authority)
    return AuditReader(pool, AuditGate(pool, LogWriter(LOG_ORIGIN, county.log_jwk), _now), registry, _now, _now)


def _percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, (len(ordered) * percent + 99) // 100 - 1)]


def _now() -> datetime:
    return datetime.now(UTC)


def main(events: int = EVENTS, rounds: int = ROUNDS, *, fresh: bool = False) -> None:
    """Measure, write the result and print it."""
    result = asyncio.run(measure(events, rounds, fresh=fresh))
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
    parser.add_argument("--fresh", action="store_true", help="fill anew, also where the county is there")
    options = parser.parse_args()
    main(options.events, options.rounds, fresh=options.fresh)
