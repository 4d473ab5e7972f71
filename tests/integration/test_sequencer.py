"""The sequencer under what databases do: deadlocks, lost replies, two that think they lead. Never two checkpoints of one size; no log, no release."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from broker.intake.committing import commit_effects
from broker.intake.effects import Effects
from broker.log import LogWriter, NewEvent
from broker.log.append import SEQUENCER_LOCK, insert_payloads, read_edge
from broker.log.fsck import Fsck
from broker.log.lock_watch import HELD_TOO_LONG_SECONDS, LockWatch
from broker.store import open_pool, translate_errors, upgrade_database
from broker.store.pool import StoreUnavailable
from schemas.canonical import decode_base64url
from schemas.checkpoint import LogVerifier, verify_checkpoint, write_verifier
from schemas.errors import ConfigInvalid, IntegrityBroken
from schemas.keys import KeyUse, generate_ed25519_jwk, public_part
from schemas.merkle import compute_root
from tests.support.hub_api import set_role_password, with_login
from tests.support.hub_world import CSC, POLICE, Draft, open_hub_world
from tests.support.proxy import CutProxy
from tests.support.reviewing import PersonalApi, serve_api
from tests.support.servers import RabbitVhost

ORIGIN = "log.example.org/test"
JWK = generate_ed25519_jwk(KeyUse.LOG)
VERIFIER = LogVerifier.from_text(write_verifier(ORIGIN, public_part(JWK)))
LOG = LogWriter(ORIGIN, JWK)


def now() -> datetime:
    return datetime.now(UTC)


def new_events(count: int) -> list[NewEvent]:
    return [NewEvent.salted("audit_read", {"at": "x", "by": "p", "action": "a", "subject": "s"}) for _ in range(count)]


@pytest.fixture
async def dsn(database: str) -> str:
    await upgrade_database(database)
    owner = await asyncpg.connect(database)
    await set_role_password(owner, "safelane_worker")
    await owner.close()
    return with_login(database, "safelane_worker")


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(dsn, name="test", most=4)
    yield pool
    await pool.close()


async def assert_one_story(pool: asyncpg.Pool) -> int:
    """Every size has one checkpoint, each is of the entries that are there, and there is no gap; return the size."""
    rows = await pool.fetch("SELECT position, leaf_hash FROM log_entries ORDER BY position")
    assert [row["position"] for row in rows] == list(range(len(rows)))
    notes = await pool.fetch("SELECT size, note FROM log_checkpoints ORDER BY size")
    for row in notes:
        checkpoint = verify_checkpoint(row["note"], VERIFIER)
        assert checkpoint.size == row["size"]
        assert checkpoint.root == compute_root([r["leaf_hash"] for r in rows[: row["size"]]])
    assert (notes[-1]["size"] if notes else 0) == len(rows)
    return len(rows)


async def append(pool: asyncpg.Pool, count: int = 1) -> str:
    with translate_errors():
        async with pool.acquire() as connection, connection.transaction():
            return (await LOG.append(connection, new_events(count), at=now())).note


async def test_of_two_that_think_they_lead_one_commits(pool: asyncpg.Pool) -> None:
    await append(pool, 3)
    notes: list[str] = []

    async def lead(edge_read: asyncio.Barrier) -> None:
        async with pool.acquire() as connection, connection.transaction():
            events = new_events(2)
            await insert_payloads(connection, events)
            # Each has the edge without the lock, as after a lock service that granted it twice.
            row = await connection.fetchrow("SELECT size, edge, at FROM log_checkpoints ORDER BY size DESC LIMIT 1")
            edge = read_edge(row["size"], row["edge"], row["at"])
            await edge_read.wait()
            notes.append((await LOG.append_locked(connection, edge, events, at=now())).note)

    barrier = asyncio.Barrier(2)
    outcomes = await asyncio.gather(lead(barrier), lead(barrier), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome] == [asyncpg.UniqueViolationError]
    assert await assert_one_story(pool) == 5


async def test_every_checkpoint_of_appends_at_one_instant_is_missed_when_it_is_gone(dsn: str, database: str) -> None:
    at, key = now(), decode_base64url(JWK["x"])
    writer = await asyncpg.connect(dsn)
    for _ in range(4):
        async with writer.transaction():
            await LOG.append(writer, new_events(2), at=at)
    await writer.close()
    owner = await asyncpg.connect(database)
    assert (await Fsck(owner, ORIGIN, key).run()).findings == []
    for size in (2, 4, 6, 8):
        transaction = owner.transaction()
        await transaction.start()
        await owner.execute("DELETE FROM log_checkpoints WHERE size = $1", size)
        findings = (await Fsck(owner, ORIGIN, key).run()).findings
        await transaction.rollback()
        assert {f.code for f in findings} == {"no-checkpoint-covers" if size == 8 else "instant-wrong"}
    await owner.close()


async def test_a_deadlock_ends_one_transaction_and_leaves_one_story(pool: asyncpg.Pool) -> None:
    await append(pool)
    first_has_row, second_has_log = asyncio.Event(), asyncio.Event()

    async def row_then_log() -> str:
        with translate_errors():
            async with pool.acquire() as connection, connection.transaction():
                await connection.fetchval("SELECT pg_advisory_xact_lock(77)")
                first_has_row.set()
                await second_has_log.wait()
                return (await LOG.append(connection, new_events(1), at=now())).note

    async def log_then_row() -> str:
        with translate_errors():
            async with pool.acquire() as connection, connection.transaction():
                await first_has_row.wait()
                note = (await LOG.append(connection, new_events(1), at=now())).note
                second_has_log.set()
                await connection.fetchval("SELECT pg_advisory_xact_lock(77)")
                return note

    outcomes = await asyncio.gather(row_then_log(), log_then_row(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if not isinstance(outcome, str)] == [StoreUnavailable]
    assert await assert_one_story(pool) == 2
    await append(pool)
    assert await assert_one_story(pool) == 3


async def test_what_was_signed_and_rolled_back_is_in_no_story(pool: asyncpg.Pool) -> None:
    """The signature is made before COMMIT: a rollback leaves a signed head of that size that nobody may ever see."""
    await append(pool, 2)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        forgotten = (await LOG.append(connection, new_events(3), at=now())).note
        await transaction.rollback()
    kept = await append(pool, 3)
    assert verify_checkpoint(forgotten, VERIFIER).size == verify_checkpoint(kept, VERIFIER).size == 5
    assert forgotten != kept
    assert [row["note"] for row in await pool.fetch("SELECT note FROM log_checkpoints WHERE size = 5")] == [kept]
    assert await assert_one_story(pool) == 5


async def test_only_the_epoch_that_was_opened_may_write(pool: asyncpg.Pool) -> None:
    await append(pool, 2)
    for epoch, error in ((2, ConfigInvalid), (0, IntegrityBroken)):
        writer = LogWriter(ORIGIN, JWK, epoch=epoch)
        async with pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            with pytest.raises(error, match="open-epoch" if epoch else "later epoch"):
                await writer.append(connection, new_events(1), at=now())
            await transaction.rollback()
    assert await assert_one_story(pool) == 2


async def test_who_waits_for_the_lock_gives_up_and_comes_again(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as holder, holder.transaction():
        await LOG.lock(holder)
        async with pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("SET LOCAL lock_timeout = '200ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await LOG.append(connection, new_events(1), at=now())
            await transaction.rollback()
    await append(pool)
    assert await assert_one_story(pool) == 1


@pytest.mark.parametrize("lost", ["before", "after"])
async def test_a_lost_reply_to_commit_is_read_back(dsn: str, pool: asyncpg.Pool, lost: str) -> None:
    """The connection dies as COMMIT is sent. ``after``: the server had committed; ``before``: it never heard of it."""
    await append(pool, 2)
    parts = urlsplit(dsn)
    proxy = CutProxy(parts.port or 5432)
    await proxy.start()
    user, _, _host = parts.netloc.rpartition("@")
    through = urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}"))
    connection = await asyncpg.connect(through, command_timeout=2)
    try:
        real = connection.transaction

        class LosesReply:
            def __init__(self) -> None:
                self.inner = real(isolation="read_committed")

            async def start(self) -> None:
                await self.inner.start()

            async def rollback(self) -> None:
                await self.inner.rollback()

            async def commit(self) -> None:
                if lost == "after":
                    await self.inner.commit()
                proxy.break_connections()
                raise asyncpg.ConnectionDoesNotExistError("the connection was closed in the middle of operation")

        class Broken:
            def transaction(self, **_options: object) -> LosesReply:
                return LosesReply()

            def __getattr__(self, name: str) -> object:
                return getattr(connection, name)

        effects = Effects(now(), now())
        effects.log(new_events(1)[0])

        snapshot = SimpleNamespace(change=await pool.fetchval("SELECT change FROM registry_change"))
        commit = commit_effects(pool, Broken(), LOG, effects, snapshot=snapshot, observe=lambda _: None)  # type: ignore[arg-type]
        if lost == "after":
            batch = await commit
            assert batch is not None
            assert batch.size == 3
            assert await assert_one_story(pool) == 3
        else:
            with pytest.raises(StoreUnavailable):
                await commit
            assert await assert_one_story(pool) == 2
            await append(pool)
            assert await assert_one_story(pool) == 3
    finally:
        connection.terminate()
        await proxy.close()


async def read_health(api: PersonalApi) -> tuple[int, str, str, dict[str, float]]:
    """Return what the hub says of its log: ``/readyz``' status, code and words, and the metrics of the log by name."""
    ready = await api.client.get("/readyz")
    answer = ready.json()
    lines = [line.rsplit(" ", 1) for line in (await api.client.get("/metrics")).text.splitlines() if line[:1] != "#"]
    metrics = {name: float(value) for name, value in lines if "log" in name}
    return ready.status_code, answer["checks"]["log"], answer.get("why", {}).get("log", ""), metrics


