"""A log of 100,000 entries: what ``make bench`` measures at ten million, counted instead of timed. Also that the bench's made log is a right one."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest

import schemas.merkle
from bench.synthetic_log import LogPlan, fill_log
from broker.log.append import LogWriter
from broker.log.events import NewEvent
from broker.log.fsck import Fsck
from broker.log.reading import prove_entry, prove_growth
from broker.store import upgrade_database
from schemas.canonical import decode_base64url
from schemas.checkpoint import LogVerifier, read_proof, verify_proof, write_verifier
from schemas.keys import KeyUse, generate_ed25519_jwk, public_part
from schemas.merkle import verify_consistency
from tests.support.servers import fresh_database

ORIGIN = "log.example.org/test"
JWK = generate_ed25519_jwk(KeyUse.LOG)
LOG = LogVerifier.from_text(write_verifier(ORIGIN, public_part(JWK)))
SMALL, LARGE, A_CHECKPOINT = 10_000, 100_000, 100
HASHES_A_TILE, TILE_LEVELS = 2 * 256, 3
"""A path leaves a tile at one hash; the subtrees beside it are hashed from the tile and, at the right edge, from the partial one."""


async def open_log(dsn: str, size: int) -> asyncpg.Connection:
    await upgrade_database(dsn)
    connection = await asyncpg.connect(dsn, command_timeout=60)
    await fill_log(connection, LogPlan(ORIGIN, JWK, size, A_CHECKPOINT, payloads=True))
    return connection


async def count_work(
    connection: asyncpg.Connection, prove: Callable[[], Awaitable[object]], patch: pytest.MonkeyPatch
) -> tuple[int, int]:
    """Return how many hashes and how many statements a proof takes."""
    hashes, statements = [0], [0]
    real = schemas.merkle.hash_node

    def count_hash(left: bytes, right: bytes) -> bytes:
        hashes[0] += 1
        return real(left, right)

    def count_statement(_record: object) -> None:
        statements[0] += 1

    with patch.context() as patched, connection.query_logger(count_statement):
        patched.setattr(schemas.merkle, "hash_node", count_hash)
        patched.setattr("broker.log.append.hash_node", count_hash)
        await prove()
    return hashes[0], statements[0]


@pytest.mark.timeout(300)
async def test_proofs_of_a_large_log_take_at_most_twice_the_work(
    database: str, postgres: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements_at: dict[int, int] = {}
    most_hashes = 0
    async for other in fresh_database(postgres):  # type: ignore[arg-type]
        for dsn, size in ((database, SMALL), (other, LARGE)):
            connection = await open_log(dsn, size)
            total = 0
            for position in range(7, size, size // 23):
                text = await prove_entry(connection, position, latest=True)
                entry = await connection.fetchval("SELECT entry FROM log_entries WHERE position = $1", position)
                assert verify_proof(read_proof(text), entry, LOG) is not None
                first = max(A_CHECKPOINT, position // A_CHECKPOINT * A_CHECKPOINT)
                roots = [
                    await connection.fetchval("SELECT root FROM log_checkpoints WHERE size = $1", at)
                    for at in (first, size)
                ]
                proof = await prove_growth(connection, first, size)
                assert verify_consistency(first, size, roots[0], roots[1], proof)
                for prove in (
                    lambda c=connection, at=position: prove_entry(c, at, latest=True),
                    lambda c=connection, at=first, end=size: prove_growth(c, at, end),
                ):
                    hashes, statements = await count_work(connection, prove, monkeypatch)
                    most_hashes = max(most_hashes, hashes)
                    total += statements
            statements_at[size] = total
            if size == LARGE:
                await assert_whole_and_goes_on(connection)
            await connection.close()
    assert statements_at[LARGE] <= 2 * statements_at[SMALL], statements_at
    assert most_hashes <= HASHES_A_TILE * TILE_LEVELS, "a proof computes no tile, it reads it"


async def assert_whole_and_goes_on(connection: asyncpg.Connection) -> None:
    """``fsck`` finds nothing, and the sequencer appends to what was copied in."""
    told: list[int] = []
    state = await Fsck(connection, ORIGIN, decode_base64url(JWK["x"])).run(lambda done, _: told.append(done))
    assert state.findings == []
    assert told == sorted(told)
    assert told[-1] == LARGE
    events = [NewEvent.clear("heartbeat", {"at": "x", "size": number}) for number in range(300)]
    async with connection.transaction():
        at = await connection.fetchval("SELECT max(at) FROM log_checkpoints")
        batch = await LogWriter(ORIGIN, JWK).append(connection, events, at=at)
    assert batch.size == LARGE + 300
    again = await Fsck(connection, ORIGIN, decode_base64url(JWK["x"]), state=state).run()
    assert again.findings == []
    await connection.execute("UPDATE log_tiles SET root = $1 WHERE level = 0 AND number = 200", bytes(32))
    found = await Fsck(connection, ORIGIN, decode_base64url(JWK["x"])).run()
    assert [(f.code, f.where) for f in found.findings] == [("tile-wrong", "log_tiles 0/200")]
