"""``make bench ONLY=console``: every page of the console through HTTP at ten million events, against 300 ms at the 95th percentile.

The real program (TLS, sessions, the read event before each page) on the filled county, one request after another. Beside each page, in the same minute,
the plainest page that needs a session is asked for: the ratio of the two moves less with what else the machine does than either. So does the processor
time of the program and of PostgreSQL, from ``/proc``.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import httpx

from bench.console_pages import BASELINE, FIRST_BYTES, MeasuredPage, list_measured
from bench.filled import EVENTS, FilledCounty, open_filled
from bench.processor_time import ServersTime
from bench.servers import ROOT, write_result
from broker.api.wiring import list_projections
from broker.audit import Projector
from broker.console.access import Role
from broker.registry.packs import InstalledPack, PackShelf
from deploy.console_assets import ensure_console_assets
from deploy.local.pki import Pki
from tests.support.console import ConsoleSite, start_console, write_console_config
from tests.support.hub_api import set_role_password

ROUNDS: Final = 30
LIMIT_MS: Final = 300
_WARM_UP: Final = 2
_BESIDE: Final = 6
"""One request of the baseline for so many of a page."""
_FIRST: Final = 4096
_PATIENCE: Final = 60.0
_CONFIRMED: Final = 240.0
PEOPLE: Final = {
    "auditor": (Role.AUDITOR, None),
    "ig-officer": (Role.IG_OFFICER, None),
    "operator": (Role.OPERATOR, None),
    "inspector": (Role.INSPECTOR, None),
    "agency-auditor": (Role.AUDITOR, "csc.marchshire"),
}


@dataclass
class PageTimes:
    """What one page took: milliseconds of each request, of the baseline beside it, and processor milliseconds a request."""

    page: MeasuredPage
    times: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)
    statuses: set[int] = field(default_factory=set)

    @property
    def name(self) -> str:
        return f"{self.page.route}{f' ({self.page.name})' if self.page.name else ''}"

    def describe(self) -> dict[str, Any]:
        """Return the page's figures."""
        return {
            "p50": round(statistics.median(self.times), 1),
            "p95": round(find_percentile(self.times, 95), 1),
            "max": round(max(self.times), 1),
            "ratio": round(statistics.median(self.times) / statistics.median(self.beside), 2),
            "cpu_ms": {name: round(value, 1) for name, value in self.cpu.items()},
            "viewer": self.page.viewer,
            "statuses": sorted(self.statuses),
        }


def find_percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest value that at least so many in a hundred do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, (len(ordered) * percent + 99) // 100 - 1)]


async def measure(events: int, rounds: int, *, fresh: bool = False, only: str = "") -> dict[str, Any]:
    """Open the filled county and its console, and return each page's figures, the slowest first."""
    async with open_filled(events, fresh=fresh) as county:
        await prepare_database(county)
        return await asyncio.to_thread(measure_console, county, rounds, only, on_page=print)


async def prepare_database(county: FilledCounty) -> None:
    """Let the console's role in, lodge a policy pack, and bring the projectors up to the log."""
    owner = await asyncpg.connect(county.dsn, timeout=10)
    try:
        await set_role_password(owner, "safelane_console")
        await PackShelf(InstalledPack.load(None, None)).lodge_installed(owner, datetime.now(UTC))
    finally:
        await owner.close(timeout=5)
    async with asyncpg.create_pool(county.dsn, min_size=0, max_size=2) as pool:
        await Projector(pool, list_projections()).catch_up()


def measure_console(
    county: FilledCounty, rounds: int, only: str = "", *, on_page: Callable[[str], None] = lambda _line: None
) -> dict[str, Any]:
    """Start a console on the county and measure every page whose name holds ``only``."""
    load = [os.getloadavg()[0]]
    found = []
    with open_console(county) as console:
        people = _People(console)
        for page in list_measured(county, console):
            if only in f"{page.route} ({page.name})":
                found.append(measure_page(people, county, page, rounds))
                told = found[-1].describe()
                on_page(
                    f"{told['p50']:8.1f} {told['p95']:8.1f} ms, processor {sum(told['cpu_ms'].values()):6.1f} ms  {found[-1].name}"
                )
        people.close()
    load.append(os.getloadavg()[0])
    beside = [taken for page in found for taken in page.beside]
    pages = {page.name: page.describe() for page in sorted(found, key=lambda page: -find_percentile(page.times, 95))}
    return {
        "at": datetime.now(UTC).isoformat(),
        "events": county.events,
        "rounds": rounds,
        "load_average": [round(value, 1) for value in load],
        "limit_ms": LIMIT_MS,
        "baseline": {
            "page": BASELINE,
            "p50": round(statistics.median(beside), 1),
            "p95": round(find_percentile(beside, 95), 1),
        },
        "over": [name for name, figures in pages.items() if figures["p95"] > LIMIT_MS],
        "pages": pages,
    }


