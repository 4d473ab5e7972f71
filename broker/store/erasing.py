"""Erasing and legal holds in PostgreSQL. The functions called here are the database's own: they pass over what is held or under way."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from broker.store.pool import Connection

CIPHERTEXT, EVERYTHING, QUARANTINE = "ciphertext", "everything", "quarantine"


@dataclass(frozen=True, slots=True)
class ErasureRow:
    """What was erased, and the event that says so."""

    subject_id: UUID
    scope: str
    erased_at: datetime
    event_id: UUID


@dataclass(frozen=True, slots=True)
class RetainedCounts:
    """Messages whose time is over: how many can go, how many are under a legal hold, how many are still under way; and quarantined ones."""

    due: int
    held: int
    under_way: int
    quarantined: int


async def list_due(connection: Connection, before: datetime, most: int) -> list[UUID]:
    """Return messages whose sealed bytes have been kept since ``before`` and may go now, oldest first."""
    rows = await connection.fetch(
        "SELECT message_id FROM list_retained($1) WHERE NOT held AND NOT under_way LIMIT $2", before, most
    )
    return [row["message_id"] for row in rows]


async def list_quarantined_due(connection: Connection, before: datetime, most: int) -> list[UUID]:
    """Return quarantined messages that were decided before ``before`` and still have their bytes."""
    rows = await connection.fetch(
        "SELECT list_quarantine_retained AS id FROM list_quarantine_retained($1) LIMIT $2", before, most
    )
    return [row["id"] for row in rows]


async def count_retained(connection: Connection, before: datetime) -> RetainedCounts:
    """Count what has been kept since ``before``."""
    row = await connection.fetchrow(
        "SELECT count(*) FILTER (WHERE NOT held AND NOT under_way) AS due, count(*) FILTER (WHERE held) AS held,"
        " count(*) FILTER (WHERE under_way AND NOT held) AS under_way,"
        " (SELECT count(*) FROM list_quarantine_retained($1)) AS quarantined FROM list_retained($1)",
        before,
    )
    return RetainedCounts(**dict(row)) if row else RetainedCounts(0, 0, 0, 0)


async def list_matter(connection: Connection, referral_id: str) -> Sequence[asyncpg.Record]:
    """Return the messages of a referral: ``message_id``, ``held``, ``under_way``."""
    return await connection.fetch("SELECT message_id, held, under_way FROM list_matter($1)", referral_id)


async def erase_ciphertext(connection: Connection, message_ids: Sequence[UUID]) -> list[UUID]:
    """Erase sealed bytes; return whose they were."""
    rows = await connection.fetch("SELECT erase_ciphertext AS id FROM erase_ciphertext($1::uuid[])", message_ids)
    return sorted(row["id"] for row in rows)


async def erase_quarantined(connection: Connection, quarantine_ids: Sequence[UUID]) -> list[UUID]:
    """Erase the bytes of quarantined messages that are decided; return whose they were."""
    rows = await connection.fetch("SELECT erase_quarantined AS id FROM erase_quarantined($1::uuid[])", quarantine_ids)
    return sorted(row["id"] for row in rows)


async def erase_everything(connection: Connection, message_ids: Sequence[UUID]) -> dict[UUID, list[int]]:
    """Erase all that is held of messages; return each with the log positions whose payload and salt are gone."""
    rows = await connection.fetch('SELECT erased, "position" FROM erase_everything($1::uuid[])', message_ids)
    found: dict[UUID, list[int]] = {}
    for row in rows:
        positions = found.setdefault(row["erased"], [])
        if row["position"] is not None:
            positions.append(row["position"])
    return {message_id: sorted(positions) for message_id, positions in sorted(found.items())}


async def insert_erasures(connection: Connection, rows: Iterable[ErasureRow]) -> None:
    """Note what was erased."""
    columns = ("subject_id", "scope", "erased_at", "event_id")
    await connection.copy_records_to_table(
        "erasures", columns=columns, records=[tuple(getattr(row, name) for name in columns) for row in rows]
    )


async def find_erasures(connection: Connection, message_ids: Sequence[UUID]) -> dict[UUID, dict[str, datetime]]:
    """Return message to scope to when it was erased."""
    found: dict[UUID, dict[str, datetime]] = {}
    for row in await connection.fetch(
        "SELECT subject_id, scope, erased_at FROM erasures WHERE subject_id = ANY($1::uuid[])", list(message_ids)
    ):
        found.setdefault(row["subject_id"], {})[row["scope"]] = row["erased_at"]
    return found


async def insert_hold(connection: Connection, values: dict[str, Any]) -> None:
    """Place a legal hold."""
    columns = ", ".join(values)
    marks = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    await connection.execute(f"INSERT INTO legal_holds ({columns}) VALUES ({marks})", *values.values())  # noqa: S608 (constant names)


async def lift_hold(connection: Connection, hold_id: UUID, *, at: datetime, event_id: UUID) -> bool:
    """Lift a legal hold; return whether it was in force."""
    done = await connection.execute(
        "UPDATE legal_holds SET lifted_at = $2, lifted_event = $3 WHERE hold_id = $1 AND lifted_at IS NULL",
        hold_id,
        at,
        event_id,
    )
    return bool(done == "UPDATE 1")


async def list_holds(connection: Connection, *, in_force: bool) -> Sequence[asyncpg.Record]:
    """Return legal holds, newest first: those in force, or all."""
    return await connection.fetch(
        "SELECT hold_id, scope, subject, reason_code, placed_by, placed_at, lifted_at FROM legal_holds"
        " WHERE NOT $1 OR lifted_at IS NULL ORDER BY placed_at DESC, hold_id",
        in_force,
    )
