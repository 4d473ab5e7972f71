"""``safelane hub worker`` as a process of its own: it works, ends with 0 when told to, and a killed one is simply started again."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.hub_world import CSC, POLICE, Draft, HubWorld, open_hub_world
from tests.support.servers import RabbitVhost

ROOT = Path(__file__).parents[2]


@pytest_asyncio.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with open_hub_world(database, rabbit_vhost, tmp_path) as found:
        yield found


def start_worker(world: HubWorld) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", "hub", "worker", "--config", str(world.config_file)],
        cwd=world.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=(world.folder / "worker.log").open("ab"),
    )


async def test_killed_and_started_again_everything_arrives_once(world: HubWorld) -> None:
    first, second = Draft(), Draft()
    process = start_worker(world)
    await world.publish(POLICE, [world.seal(first).body])
    await world.wait_for("SELECT count(*) FROM messages", 1, seconds=30)
    process.kill()
    process.wait(10)
    await world.publish(POLICE, [world.seal(second).body])
    process = start_worker(world)
    try:
        await world.wait_for("SELECT count(*) FROM messages", 2, seconds=30)
        # One may come twice (killed between publishing and noting it), byte for byte the same: its recipient takes it in once.
        received = await world.receive(CSC, 3, seconds=6)
        assert len({m.body for m in received}) == 2
        assert await world.owner.fetchval("SELECT count(*) FROM deliveries WHERE recipient = $1", CSC) == 2
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 20) == 0
    log = (world.folder / "worker.log").read_text()
    assert "CANARY" not in log
    assert "Traceback" not in log