@contextmanager
def open_console(county: FilledCounty) -> Iterator[ConsoleSite]:
    """Run the real console on the county's database, with an account for each role."""
    ensure_console_assets(print)
    folder = county.folder / "console"
    shutil.rmtree(folder, ignore_errors=True)
    pki = Pki(folder / "pki")
    config_file, url, sealer, log = write_console_config(folder, county.dsn, pki, county.trust_file, county.log_jwk)
    process = start_console(config_file, url, folder, pki.ca_file)
    try:
        certificate = pki.issue_server("console").cert_file
        console = ConsoleSite(url, county.dsn, folder, config_file, pki.ca_file, certificate, process, log, sealer)
        console.execute(
            "DELETE FROM console_user_roles; DELETE FROM console_sessions; DELETE FROM console_links; DELETE FROM console_users"
        )
        for name, (role, agency) in PEOPLE.items():
            console.add_person(name, role, agency=agency)
        yield console
    finally:
        process.end()


def measure_page(people: "_People", county: FilledCounty, page: MeasuredPage, rounds: int) -> PageTimes:
    """Ask for a page ``rounds`` times, one after another, and for the baseline in between."""
    found = PageTimes(page)
    client, plain = people.client(page.viewer), people.client("auditor")
    for number in range(min(_WARM_UP, rounds)):
        _ask(client, page.route, page.path(rounds + number))
    pids = {"console": people.console.process.pid, "postgres": county.postgres_pid}
    for start in range(0, rounds, _BESIDE):
        servers = ServersTime({name: pid for name, pid in pids.items() if pid is not None})
        for number in range(start, min(rounds, start + _BESIDE)):
            taken, status = _ask(client, page.route, page.path(number))
            found.times.append(taken)
            found.statuses.add(status)
        for name, seconds in servers.read().items():
            found.cpu[name] = found.cpu.get(name, 0.0) + 1000 * seconds / rounds
        found.beside.append(_ask(plain, BASELINE, BASELINE)[0])
    return found


class _People:
    """A client for each person, signed in anew before a confirmation is too old."""

    def __init__(self, console: ConsoleSite) -> None:
        self.console = console
        self._clients: dict[str | None, tuple[float, httpx.Client]] = {}

    def client(self, name: str | None) -> httpx.Client:
        """Return a client of a person, or of nobody."""
        since, client = self._clients.get(name, (0.0, None))
        if client is None or time.monotonic() - since > _CONFIRMED:
            if client is not None:
                client.close()
            client = self.console.client(self.console.people[name] if name else None)
            client.timeout = httpx.Timeout(_PATIENCE)
            self._clients[name] = (time.monotonic(), client)
        return client

    def close(self) -> None:
        """Close all of them."""
        for _, client in self._clients.values():
            client.close()


def _ask(client: httpx.Client, route: str, path: str) -> tuple[float, int]:
    """Return milliseconds until the answer is there, or its first bytes where it goes on; and its status."""
    started = time.perf_counter()
    if route in FIRST_BYTES:
        with client.stream("GET", path) as answer:
            for _ in answer.iter_bytes(_FIRST if route.endswith(".csv") else None):
                break
    else:
        answer = client.get(path)
    return 1000 * (time.perf_counter() - started), answer.status_code


def write_table(result: dict[str, Any]) -> str:
    """Return the result for a terminal."""
    lines = [f"{'p50':>8} {'p95':>8} {'max':>8} {'ratio':>7} {'cpu console':>12} {'cpu postgres':>13}  page (ms)"]
    for name, figures in result["pages"].items():
        cpu = figures["cpu_ms"]
        status = "" if figures["statuses"] == [200] else f"  {figures['statuses']}"
        lines.append(
            f"{figures['p50']:8.1f} {figures['p95']:8.1f} {figures['max']:8.1f} {figures['ratio']:7.2f} {cpu.get('console', 0):12.1f}"
            f" {cpu.get('postgres', 0):13.1f}  {name}{status}"
        )
    base = result["baseline"]
    lines.append(
        f"console: {len(result['pages'])} pages at {result['events']} events, load {result['load_average']}; baseline {base['page']} p50 {base['p50']},"
        f" p95 {base['p95']} ms; over {result['limit_ms']} ms: {len(result['over'])}"
    )
    lines += [f"  over: {name}" for name in result["over"]]
    return "\n".join(lines)


def main(events: int = EVENTS, rounds: int = ROUNDS, *, fresh: bool = False, only: str = "") -> None:
    """Measure, write the result and print it."""
    result = asyncio.run(measure(events, rounds, fresh=fresh, only=only))
    if not only:
        write_result("console", result)
        (ROOT / "console.json").write_text(json.dumps(result, indent=2) + "\n")
    print(write_table(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.console")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--page", default="", help="only pages whose name holds this text")
    parser.add_argument("--fresh", action="store_true", help="fill anew, also where the county is there")
    options = parser.parse_args()
    main(options.events, options.rounds, fresh=options.fresh, only=options.page)
