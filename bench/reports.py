"""How long each report takes at ten million events, over periods of a month to two years: ``python -m bench.reports``, on the filled county.

Prints each report's slowest period and writes ``var/bench/reports.json``.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from bench.console import find_percentile
from bench.filled import EVENTS, FilledCounty, open_filled
from bench.servers import ROOT, write_result
from broker.reports.catalogue import REPORTS
from broker.reports.making import ReportMaker
from broker.reports.periods import ReportFilters
from tests.support.hub_api import set_role_password, with_login

ROUNDS: Final = 30
LIMIT_MS: Final = 300
TABLES: Final = ("report_cells", "report_durations", "report_referrals", "report_deliveries", "report_clocks")


def list_periods(county: FilledCounty) -> dict[str, dict[str, str]]:
    """Return filters by name; no period begins or ends with a month, so that days are read at both edges."""
    last, first = county.ends_at.date(), county.starts_at.date()

    def back(days: int) -> dict[str, str]:
        return {"from": (last - timedelta(days=days)).isoformat(), "to": (last - timedelta(days=5)).isoformat()}

    years = {"from": (first + timedelta(days=1)).isoformat(), "to": last.isoformat()}
    return {
        "a month": back(35),
        "a quarter": back(95),
        "a year": back(370),
        "two years": years,
        "two years, one area": {**years, "area": "E10999001"},
        "two years, one kind": {**years, "kind": "PPN"},
        "two years, one area and kind": {**years, "area": "E10999001", "kind": "PPN"},
    }


async def measure(county: FilledCounty, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return p50, p95 and the longest in milliseconds of each report, for each period, as the console's role reads it."""
    owner = await asyncpg.connect(county.dsn)
    await set_role_password(owner, "safelane_console")
    await owner.close()
    connection = await asyncpg.connect(with_login(county.dsn, "safelane_console"), server_settings={"jit": "off"})
    maker = ReportMaker(lambda: county.ends_at)
    found: dict[str, dict[str, dict[str, float]]] = {report.id: {} for report in REPORTS}
    try:
        for name, given in list_periods(county).items():
            filters = ReportFilters.read(given, today=county.ends_at.date())
            for report in REPORTS:
                times = []
                for _ in range(rounds):
                    start = time.perf_counter()
                    await maker.make(connection, report, filters)
                    times.append(1000 * (time.perf_counter() - start))
                found[report.id][name] = _describe(times)
    finally:
        await connection.close()
    return found


def _describe(times: list[float]) -> Mapping[str, float]:
    return {
        "p50": round(statistics.median(times), 1),
        "p95": round(find_percentile(times, 95), 1),
        "max": round(max(times), 1),
    }  # fmt: skip


async def run(events: int, rounds: int, *, fresh: bool = False) -> dict[str, Any]:
    """Open the filled county and measure."""
    async with open_filled(events, fresh=fresh) as county:
        load = os.getloadavg()[0]
        times = await measure(county, rounds)
        owner = await asyncpg.connect(county.dsn)
        rows = {
            table: await owner.fetchval("SELECT reltuples::bigint FROM pg_class WHERE oid = $1::regclass", table)
            for table in TABLES
        }
        await owner.close()
    slowest = {report: max(periods.items(), key=lambda found: found[1]["p95"]) for report, periods in times.items()}
    return {
        "at": datetime.now(UTC).isoformat(),
        "events": county.events,
        "rows": rows,
        "rounds": rounds,
        "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
        "limit_ms": LIMIT_MS,
        "slowest_p95_ms": max(figures["p95"] for _, figures in slowest.values()),
        "over": [f"{report}, {period}" for report, periods in times.items() for period, f in periods.items() if f["p95"] > LIMIT_MS],
        "milliseconds": times,
    }  # fmt: skip


def main(events: int = EVENTS, rounds: int = ROUNDS, *, fresh: bool = False) -> None:
    """Measure, write the result and print it."""
    result = asyncio.run(run(events, rounds, fresh=fresh))
    write_result("reports", result)
    (ROOT / "reports.json").write_text(json.dumps(result, indent=2) + "\n")
    for report, periods in result["milliseconds"].items():
        period, figures = max(periods.items(), key=lambda found: found[1]["p95"])
        print(f"  {figures['p50']:8.1f} {figures['p95']:8.1f} {figures['max']:8.1f} ms  {report}, {period}")
    print(
        f"reports: {result['events']} events, load {result['load_average']}; over {LIMIT_MS} ms: {', '.join(result['over']) or 'none'}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.reports")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--fresh", action="store_true", help="fill anew, also where the county is there")
    options = parser.parse_args()
    main(options.events, options.rounds, fresh=options.fresh)