async def test_no_log_no_release_and_it_resumes_by_itself(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.api.readiness.KEEP_SECONDS", 0.0)
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub") as world, serve_api(world) as api:
        await world.owner.execute("REVOKE INSERT ON log_entries FROM safelane_worker, safelane_api")
        status, code, why, metrics = await read_health(api)
        assert (status, code, metrics['safelane_ready{check="log"}']) == (503, "log-not-writable", 0)
        assert "Nothing is released" in why
        async with world.running_worker():
            await world.publish(POLICE, [world.seal(Draft()).body])
            assert await world.receive(CSC, 1, seconds=2) == []
            for table in ("messages", "deliveries", "outbox", "quarantine", "log_entries"):
                assert await world.owner.fetchval(f"SELECT count(*) FROM {table}") == 0, table  # noqa: S608
            await world.owner.execute("GRANT INSERT ON log_entries TO safelane_worker, safelane_api")
            assert len(await world.receive(CSC, 1, seconds=40)) == 1
            status, code, why, metrics = await read_health(api)
            assert (status, code, why, metrics['safelane_ready{check="log"}']) == (200, "ok", "", 1)
            assert metrics["safelane_log_lock_held_seconds"] == 0

            # Somebody else's session takes the lock and keeps it, as a tool that hangs would: no transaction of ours says so.
            await world.owner.fetchval("SELECT pg_advisory_lock($1)", SEQUENCER_LOCK)
            await world.publish(POLICE, [world.seal(Draft()).body])
            status, code, why, metrics = await read_health(api)
            assert (status, code, metrics['safelane_ready{check="log"}']) == (503, "log-locked", 0)
            assert "session ends" in why
            assert metrics["safelane_log_lock_held_seconds"] >= HELD_TOO_LONG_SECONDS
            assert await world.owner.fetchval("SELECT count(*) FROM messages") == 1
            await world.owner.fetchval("SELECT pg_advisory_unlock($1)", SEQUENCER_LOCK)
            assert len(await world.receive(CSC, 1, seconds=40)) == 1
        assert await world.owner.fetchval("SELECT count(*) FROM messages") == 2
        assert (await read_health(api))[:2] == (200, "ok")


async def test_a_busy_lock_that_is_passed_on_is_no_alarm(pool: asyncpg.Pool) -> None:
    """Under load somebody always holds it, each for a moment: another transaction, another holder."""
    watch = LockWatch(pool)
    done = asyncio.Event()

    async def hold_by_turns() -> None:
        while not done.is_set():
            async with pool.acquire() as connection, connection.transaction():
                await LOG.lock(connection)
                await asyncio.sleep(0.2)

    holding = asyncio.create_task(hold_by_turns())
    await asyncio.sleep(0.1)
    await asyncio.wait_for(watch.check(), HELD_TOO_LONG_SECONDS)
    done.set()
    await holding
