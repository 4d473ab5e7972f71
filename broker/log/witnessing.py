"""Checkpoints that the witnesses see: proposed one at a time, so that all cosign the same; collected until a quorum covers them.

Nothing waits for a cosignature: a referral goes out at once, and its recipient marks it unwitnessed until a quorum checkpoint covers it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from broker.store.pool import Connection
from schemas.checkpoint import read_checkpoint
from schemas.directory import Directory, WitnessPolicy
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
    """Return the newest checkpoint that a quorum of today's witnesses cosigned, with all its cosignatures; none if there is none.

    What was handed in counts as the directory says today: with every key that it lists of a witness, and with none that it has revoked.
    """
    quorum, witnesses = max(1, directory.witnesses.quorum), read_witnesses(directory)
    rows = await connection.fetch(
        "SELECT size, array_agg(witness) AS names, array_agg(length(line) - length(replace(line, E'\\n', ''))) AS lines"
        " FROM log_cosignatures WHERE witness = ANY($1::text[]) GROUP BY size HAVING count(*) >= $2 ORDER BY size DESC LIMIT $3",
        list(directory.witnesses.agencies),
        quorum,
        _RECENT,
    )
    wanted = {(witness.name, len(witness.keys)) for witness in witnesses}
    for row in rows:
        if len(wanted.intersection(zip(row["names"], row["lines"], strict=True))) < quorum:
            continue  # too few have signed with all of their keys: nothing to verify
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


async def read_witness_state(connection: Connection, directory: Directory) -> WitnessState:
    """Return how far behind the witnesses are: what counts is what ``read_witnessed_checkpoint`` hands out, not that something was handed in."""
    newest = await connection.fetchrow("SELECT size, at FROM log_checkpoints ORDER BY size DESC LIMIT 1")
    covered = await read_witnessed_checkpoint(connection, directory)
    covered_size = read_checkpoint(covered).size if covered else 0
    seen = await connection.fetch(
        "SELECT w.witness, c.received_at AS at FROM unnest($1::text[]) AS w (witness) CROSS JOIN LATERAL"
        " (SELECT received_at FROM log_cosignatures WHERE witness = w.witness ORDER BY size DESC LIMIT 1) c",
        list(directory.witnesses.agencies),
    )
    return WitnessState(
        newest_size=newest["size"] if newest else 0,
        newest_at=newest["at"] if newest else None,
        witnessed_size=covered_size,
        witnessed_at=await connection.fetchval("SELECT at FROM log_checkpoints WHERE size = $1", covered_size),
        quorum=directory.witnesses.quorum,
        cosigned_at={row["witness"]: row["at"] for row in seen},
    )


async def read_handed_in(connection: Connection, policy: WitnessPolicy) -> tuple[int, int]:
    """Return the log's size, and the largest that so many of these witnesses have cosigned with the keys that they had then.

    Keys that the directory lists since make no entry wait that a quorum saw before.
    """
    row = await connection.fetchrow(
        "SELECT (SELECT max(size) FROM log_checkpoints) AS newest, (SELECT size FROM log_cosignatures WHERE witness = ANY($1::text[])"
        " GROUP BY size HAVING count(*) >= $2 ORDER BY size DESC LIMIT 1) AS covered",
        list(policy.agencies),
        max(1, policy.quorum),
    )
    return (row["newest"] or 0, row["covered"] or 0) if row else (0, 0)
