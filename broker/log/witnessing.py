"""Checkpoints that the witnesses see: proposed one at a time, so that all cosign the same; collected until a quorum covers them.

Nothing waits for a cosignature: a referral goes out at once, and its recipient marks it unwitnessed until a quorum checkpoint covers it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from broker.store.pool import Connection
from schemas.directory import Directory
from schemas.errors import NotFound, SignatureInvalid
from schemas.witnesses import find_cosigners, read_witnesses

PROPOSE_EVERY: Final = timedelta(seconds=10)
"""Longer than a witness waits between two looks, so that all of them see each proposal."""
_RECENT: Final = 200


@dataclass(frozen=True, slots=True)
class WitnessState:
    """What the hub knows of its witnesses: for ``/readyz``, metrics and operators. Sizes are numbers of entries."""

    newest_size: int
    newest_at: datetime | None
    witnessed_size: int
    witnessed_at: datetime | None
    quorum: int
    cosigned_at: dict[str, datetime]


async def propose_checkpoint(connection: Connection, *, now: datetime) -> str:
    """Return the checkpoint to cosign now: the last one proposed, or the newest once that is a few seconds old.

    Raises:
        NotFound: the log is empty.
    """
    row = await connection.fetchrow(
        "SELECT p.size, p.at, c.note FROM log_proposals p JOIN log_checkpoints c USING (size) ORDER BY p.size DESC LIMIT 1"
    )
    if row is not None and row["at"] + PROPOSE_EVERY > now:
        return str(row["note"])
    newest = await connection.fetchrow("SELECT size, note FROM log_checkpoints ORDER BY size DESC LIMIT 1")
    if newest is None:
        raise NotFound("the log is empty", field="checkpoint")
    if row is None or newest["size"] > row["size"]:
        await connection.execute(
            "INSERT INTO log_proposals (size, at) VALUES ($1, $2) ON CONFLICT DO NOTHING", newest["size"], now
        )
    return str(newest["note"])


async def add_cosignature(
    connection: Connection, directory: Directory, witness: str, size: int, lines: str, *, now: datetime
) -> bool:
    """Keep a witness's cosignature of the checkpoint of ``size``, one line for each of its keys; return whether it is new.

    Raises:
        NotFound: there is no such checkpoint.
        SignatureInvalid: the lines are not this witness's cosignature of that checkpoint by all the keys that the directory lists.
    """
    note = await connection.fetchval("SELECT note FROM log_checkpoints WHERE size = $1", size)
    if note is None:
        raise NotFound("there is no checkpoint of this size", field="size")
    groups = [group for group in read_witnesses(directory) if group.name == witness]
    signed = [group for group in groups if group.find_time(note + lines) is not None]
    if not signed or lines.count("\n") != len(signed[0].keys):
        raise SignatureInvalid(field="line")
    added = await connection.fetchval(
        "INSERT INTO log_cosignatures (size, witness, line, at, received_at) VALUES ($1, $2, $3, to_timestamp($4), $5)"
        " ON CONFLICT DO NOTHING RETURNING size",
        size,
        witness,
        lines,
        float(signed[0].find_time(note + lines) or 0),
        now,
    )
    return added is not None


async def read_witnessed_checkpoint(connection: Connection, directory: Directory) -> str | None:
    """Return the newest checkpoint that a quorum of today's witnesses cosigned, with all its cosignatures; none if there is none."""
    quorum = max(1, directory.witnesses.quorum)
    rows = await connection.fetch(
        "SELECT size FROM log_cosignatures WHERE witness = ANY($1::text[]) GROUP BY size HAVING count(*) >= $2"
        " ORDER BY size DESC LIMIT $3",
        list(directory.witnesses.agencies),
        quorum,
        _RECENT,
    )
    witnesses = read_witnesses(directory)
    for row in rows:
        note = await read_cosigned(connection, row["size"])
        if len(find_cosigners(note, witnesses)) >= quorum:
            return note
    return None


async def read_cosigned(connection: Connection, size: int) -> str:
    """Return the checkpoint of ``size`` with every cosignature that is known.

    Raises:
        NotFound: there is none.
    """
    note = await connection.fetchval("SELECT note FROM log_checkpoints WHERE size = $1", size)
    if note is None:
        raise NotFound("there is no checkpoint of this size", field="size")
    lines = await connection.fetch("SELECT line FROM log_cosignatures WHERE size = $1 ORDER BY witness", size)
    return str(note) + "".join(row["line"] for row in lines)


async def read_witness_state(connection: Connection, witnesses: Sequence[str], quorum: int) -> WitnessState:
    """Return how far behind the witnesses are."""
    newest = await connection.fetchrow("SELECT size, at FROM log_checkpoints ORDER BY size DESC LIMIT 1")
    covered = await connection.fetchrow(
        "SELECT g.size, c.at FROM (SELECT size FROM log_cosignatures WHERE witness = ANY($1::text[])"
        " GROUP BY size HAVING count(*) >= $2 ORDER BY size DESC LIMIT 1) g JOIN log_checkpoints c USING (size)",
        list(witnesses),
        max(1, quorum),
    )
    seen = await connection.fetch(
        "SELECT w.witness, c.received_at AS at FROM unnest($1::text[]) AS w (witness) CROSS JOIN LATERAL"
        " (SELECT received_at FROM log_cosignatures WHERE witness = w.witness ORDER BY size DESC LIMIT 1) c",
        list(witnesses),
    )
    return WitnessState(
        newest_size=newest["size"] if newest else 0,
        newest_at=newest["at"] if newest else None,
        witnessed_size=covered["size"] if covered else 0,
        witnessed_at=covered["at"] if covered else None,
        quorum=quorum,
        cosigned_at={row["witness"]: row["at"] for row in seen},
    )
