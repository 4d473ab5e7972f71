"""What can happen between reading a batch and its COMMIT: another worker, a new directory, a lost reply. Nothing is done twice or under old keys."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from broker.amqp.consumer import Incoming
from broker.config import read_log_key
from broker.delivery.queues import QueueNames
from broker.intake.batch import Intake
from broker.intake.ports import IntakeParts, Times
from broker.log import LogWriter
from broker.registry import DirectorySnapshot, Registry
from broker.registry.packs import InstalledPack, PackShelf
from broker.store import open_pool
from broker.wiring import Deciders, read_authority_keys, read_real_clock
from schemas.errors import DependencyUnavailable
from tests.support.hub_world import POLICE, Draft, HubWorld, open_hub_world
from tests.support.servers import RabbitVhost


@pytest.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub") as world:
        yield world


@pytest.fixture
async def pool(world: HubWorld) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(world.config.postgres.read_dsn("worker"), name="test", most=6)
    yield pool
    await pool.close()


class Snapshots:
    """The registry, with something that happens just after it was read."""

    def __init__(self, registry: Registry, change: Callable[[DirectorySnapshot], Any] | None = None) -> None:
        self.registry = registry
        self.change = change

    async def current(self, connection: Any = None) -> DirectorySnapshot:
        snapshot = await self.registry.current(connection)
        if self.change is not None:
            change, self.change = self.change, None
            await change(snapshot)
        return snapshot


def build_intake(
    world: HubWorld, pool: asyncpg.Pool, change: Callable[[DirectorySnapshot], Any] | None = None
) -> Intake:
    registry = Registry(pool, read_authority_keys(world.config.trust_file), read_real_clock)
    parts = IntakeParts(
        pool=pool,
        log=LogWriter(world.config.log.origin, read_log_key(world.config.log.key_file)),
        snapshots=Snapshots(registry, change),
        deciders=Deciders(PackShelf(InstalledPack.load(None, None))),
        times=Times(read_real_clock, read_real_clock),
        observe=lambda _step: None,
    )
    return Intake(parts, queues=QueueNames(), lease=timedelta(seconds=60))


def incoming(body: bytes, tag: int = 1) -> Incoming:
    return Incoming(
        tag=tag,
        queue="q",
        body=body,
        delivery_id=f"m{tag}",
        user_id=POLICE,
        type="referral",
        redelivered=False,
        delivery_count=0,
        routing_key="",
        exchange="",
        headers={},
    )


async def test_two_workers_with_the_same_messages_do_them_once(world: HubWorld, pool: asyncpg.Pool) -> None:
    messages = [incoming(world.seal(Draft()).body, tag) for tag in range(6)]
    first, second = build_intake(world, pool), build_intake(world, pool)
    taken = await asyncio.gather(first.take(messages), second.take(list(reversed(messages))))
    deliveries = [p.row.delivery_id for t in taken for p in t.parcels if p.row.kind == "delivery"]
    assert len(deliveries) == len(set(deliveries)) == 18
    assert await world.owner.fetchval("SELECT count(*) FROM log_entries") == 24


async def test_a_sender_revoked_meanwhile_is_refused(world: HubWorld, pool: asyncpg.Pool) -> None:
    async def revoke(snapshot: DirectorySnapshot) -> None:
        agencies = tuple(
            a.model_copy(update={"revoked_at": datetime.now(UTC)}) if a.id == POLICE else a
            for a in snapshot.directory.agencies
        )
        revoked = replace(
            snapshot,
            directory=snapshot.directory.model_copy(update={"agencies": agencies}),
            signing_keys={k: v for k, v in snapshot.signing_keys.items() if k != POLICE},
            change=snapshot.change + 1,
        )
        await world.owner.execute("UPDATE registry_change SET change = change + 1")
        intake._parts.snapshots.registry._snapshot = revoked  # type: ignore[attr-defined]

    intake = build_intake(world, pool, revoke)
    taken = await intake.take([incoming(world.seal(Draft()).body)])
    assert [p.row.kind for p in taken.parcels] == ["notice"]
    assert await world.owner.fetchval("SELECT count(*) FROM messages") == 0
    assert await world.owner.fetchval("SELECT code FROM quarantine") == "signature-invalid"


@pytest.mark.parametrize("committed", [True, False])
async def test_a_lost_reply_to_commit_is_looked_up(
    world: HubWorld, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    real = asyncpg.transaction.Transaction.commit
    lost = 0

    async def lose_reply(self: Any) -> None:
        nonlocal lost
        if lost:
            return await real(self)
        lost += 1
        if committed:
            await real(self)
        else:
            self._connection.terminate()
        raise ConnectionResetError

    intake = build_intake(world, pool)
    messages = [incoming(world.seal(Draft()).body)]
    monkeypatch.setattr(asyncpg.transaction.Transaction, "commit", lose_reply)
    if committed:
        assert len((await intake.take(messages)).parcels) == 4
    else:
        with pytest.raises(DependencyUnavailable):
            await intake.take(messages)
        assert await world.owner.fetchval("SELECT count(*) FROM log_entries") == 0
        assert len((await intake.take(messages)).parcels) == 4
    assert await world.owner.fetchval("SELECT count(*) FROM log_entries") == 4
    assert await world.owner.fetchval("SELECT count(*) FROM log_checkpoints") == 1
