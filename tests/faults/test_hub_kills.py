"""Kill -9 of the hub's worker after each of its steps: every referral is taken in once, reaches everyone, and nothing leaves before COMMIT."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.amqp.queue_state import read_queue, read_queues
from broker.amqp.topology import INTAKE_QUEUES
from tests.support.hub_agency import verify_as
from tests.support.hub_world import CSC, HEALTH, POLICE, SCHOOL, Draft, HubWorld, open_hub_world
from tests.support.servers import RabbitVhost

BEFORE_COMMIT = ("received", "verified", "decided", "stored", "appended")
AFTER_COMMIT = ("committed", "acked", "published", "settled")
REFERRALS = 5


@pytest.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub") as world:
        yield world


async def run_until_killed(world: HubWorld, step: str, *, number: int = 1, mutation: str = "none") -> None:
    """Run a worker in a process of its own until it has killed itself."""
    arguments = ("-m", "tests.support.killed_worker", str(world.config_file), step, str(number), mutation)
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    try:
        assert await asyncio.wait_for(process.wait(), 30) == -9
    finally:
        if process.returncode is None:
            process.kill()


@asynccontextmanager
async def running_mutant(world: HubWorld, mutation: str) -> AsyncIterator[None]:
    """Run a worker with a mutation, or without, that nothing kills meanwhile."""
    if mutation == "none":
        async with world.running_worker():
            yield
        return
    arguments = ("-m", "tests.support.killed_worker", str(world.config_file), "never", "1", mutation)
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def check_survival(world: HubWorld, step: str, *, mutation: str = "none", then: str = "none") -> None:
    """Send referrals, kill the worker after ``step``, run another, and check that all is as if nothing had happened.

    ``mutation`` is that of the worker that dies, ``then`` that of the one that takes over.
    """
    drafts = [Draft() for _ in range(REFERRALS)]
    await world.publish(POLICE, [world.seal(draft).body for draft in drafts])
    await run_until_killed(world, step, mutation=mutation)
    committed = await world.owner.fetchval("SELECT count(*) FROM log_checkpoints")
    if step in BEFORE_COMMIT:
        assert committed == 0, "the worker died after its COMMIT"
        for agency in (CSC, HEALTH, SCHOOL, POLICE):
            state = await read_queue(world.rabbit.amqp_settings("hub"), world.queues[agency])
            assert state is not None
            assert state.waiting == 0, "something left the hub before COMMIT"
    async with running_mutant(world, then):
        await world.wait_for("SELECT count(*) FROM messages", REFERRALS, seconds=10)
        await world.wait_for("SELECT count(*) FROM outbox WHERE offers = 0", 0, seconds=20)
        await wait_for_empty_intake(world)
        agencies = (CSC, HEALTH, SCHOOL, POLICE)
        found = await asyncio.gather(*(world.receive(agency, 4 * REFERRALS, seconds=1) for agency in agencies))
    received = dict(zip(agencies, found, strict=True))
    notices = received.pop(POLICE)
    ids = {draft.message_id for draft in drafts}
    for agency, messages in received.items():
        bodies = {verify_as(world, agency, m.body).manifest.message_id: m.body for m in messages}
        assert bodies.keys() == ids, "a delivery is missing"
        assert {m.body for m in messages} == set(bodies.values()), "two copies of a delivery differ"
    assert len({notice.body for notice in notices}) == REFERRALS
    await check_log(world)


async def wait_for_empty_intake(world: HubWorld) -> None:
    """Wait until RabbitMQ has nothing more to hand out, and a moment for what was handed out last."""
    for _ in range(100):
        lanes = await read_queues(world.rabbit.amqp_settings("hub"), INTAKE_QUEUES.values())
        if [state.waiting for state in lanes.values() if state] == [0, 0]:
            await asyncio.sleep(0.5)
            return
        await asyncio.sleep(0.1)
    raise AssertionError("intake is not empty")


async def check_log(world: HubWorld) -> None:
    """Check that each referral has one effect in the log, at gap-free positions."""
    rows = await world.owner.fetch("SELECT position, kind FROM log_entries ORDER BY position")
    assert [row["position"] for row in rows] == list(range(len(rows)))
    assert Counter(row["kind"] for row in rows) == {"accepted": REFERRALS, "decided": 3 * REFERRALS}, "a second effect"


@pytest.mark.parametrize("step", [*BEFORE_COMMIT, *AFTER_COMMIT])
async def test_a_worker_killed_at_any_step_loses_and_repeats_nothing(world: HubWorld, step: str) -> None:
    await check_survival(world, step)


@pytest.mark.parametrize(
    ("mutation", "then", "step", "noticed"),
    [
        ("ack_before_commit", "none", "stored", "FROM messages: 0 instead of"),
        ("publish_before_commit", "none", "appended", "left the hub before COMMIT"),
        ("none", "no_dedupe", "committed", "a second effect|copies of a delivery differ"),
    ],
)
async def test_a_worker_that_breaks_the_order_is_noticed(
    world: HubWorld, mutation: str, then: str, step: str, noticed: str
) -> None:
    with pytest.raises(AssertionError, match=noticed):
        await check_survival(world, step, mutation=mutation, then=then)
