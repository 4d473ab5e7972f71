"""The log in a real PostgreSQL: gap-free, signed once per size, provable, and closed to what the worker's role could do to it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from broker.log import LogWriter, NewEvent
from broker.log.reading import prove_entry, read_checkpoint
from broker.store import open_pool, upgrade_database
from schemas.checkpoint import LogVerifier, read_proof, verify_checkpoint, verify_proof, write_verifier
from schemas.errors import IntegrityBroken, NotFound
from schemas.keys import KeyUse, generate_ed25519_jwk, public_part
from schemas.merkle import compute_root, hash_leaf
from tests.support.hub_api import set_role_password, with_login

ORIGIN = "log.example.org/test"
JWK = generate_ed25519_jwk(KeyUse.LOG)
VERIFIER = LogVerifier.from_text(write_verifier(ORIGIN, public_part(JWK)))
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    await upgrade_database(database)
    owner = await asyncpg.connect(database)
    await set_role_password(owner, "safelane_worker")
    await owner.close()
    pool = await open_pool(with_login(database, "safelane_worker"), name="test", most=8)
    yield pool
    await pool.close()


def new_events(count: int, start: int = 0) -> list[NewEvent]:
    return [NewEvent.salted("audit_read", {"at": NOW.isoformat(), "by": f"p{start + n}"}) for n in range(count)]


async def append(pool: asyncpg.Pool, events: list[NewEvent], *, epoch: int = 1):
    async with pool.acquire() as connection, connection.transaction():
        return await LogWriter(ORIGIN, JWK, epoch=epoch).append(connection, events, at=NOW)


async def test_every_entry_is_provable_under_its_batch_and_under_the_newest_checkpoint(pool: asyncpg.Pool) -> None:
    entries: list[bytes] = []
    for count in (1, 3, 250, 2, 300, 7, 1):
        events = new_events(count, len(entries))
        batch = await append(pool, events)
        assert batch.first_position == len(entries)
        for number, event in enumerate(events):
            assert verify_proof(read_proof(batch.proof(number)), event.entry(), VERIFIER) is not None
        entries += [event.entry() for event in events]
        assert verify_checkpoint(batch.note, VERIFIER).root == compute_root([hash_leaf(e) for e in entries])
    async with pool.acquire() as connection:
        for position in (0, 1, 3, 4, 253, 255, 256, 511, 512, 555, 563):
            for latest in (False, True):
                proof = read_proof(await prove_entry(connection, position, latest=latest))
                checkpoint = verify_proof(proof, entries[position], VERIFIER)
                assert checkpoint is not None
                assert (checkpoint.size == len(entries)) or not latest
        assert await connection.fetchval("SELECT count(*) FROM log_tiles") == 2
        assert verify_checkpoint(await read_checkpoint(connection) or "", VERIFIER).size == len(entries)
        with pytest.raises(NotFound):
            await prove_entry(connection, len(entries))


async def test_the_proof_made_at_once_and_the_one_made_later_are_the_same_bytes(pool: asyncpg.Pool) -> None:
    await append(pool, new_events(5))
    batch = await append(pool, new_events(6))
    await append(pool, new_events(300))
    async with pool.acquire() as connection:
        for number in range(6):
            assert await prove_entry(connection, 5 + number) == batch.proof(number)


async def test_many_writers_at_once_leave_no_gap_and_one_checkpoint_for_each_size(pool: asyncpg.Pool) -> None:
    batches = await asyncio.gather(*(append(pool, new_events(3, n * 3)) for n in range(20)))
    assert sorted(batch.first_position for batch in batches) == list(range(0, 60, 3))
    async with pool.acquire() as connection:
        rows = await connection.fetch("SELECT position, leaf_hash FROM log_entries ORDER BY position")
        assert [row["position"] for row in rows] == list(range(60))
        notes = await connection.fetch("SELECT size, note FROM log_checkpoints ORDER BY size")
    for row in notes:
        assert verify_checkpoint(row["note"], VERIFIER).root == compute_root(
            [r["leaf_hash"] for r in rows[: row["size"]]]
        )


async def test_a_rolled_back_append_leaves_nothing_and_its_size_is_signed_anew(pool: asyncpg.Pool) -> None:
    await append(pool, new_events(2))
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await LogWriter(ORIGIN, JWK).append(connection, new_events(2), at=NOW)
        await transaction.rollback()
    batch = await append(pool, new_events(2))
    assert (batch.first_position, batch.size) == (2, 4)


async def test_a_writer_of_an_older_epoch_is_fenced_off(pool: asyncpg.Pool) -> None:
    await append(pool, new_events(1), epoch=2)
    with pytest.raises(IntegrityBroken):
        await append(pool, new_events(1), epoch=1)


async def test_an_edge_that_was_tampered_with_stops_the_log(pool: asyncpg.Pool, database: str) -> None:
    await append(pool, new_events(3))
    owner = await asyncpg.connect(database)
    await owner.execute("UPDATE log_checkpoints SET edge = set_byte(edge, 0, (get_byte(edge, 0) + 1) % 256)")
    await owner.close()
    with pytest.raises(IntegrityBroken):
        await append(pool, new_events(1))


@pytest.mark.parametrize("table", ["log_entries", "log_payloads", "log_checkpoints", "log_tiles"])
@pytest.mark.parametrize(
    "statement",
    ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}", "ALTER TABLE {} ADD COLUMN more int", "DROP TABLE {}"],
)
async def test_the_workers_role_cannot_change_the_log(pool: asyncpg.Pool, table: str, statement: str) -> None:
    column = {"log_entries": "entry", "log_payloads": "event", "log_checkpoints": "note", "log_tiles": "hashes"}[table]
    async with pool.acquire() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement.format(table, column, column))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE messages SET body = body",
        "DELETE FROM messages",
        "UPDATE receipts SET body = body",
        "DELETE FROM receipts",
        "UPDATE deliveries SET decision = decision",
        "DELETE FROM deliveries",
        "INSERT INTO directory_versions (version, sha256, body, issued_at, expires_at) VALUES (1, '', '', now(), now())",
    ],
)
async def test_the_workers_role_cannot_change_what_was_decided_or_the_directory(
    pool: asyncpg.Pool, statement: str
) -> None:
    async with pool.acquire() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
