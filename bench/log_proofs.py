"""What a proof costs in a log of ten million entries beside one of ten thousand: from the database, and from tiles over HTTP.

``python -m bench.log_proofs [SMALL LARGE]``. Issue: at most twice as much. Each proof is verified; its verification is within the time.
Filling the large log took twenty minutes at a load average of 15 to 20 on two cores; some GB of disk for the while.
"""

import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import asyncpg
import httpx
import structlog
import uvloop

from bench.servers import open_database, write_result
from bench.synthetic_log import LogPlan, fill_log
from broker.log.reading import prove_entry, prove_growth
from schemas.checkpoint import Checkpoint, LogVerifier, read_proof, verify_checkpoint, verify_proof, write_verifier
from schemas.keys import KeyUse, generate_ed25519_jwk, public_part
from schemas.merkle import hash_leaf, prove_consistency, prove_inclusion, verify_consistency, verify_inclusion
from schemas.tiles import TileTree, list_tiles, measure_tile, write_tile_path
from tests.support.http_serving import serve_app
from tests.support.hub_api import open_hub_api

ORIGIN: Final = "log.example.org/bench"
SMALL, LARGE = 10_000, 10_000_000
A_CHECKPOINT: Final = 200
PROOFS: Final = 300
"""Proofs of each kind, of entries and sizes taken by chance."""
WARM_UP: Final = 30


async def measure(small: int = SMALL, large: int = LARGE) -> dict[str, Any]:
    """Return milliseconds a proof at both sizes, taken in turn, and the ratio of each kind."""
    async with AsyncExitStack() as stack:
        began = time.perf_counter()
        of_small = await stack.enter_async_context(_open_log(small))
        of_large = await stack.enter_async_context(_open_log(large))
        filled = time.perf_counter() - began
        costs = {name: await _compare(of_small, of_large, prove) for name, prove in KINDS.items()}
    ratios = {name: round(new / old, 2) for name, (old, new) in costs.items()}
    return {
        "entries": [small, large],
        "proofs_of_each_kind": PROOFS,
        "filled_in_seconds": round(filled),
        "milliseconds": {name: [round(cost, 3) for cost in both] for name, both in costs.items()},
        "ratios": ratios,
        "ratio": max(ratios.values()),
    }


@asynccontextmanager
async def _open_log(size: int) -> AsyncIterator["_Prover"]:
    """Fill a log of ``size`` entries in a database of its own, and serve it."""
    jwk = generate_ed25519_jwk(KeyUse.LOG)
    log = LogVerifier.from_text(write_verifier(ORIGIN, public_part(jwk)))
    async with open_database(f"proofs-{size}") as dsn:
        connection = await asyncpg.connect(dsn, command_timeout=600)
        await fill_log(connection, LogPlan(ORIGIN, jwk, size, A_CHECKPOINT, payloads=False), _tell)
        await connection.close()
        with TemporaryDirectory() as folder:
            async with (
                open_hub_api(dsn, Path(folder)) as api,
                serve_app(api.app) as url,
                httpx.AsyncClient(base_url=url, timeout=30) as client,
            ):
                yield _Prover(log, api.pool, client, size)


def _tell(done: int, total: int) -> None:
    print(f"\r{done:,} of {total:,} entries", end="\n" if done == total else "", flush=True)


async def _compare(of_small: "_Prover", of_large: "_Prover", prove: "Prove") -> tuple[float, float]:
    """Return the medians of a proof in milliseconds in both logs; the first few are not counted."""
    chance = random.Random(1)  # noqa: S311 - a sample that can be repeated
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(PROOFS + WARM_UP):
        for prover, taken in zip((of_small, of_large), times, strict=True):
            began = time.perf_counter()
            await prove(prover, chance.randrange(1, prover.size))
            if number >= WARM_UP:
                taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[0]), statistics.median(times[1])


class _Prover:
    """Makes proofs about one log in four ways, and verifies each."""

    def __init__(self, log: LogVerifier, pool: asyncpg.Pool, client: httpx.AsyncClient, size: int) -> None:
        self._log = log
        self._pool = pool
        self._client = client
        self.size = size

    async def prove_entry_from_database(self, position: int) -> None:
        async with self._pool.acquire() as connection:
            text = await prove_entry(connection, position, latest=True)
            entry = await connection.fetchval("SELECT entry FROM log_entries WHERE position = $1", position)
        _require(verify_proof(read_proof(text), entry, self._log) is not None)

    async def prove_growth_from_database(self, number: int) -> int:
        first = max(number - number % A_CHECKPOINT, A_CHECKPOINT)
        async with self._pool.acquire() as connection:
            old, new = [await self._read_checkpoint(connection, size) for size in (first, self.size)]
            proof = await prove_growth(connection, first, self.size)
        _require(verify_consistency(old.size, new.size, old.root, new.root, proof))

    async def prove_entry_from_tiles(self, position: int) -> None:
        newest = verify_checkpoint((await self._client.get("/log/checkpoint")).text, self._log)
        tree = await self._fetch_tree(newest.size, position)
        path = prove_inclusion(position, newest.size, tree.read_node)
        bundle = await self._fetch("entries", position // 256, newest.size)
        entry = bundle[(position % 256) * 62 + 2 :][:60]  # entries of the made log are 60 bytes long
        _require(verify_inclusion(position, newest.size, hash_leaf(entry), path, newest.root))

    async def prove_growth_from_tiles(self, first: int) -> None:
        newest = verify_checkpoint((await self._client.get("/log/checkpoint")).text, self._log)
        tree = await self._fetch_tree(newest.size, first - 1)
        proof = prove_consistency(first, newest.size, tree.read_node)
        _require(verify_consistency(first, newest.size, tree.root(first), newest.root, proof))

    async def _read_checkpoint(self, connection: asyncpg.Connection, size: int) -> Checkpoint:
        note = await connection.fetchval("SELECT note FROM log_checkpoints WHERE size = $1", size)
        return verify_checkpoint(note, self._log)

    async def _fetch_tree(self, size: int, position: int) -> TileTree:
        tiles = {
            (level, number): await self._fetch(level, number, size) for level, number in list_tiles(size, (position,))
        }
        return TileTree(size, tiles)

    async def _fetch(self, level: int | str, number: int, size: int) -> bytes:
        width = measure_tile(size, level if isinstance(level, int) else 0, number)
        answer = await self._client.get(f"/log/{write_tile_path(level, number, width)}")
        return answer.raise_for_status().content


Prove = Callable[[_Prover, int], Awaitable[None]]
"""Makes and verifies the proof of the entry at a position, or of growth from a size."""

KINDS: Final[dict[str, Prove]] = {
    "inclusion_database": _Prover.prove_entry_from_database,
    "growth_database": _Prover.prove_growth_from_database,
    "inclusion_tiles": _Prover.prove_entry_from_tiles,
    "growth_tiles": _Prover.prove_growth_from_tiles,
}


def _require(holds: object) -> None:
    if not holds:
        raise RuntimeError("a proof of the made log does not hold")


def main(sizes: Sequence[int] = ()) -> None:
    """Measure, with sizes other than the usual ones if some are given, and put the result beside the others."""
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr), wrapper_class=structlog.make_filtering_bound_logger(30)
    )
    result = uvloop.run(measure(*sizes))
    write_result("log_proofs", result)
    for name, (small, large) in result["milliseconds"].items():
        print(f"{name:20} {small:7.2f} ms, {large:7.2f} ms, ratio {result['ratios'][name]}")


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
