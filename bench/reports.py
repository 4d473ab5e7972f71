"""How long each report takes at ten million events: about a million referrals over two years, on an embedded PostgreSQL.

``python -m bench.reports`` counts some days of made-up referrals with the product's own functions and repeats them day for day over the rest, so that
tables and indexes have the rows that ten million events would leave. It prints the 95th percentile of each report and writes ``var/bench/reports.json``.
"""

import argparse
import asyncio
import json
import statistics
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from broker.reports.catalogue import REPORTS
from broker.reports.making import ReportMaker
from broker.reports.periods import ReportFilters
from broker.store import upgrade_database
from deploy.local.postgres import EmbeddedPostgres
from deploy.local.processes import find_free_port
from tests.support.report_facts import EVENTS_A_REFERRAL, fill_reports

ROOT = Path("var/bench")
FIRST = date(2025, 1, 1)
TOTAL_DAYS = 730
PERIODS = {
    "a month": {"from": "2026-05-10", "to": "2026-06-09"},
    "a quarter": {"from": "2026-03-05", "to": "2026-06-04"},
    "a year": {"from": "2025-12-10", "to": "2026-12-09"},
    "two years, one area": {"from": "2025-01-02", "to": "2026-12-30", "area": "E10000001"},
}
_SHIFTED = ("accepted_at", "issued_at", "assessed_at", "review_due_at", "incident_at", "embargo_set_at", "embargo_due_at", "embargo_lifted_at",
            "strategy_due_at", "outcome_at", "released_at", "taken_at", "opened_at", "actioned_at", "refused_at", "held_at", "hold_ended_at",
            "starts_at", "due_at", "breached_at", "met_at")  # fmt: skip


async def fill(connection: asyncpg.Connection, base_days: int, referrals: int) -> None:
    """Fill so many days from facts, and repeat them over the rest."""
    await fill_reports(connection, FIRST, base_days, referrals // TOTAL_DAYS)
    await connection.execute(
        "DELETE FROM report_cells WHERE span = 'month' OR starts_on >= $1", FIRST + timedelta(days=base_days)
    )
    await connection.execute("SET synchronous_commit = off")
    copies = TOTAL_DAYS // base_days
    await connection.execute(
        "INSERT INTO report_cells SELECT measure, span, starts_on + k * $1::int, kind, area, agency, code, within, bucket, n"
        " FROM report_cells CROSS JOIN generate_series(1, $2::int) AS k ORDER BY 3",  # as a hub would have written them: by time
        base_days,
        copies - 1,
        timeout=3600,
    )
    await connection.execute(
        "INSERT INTO report_cells SELECT measure, 'month', date_trunc('month', starts_on)::date, kind, area, agency, code, within, bucket, sum(n)"
        " FROM report_cells GROUP BY 1, 3, 4, 5, 6, 7, 8, 9",
        timeout=3600,
    )
    for table in ("report_referrals", "report_deliveries", "report_clocks"):
        await repeat_facts(connection, table, base_days, copies)
    await connection.execute("VACUUM ANALYZE", timeout=3600)


async def repeat_facts(connection: asyncpg.Connection, table: str, base_days: int, copies: int) -> None:
    """Repeat a table's facts, each copy so many days later under an id of its own."""
    names = [
        row["attname"]
        for row in await connection.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum", table
        )
    ]
    shown = [
        "md5(message_id::text || k)::uuid"
        if name == "message_id"
        else f"\"{name}\" + k * interval '{base_days} days'"
        if name in _SHIFTED
        else f'"{name}"'
        for name in names
    ]
    await connection.execute(
        f"INSERT INTO {table} SELECT {', '.join(shown)} FROM {table} CROSS JOIN generate_series(1, {copies - 1}) AS k",  # noqa: S608
        timeout=3600,
    )


async def measure(connection: asyncpg.Connection, rounds: int) -> dict[str, dict[str, float]]:
    """Return the 95th percentile in milliseconds of each report, for each period."""
    maker = ReportMaker(lambda: datetime(2026, 12, 30, 12, tzinfo=UTC))
    found: dict[str, dict[str, float]] = {}
    for name, given in PERIODS.items():
        filters = ReportFilters.read(given, today=date(2026, 12, 31))
        found[name] = {}
        for report in REPORTS:
            times = []
            for _ in range(rounds):
                start = time.perf_counter()
                await maker.make(connection, report, filters)
                times.append(1000 * (time.perf_counter() - start))
            found[name][report.id] = round(statistics.quantiles(times, n=20)[-1], 1)
        slowest = max(found[name], key=lambda report: found[name][report])
        print(
            f"{name}: slowest {slowest} {found[name][slowest]} ms; median report {statistics.median(found[name].values()):.0f} ms",
            flush=True,
        )
    return found


async def run(referrals: int, base_days: int, rounds: int) -> dict[str, Any]:
    server = EmbeddedPostgres((ROOT / "reports-postgres").resolve(), port=find_free_port())
    server.start()
    try:
        dsn = server.dsn()
        await upgrade_database(dsn)
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute("SET jit = off")
            start = time.perf_counter()
            await fill(connection, base_days, referrals)
            rows = {
                table: await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608
                for table in ("report_cells", "report_referrals", "report_deliveries", "report_clocks")
            }
            print(f"filled in {time.perf_counter() - start:.0f} s: {rows}", flush=True)
            return {
                "at": datetime.now(UTC).isoformat(),
                "events": rows["report_referrals"] * EVENTS_A_REFERRAL,
                "rows": rows,
                "rounds": rounds,
                "p95_ms": await measure(connection, rounds),
            }
        finally:
            await connection.close()
    finally:
        server.destroy()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.reports")
    parser.add_argument("--referrals", type=int, default=1_000_000)
    parser.add_argument("--base-days", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    result = asyncio.run(run(options.referrals, options.base_days, options.rounds))
    ROOT.mkdir(parents=True, exist_ok=True)
    (ROOT / "reports.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
