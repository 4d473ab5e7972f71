"""How fast ``fsck`` is beside merely fetching and hashing the same rows: in turn, in one run, by the clock and by this process's processor time.

``python -m bench.fsck_rate [ENTRIES]``. Issue: at least half the rate at which the same run can fetch and hash the rows.
"""

import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Any, Final

import asyncpg
import uvloop

from bench.servers import open_database, write_result
from bench.synthetic_log import LogPlan, fill_log
from broker.log.fsck import Fsck
from broker.log.fsck_entries import BATCH
from schemas.canonical import decode_base64url
from schemas.keys import KeyUse, generate_ed25519_jwk

ORIGIN: Final = "log.example.org/bench"
ENTRIES: Final = 300_000
A_CHECKPOINT: Final = 60
"""Entries under one checkpoint: a worker's batch of 15 referrals or so. With fewer, signatures weigh more."""
ROUNDS: Final = 5
_FETCH: Final = (
    "SELECT e.position, e.event_id, e.kind, e.at, e.entry, e.leaf_hash, p.event, p.salt"
    " FROM log_entries e LEFT JOIN log_payloads p USING (event_id) WHERE position >= $1 ORDER BY position LIMIT $2"
)


async def measure(entries: int = ENTRIES, a_checkpoint: int = A_CHECKPOINT, rounds: int = ROUNDS) -> dict[str, Any]:
    """Return rates (entries a second) and their ratios: ``ratio`` by the clock, ``cpu_ratio`` by processor time."""
    jwk = generate_ed25519_jwk(KeyUse.LOG)
    async with open_database("fsck") as dsn:
        connection = await asyncpg.connect(dsn, command_timeout=600)
        await fill_log(connection, LogPlan(ORIGIN, jwk, entries, a_checkpoint, payloads=True))
        times: dict[str, list[tuple[float, float]]] = {"fetch_and_hash": [], "fsck": []}
        for _ in range(rounds):
            times["fetch_and_hash"].append(await _time(lambda: _fetch_and_hash(connection)))
            times["fsck"].append(await _time(lambda: _check(connection, decode_base64url(jwk["x"]))))
        await connection.close()
    wall, cpu = ({name: statistics.median(t[n] for t in taken) for name, taken in times.items()} for n in (0, 1))
    return {
        "entries": entries,
        "entries_a_checkpoint": a_checkpoint,
        "rounds": rounds,
        "per_second": {name: round(entries / seconds) for name, seconds in wall.items()},
        "cpu_microseconds_an_entry": {name: round(1e6 * seconds / entries, 2) for name, seconds in cpu.items()},
        "ratio": round(wall["fetch_and_hash"] / wall["fsck"], 2),
        "cpu_ratio": round(cpu["fetch_and_hash"] / cpu["fsck"], 2),
    }


async def _time(run: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    await run()
    return time.perf_counter() - wall, time.process_time() - cpu


async def _fetch_and_hash(connection: asyncpg.Connection) -> None:
    position = 0
    while rows := await connection.fetch(_FETCH, position, BATCH):
        for row in rows:
            sha256(b"\x00" + row["entry"]).digest()
            sha256(row["salt"] + row["event"]).digest()
        position += len(rows)


async def _check(connection: asyncpg.Connection, key: bytes) -> None:
    state = await Fsck(connection, ORIGIN, key).run()
    if state.findings:
        raise RuntimeError("the made log is not right")


def main(sizes: Sequence[int] = ()) -> None:
    """Measure, with sizes other than the usual ones if some are given, and put the result beside the others."""
    result = uvloop.run(measure(*sizes))
    write_result("fsck", result)
    print(
        f"fsck: {result['per_second']['fsck']:,} entries a second, {result['ratio']} of fetching and hashing"
        f" ({result['cpu_ratio']} by processor time)"
    )


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
