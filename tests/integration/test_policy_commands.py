"""``safelane policy explain`` and ``simulate`` on a hub that has decided: from its records, and logged."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
import yaml
from typer.testing import CliRunner, Result

from deploy.cli import app
from tests.support.hub_api import HUB_URL
from tests.support.hub_world import POLICE, Draft, HubWorld, open_hub_world
from tests.support.servers import RabbitVhost


@pytest_asyncio.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with open_hub_world(database, rabbit_vhost, tmp_path) as found:
        settings = yaml.safe_load(found.config_file.read_text())
        settings["api"] = {"public_url": HUB_URL, "certificate_file": "unused", "key_file": "unused"}
        found.config_file.write_text(yaml.safe_dump(settings))
        async with found.running_worker():
            await found.publish(POLICE, [found.seal(Draft()).body])
            await found.wait_for("SELECT count(*) FROM messages", 1)
        yield found


async def run(world: HubWorld, *arguments: str) -> Result:
    """Run ``safelane`` in another thread: a command has an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--config", str(world.config_file)])


async def test_explain_tells_a_delivery_by_its_id_and_logs_the_look(world: HubWorld) -> None:
    row = await world.owner.fetchrow("SELECT delivery_id, recipient, reason FROM deliveries ORDER BY number LIMIT 1")
    assert row is not None
    result = await run(world, "policy", "explain", row["delivery_id"], "--by", "ann")
    assert result.exit_code == 0, (result.output, result.exception)
    assert result.output.startswith(f"{row['recipient']}, as ")
    assert row["reason"] in result.output
    assert "run again, it gives the same answer" in result.output
    assert await world.owner.fetchval("SELECT count(*) FROM log_entries WHERE kind = 'audit_read'") == 1


async def test_a_rehearsal_replays_what_the_hub_decided(world: HubWorld, tmp_path: Path) -> None:
    same = await run(world, "policy", "simulate", "--last", "10")
    assert same.exit_code == 0, (same.output, same.exception)
    count = await world.owner.fetchval("SELECT count(*) FROM deliveries")
    assert f"{count} decisions replayed: 0 would change, 0 of them wider." in same.output
    local = tmp_path / "local"
    local.mkdir()
    (local / "local.yaml").write_text(yaml.safe_dump({"id": "trial"}), encoding="utf-8")
    (local / "trial.cedar").write_text(
        '@id("local-stop") @row("D0") @step("300") @reason("A trial.") @authority("None: a trial.")\n'
        'forbid (principal, action in Action::"disclose", resource);\n',
        encoding="utf-8",
    )
    stopped = await run(world, "policy", "simulate", "--last", "10", "--local", str(local))
    assert "outcome: delivered → withheld" in stopped.output, stopped.output
    assert "New: A trial." in stopped.output
    assert await world.owner.fetchval("SELECT count(*) FROM messages") == 1
