"""Kill -9 of PostgreSQL or RabbitMQ while the worker works: it waits, goes on by itself, and every referral arrives with one effect."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from broker.amqp.administration import RabbitAdministration
from deploy.local.rabbitmq import VHOST
from deploy.local.stack import LocalStack
from tests.support.hub_agency import verify_as
from tests.support.hub_world import CSC, HEALTH, POLICE, SCHOOL, Draft, HubWorld, open_hub_world
from tests.support.servers import RabbitVhost

pytestmark = pytest.mark.timeout(240)

REFERRALS = 24


@pytest.fixture
async def world(own_stack: LocalStack, tmp_path: Path) -> AsyncIterator[HubWorld]:
    administration = RabbitAdministration(own_stack.administration_settings())
    rabbit = RabbitVhost(own_stack, VHOST, administration)
    dsn = own_stack.addresses.postgres_dsn
    async with open_hub_world(dsn, rabbit, tmp_path / "hub", batch_messages=4) as world:
        yield world
    await administration.close()


async def count_rows(world: HubWorld, query: str) -> int:
    """Count on a connection of its own: PostgreSQL may have been away."""
    connection = await asyncpg.connect(world.rabbit.stack.addresses.postgres_dsn)
    try:
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


async def wait_for_rows(world: HubWorld, query: str, least: int, *, seconds: float = 60.0) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        try:
            if await count_rows(world, query) >= least:
                return
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass  # it is away just now, which is what this test is about
        assert loop.time() < deadline, f"fewer than {least} rows after {seconds} s"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("victim", ["postgres", "rabbitmq"])
async def test_a_killed_server_delays_and_loses_nothing(world: HubWorld, victim: str) -> None:
    stack = world.rabbit.stack
    drafts = [Draft() for _ in range(REFERRALS)]
    bodies = [world.seal(draft).body for draft in drafts]
    async with world.running_worker():
        await world.publish(POLICE, bodies[: REFERRALS // 2])
        await wait_for_rows(world, "SELECT count(*) FROM messages", 1)
        await asyncio.to_thread(getattr(stack, victim).kill)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(stack.start)
        await world.publish(POLICE, bodies[REFERRALS // 2 :])
        await wait_for_rows(world, "SELECT count(*) FROM messages", REFERRALS)
        await wait_for_rows(world, "SELECT (count(*) = 0)::int FROM outbox WHERE offers = 0", 1)
        agencies = (CSC, HEALTH, SCHOOL, POLICE)
        found = await asyncio.gather(*(world.receive(agency, 4 * REFERRALS, seconds=2) for agency in agencies))
    received = dict(zip(agencies, found, strict=True))
    notices = received.pop(POLICE)
    ids = {draft.message_id for draft in drafts}
    for agency, messages in received.items():
        arrived = {verify_as(world, agency, message.body).manifest.message_id for message in messages}
        assert arrived == ids
    assert len({notice.body for notice in notices}) == REFERRALS
    connection = await asyncpg.connect(stack.addresses.postgres_dsn)
    rows = await connection.fetch("SELECT position, kind FROM log_entries ORDER BY position")
    await connection.close()
    assert [row["position"] for row in rows] == list(range(len(rows)))
    assert Counter(row["kind"] for row in rows) == {"accepted": REFERRALS, "decided": 3 * REFERRALS}
