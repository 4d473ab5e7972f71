"""What operators and auditors run, on a hub that works: status, agencies, quarantine, audit; and a plan that the worker keeps."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import yaml
from typer.testing import CliRunner, Result

from broker.api.wiring import open_api
from broker.config import load_config
from deploy.cli import app, report_error
from deploy.local.processes import find_free_port
from schemas.errors import DependencyUnavailable, IntegrityBroken, NotFound, SafelaneError
from tests.support.hub_api import HUB_URL
from tests.support.hub_world import POLICE, Draft, HubWorld, open_hub_world
from tests.support.servers import RabbitVhost

ROOT = Path(__file__).parents[2]


@pytest_asyncio.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with open_hub_world(database, rabbit_vhost, tmp_path) as found:
        settings = yaml.safe_load(found.config_file.read_text())
        settings["api"] = {"public_url": HUB_URL, "certificate_file": "unused", "key_file": "unused"}
        found.config_file.write_text(yaml.safe_dump(settings))
        yield found


async def run(world: HubWorld, *arguments: str) -> Result:
    """Run ``safelane`` in another thread: a command has an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--config", str(world.config_file)])


async def take_in(world: HubWorld, draft: Draft) -> None:
    async with world.running_worker():
        await world.publish(POLICE, [world.seal(draft).body])
        await world.wait_for("SELECT count(*) FROM messages", 1)


async def test_the_worker_decides_what_the_plan_said(world: HubWorld) -> None:
    draft = Draft()
    header = draft.header()
    async with open_api(load_config(world.config_file), lambda: datetime.now(UTC)) as application:
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url=HUB_URL) as client:
            token = world.kits[POLICE].token(HUB_URL)
            body = {"header": header.model_dump(mode="json", exclude_none=True)}
            response = await client.post("/v1/plan", json=body, headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 200, response.text
    planned = {
        d["recipient"]: (d["outcome"], d["row"], {c: (v["result"], v["row"]) for c, v in d["compartments"].items()})
        for d in response.json()["decisions"]
    }
    await take_in(world, draft)
    rows = await world.owner.fetch("SELECT recipient, decision FROM deliveries")
    decided = {}
    for row in rows:
        d = json.loads(row["decision"])
        decided[row["recipient"]] = (
            d["outcome"], d["row"], {c: (v["result"], v["row"]) for c, v in d["compartments"].items()},
        )  # fmt: skip
    assert len(planned) == 3
    assert decided == planned


async def test_status_and_agencies(world: HubWorld) -> None:
    async with world.running_worker():
        await world.publish(POLICE, [world.seal(Draft()).body])
        await world.wait_for("SELECT count(*) FROM messages", 1)
        status = await run(world, "hub", "status")
    assert status.exit_code == 0, (status.output, status.exception)
    assert re.search(r"workers +ready\n", status.output)
    assert re.search(r"queue urgent +0  \(workers: 1\)\n", status.output)
    assert re.search(r"messages +1\n", status.output)
    assert "rabbitmq               ready" in status.output
    assert re.search(r"directory expires at +\d{4}-\d\d-\d\d \d\d:\d\d UTC\n", status.output)
    assert not re.search(r"\dT\d\d:", status.output), "no instant as a machine writes it"
    agencies = await run(world, "hub", "agencies")
    assert "15 agencies, 4 enrolled." in agencies.output
    for output in (status.output, agencies.output):
        assert "CANARY" not in output


async def test_with_rabbitmq_away_status_says_so_in_words_of_its_own(world: HubWorld) -> None:
    settings = yaml.safe_load(world.config_file.read_text())
    settings["amqp"]["port"] = find_free_port()
    world.config_file.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "deploy.cli", "hub", "status", "--config", str(world.config_file)]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stdout
    assert "rabbitmq               NOT READY: broker-unavailable" in done.stdout
    assert "workers" not in done.stdout, "nobody knows"
    assert done.stderr == "", "a library's own words stand between"


