"""The console's bench at a few thousand events: every page of the route policies is measured, and answers."""

from datetime import UTC, datetime
from pathlib import Path

import anyio.to_thread
import pytest

import bench.console
from bench.console import measure_console, prepare_database, write_table
from bench.console_pages import MeasuredPage, list_measured
from bench.filled import FilledCounty, describe_county, prepare_county
from bench.filling import CountyPlan
from broker.console.app import list_policies
from deploy.local.stack import LocalStack
from tests.support.console import ConsoleSite
from tests.support.console_paths import ELSEWHERE

NOT_HERE = ELSEWHERE | {"/referrals/{searched_id}/evidence.zip", "/static/{digest}/{name:path}"}
"""What these accounts have not, packs that need other credentials, and a static file of another version: refused, and still measured."""


def list_first_ways(county: FilledCounty, console: ConsoleSite) -> list[MeasuredPage]:
    """Return each route in its first way and its last: enough to see that it can be measured."""
    found: dict[str, list[MeasuredPage]] = {}
    for page in list_measured(county, console):
        found.setdefault(page.route, []).append(page)
    return [page for pages in found.values() for page in pages[:1] + pages[1:][-1:]]


@pytest.mark.timeout(300)
async def test_every_page_is_measured(
    postgres: LocalStack, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await prepare_county(
        database, tmp_path, CountyPlan(30, 6, datetime.now(UTC).replace(microsecond=0)), lambda _step: None
    )
    county = describe_county(tmp_path, database, known, postgres_pid=postgres.postgres.pid or 0)
    await prepare_database(county)
    monkeypatch.setattr(bench.console, "list_measured", list_first_ways)
    result = await anyio.to_thread.run_sync(measure_console, county, 1)
    measured = {name.partition(" (")[0]: set(figures["statuses"]) for name, figures in result["pages"].items()}
    assert set(measured) == {policy.path for policy in list_policies() if policy.method == "GET"}
    refused = {path for path, statuses in measured.items() if statuses - {200, 303}}
    assert refused <= NOT_HERE
    assert {status for statuses in measured.values() for status in statuses} <= {200, 303, 403, 404}
    assert result["baseline"]["p50"] > 0
    assert all(figures["p95"] >= figures["p50"] > 0 for figures in result["pages"].values())
    assert f"{len(result['pages'])} pages at {county.events} events" in write_table(result)
