"""Workers in processes of their own: several at once, restarted when they die, ended by SIGTERM."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import yaml

from tests.support.hub_world import CSC, POLICE, Draft, open_hub_world
from tests.support.servers import RabbitVhost

_PROGRAM = "import sys, pathlib; from broker.config import load_config; from broker.serving import serve_workers; sys.exit(serve_workers(load_config(pathlib.Path(sys.argv[1]))))"


def list_children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_two_processes_share_the_work_and_a_killed_one_comes_back(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub") as world:
        settings = yaml.safe_load(world.config_file.read_text())
        settings["worker"] |= {"processes": 2, "batch_messages": 2}
        world.config_file.write_text(yaml.safe_dump(settings))
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROGRAM, str(world.config_file))
        try:
            drafts = [Draft() for _ in range(20)]
            bodies = [world.seal(draft).body for draft in drafts]
            await world.publish(POLICE, bodies[:10])
            await world.wait_for("SELECT count(*) FROM messages", 10, seconds=20)
            (first, second) = list_children(process.pid)
            os.kill(first, signal.SIGKILL)
            await world.publish(POLICE, bodies[10:] + bodies[:3])
            await world.wait_for("SELECT count(*) FROM messages", 20, seconds=20)
            assert len(await world.receive(CSC, 20)) >= 20
            for _ in range(100):
                children = list_children(process.pid)
                if len(children) == 2 and first not in children:
                    break
                await asyncio.sleep(0.1)
            assert second in list_children(process.pid)
            assert len(list_children(process.pid)) == 2
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 20) == 0
        finally:
            if process.returncode is None:
                process.kill()
        rows = await world.owner.fetch("SELECT position FROM log_entries ORDER BY position")
        assert [row["position"] for row in rows] == list(range(80))


async def test_workers_end_when_their_parent_is_killed(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub") as world:
        settings = yaml.safe_load(world.config_file.read_text())
        settings["worker"] |= {"processes": 2}
        world.config_file.write_text(yaml.safe_dump(settings))
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROGRAM, str(world.config_file))
        try:
            await world.publish(POLICE, [world.seal(Draft()).body])
            await world.wait_for("SELECT count(*) FROM messages", 1, seconds=20)
            children = list_children(process.pid)
        finally:
            process.kill()
        await process.wait()
        for _ in range(100):
            if not any(is_running(child) for child in children):
                break
            await asyncio.sleep(0.1)
        assert [child for child in children if is_running(child)] == []


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