async def test_a_hub_without_a_worker_is_not_ready_however_well_its_servers_are(world: HubWorld) -> None:
    await world.publish(POLICE, [world.seal(Draft()).body])
    status = await run(world, "hub", "status")
    assert status.exit_code == 3, status.output
    assert "rabbitmq               ready" in status.output
    assert re.search(r"workers +NOT READY: no-worker \(.*safelane hub worker", status.output)
    assert re.search(r"queue (urgent|routine) +1  \(workers: 0\)\n", status.output)
    async with open_api(load_config(world.config_file), lambda: datetime.now(UTC)) as application:
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url=HUB_URL) as client:
            told = await client.get("/readyz")
            metrics = (await client.get("/metrics")).text
    assert told.status_code == 200, "the API can do its work, and a restart of it would not help"
    assert (told.json()["intake"]["workers"], sum(told.json()["intake"].values())) == (0, 1)
    assert "safelane_intake_workers 0.0\n" in metrics


async def test_audit_shows_decisions_and_logs_the_look(world: HubWorld) -> None:
    draft = Draft()
    await take_in(world, draft)
    shown = await run(world, "audit", "show", draft.referral_id, "--by", "ann")
    assert shown.exit_code == 0, (shown.output, shown.exception)
    assert f"{draft.referral_id} revision 1: CP_S47 from {POLICE}" in shown.output
    assert shown.output.count(" by D3") == 3
    assert "C10 " in shown.output
    assert "The hub took the message in." in shown.output
    assert "log 0" in shown.output
    assert await world.owner.fetchval("SELECT count(*) FROM log_entries WHERE kind = 'audit_read'") == 1
    delivery_id = await world.owner.fetchval("SELECT delivery_id FROM deliveries LIMIT 1")
    as_json = json.loads((await run(world, "audit", "show", delivery_id, "--json")).output)
    assert len(as_json["messages"][0]["deliveries"]) == 3
    missing = await run(world, "audit", "show", "ref-that-is-not", "--by", "ann")
    assert isinstance(missing.exception, NotFound)
    assert await world.owner.fetchval("SELECT count(*) FROM log_entries WHERE kind = 'audit_read'") == 3


async def test_quarantine_list_show_replay_reject(world: HubWorld) -> None:
    async with world.running_worker():
        await world.publish(POLICE, [b'{"CANARY": 1}', b"not json CANARY"])
        await world.wait_for("SELECT count(*) FROM quarantine", 2)
    listed = await run(world, "quarantine", "list")
    assert listed.exit_code == 0, (listed.output, listed.exception)
    ids = re.findall(r"^[0-9a-f-]{36}", listed.output, re.MULTILINE)
    assert len(ids) == 2
    shown = await run(world, "quarantine", "show", ids[0])
    assert POLICE in shown.output
    assert "CANARY" not in listed.output + shown.output
    rejected = await run(world, "quarantine", "reject", ids[0], "--by", "ann", "--reason", "a test")
    assert rejected.exit_code == 0, (rejected.output, rejected.exception)
    again = await run(world, "quarantine", "reject", ids[0], "--by", "ann", "--reason", "a test")
    assert isinstance(again.exception, NotFound)
    await run(world, "quarantine", "replay", ids[1], "--by", "ann", "--reason", "a test")
    assert await world.owner.fetchval("SELECT state FROM quarantine WHERE quarantine_id = $1", ids[1]) == "replaying"
    async with world.running_worker():
        await world.wait_for("SELECT state FROM quarantine WHERE quarantine_id = $1", "open", ids[1])
    assert await world.owner.fetchval("SELECT seen FROM quarantine WHERE quarantine_id = $1", ids[1]) >= 2
    assert await world.owner.fetchval("SELECT count(*) FROM log_entries WHERE kind = 'quarantine_decided'") == 2
    assert isinstance((await run(world, "quarantine", "show", "x")).exception, NotFound)


@pytest.mark.parametrize(
    ("error", "code"), [(NotFound("x"), 1), (DependencyUnavailable("x"), 3), (IntegrityBroken("x"), 4)]
)
def test_exit_codes(error: SafelaneError, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_error(error) == code
    assert error.public_message in capsys.readouterr().err
