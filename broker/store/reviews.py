"""What waits for a person: holds and quarantine."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from broker.store.pool import Connection

_QUARANTINE_SHOWN = (
    "quarantine_id, user_id, claimed_id, type, queue, code, detail, field, security, seen, first_at, last_at, event_id, state,"
    " decided_by, decided_at, decision_reason, octet_length(body) AS body_bytes"
)


class HoldRow(NamedTuple):
    """A delivery, or a part of one, that waits for its owner until a deadline: the columns, in their order."""

    message_id: UUID
    delivery_id: str
    owner: str
    row: str
    reason: str
    created_at: datetime
    deadline_at: datetime


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """A message that was not taken in. ``detail`` names a rule and never a value; ``body`` may be sealed content and is shown to nobody."""

    quarantine_id: UUID
    user_id: str | None
    claimed_id: str
    type: str
    queue: str
    body_sha256: bytes
    body: bytes = field(repr=False)
    code: str
    detail: str
    field_path: str | None
    security: bool
    at: datetime
    event_id: UUID


async def insert_holds(connection: Connection, rows: Iterable[HoldRow]) -> None:
    """Insert holds of deliveries that this transaction inserted."""
    await connection.copy_records_to_table("holds", columns=HoldRow._fields, records=rows)


async def insert_quarantine(connection: Connection, rows: Iterable[QuarantineRow]) -> set[UUID]:
    """Keep messages that were not taken in; return the ids of those that are new. The same bytes of the same user are counted, once more open."""
    inserted = set()
    for row in sorted(rows, key=lambda r: (r.user_id or "", r.body_sha256)):
        found = await connection.fetchval(
            "INSERT INTO quarantine (quarantine_id, user_id, claimed_id, type, queue, body_sha256, body, code, detail, field,"
            " security, first_at, last_at, event_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13)"
            " ON CONFLICT (user_id, body_sha256) DO UPDATE SET seen = quarantine.seen + 1, last_at = EXCLUDED.last_at,"
            " code = EXCLUDED.code, detail = EXCLUDED.detail, field = EXCLUDED.field, state = 'open',"
            " body = coalesce(quarantine.body, EXCLUDED.body)"
            " RETURNING quarantine_id",
            row.quarantine_id,
            row.user_id,
            row.claimed_id,
            row.type,
            row.queue,
            row.body_sha256,
            row.body,
            row.code,
            row.detail,
            row.field_path,
            row.security,
            row.at,
            row.event_id,
        )
        if found == row.quarantine_id:
            inserted.add(found)
    return inserted


async def count_again(connection: Connection, keys: Sequence[tuple[str | None, bytes]], at: datetime) -> None:
    """Count messages that came again after they were refused."""
    await connection.executemany(
        "UPDATE quarantine SET seen = seen + 1, last_at = $3,"
        " state = CASE state WHEN 'replaying' THEN 'open' ELSE state END WHERE user_id IS NOT DISTINCT FROM $1 AND body_sha256 = $2",
        [(user_id, digest, at) for user_id, digest in sorted(keys, key=lambda key: (key[0] or "", key[1]))],
    )


async def supersede_quarantined(
    connection: Connection, resealed: Sequence[tuple[str, str]], at: datetime
) -> list[UUID]:
    """Close what is open of these messages (sender, message id), which their senders have sealed again; return the ids of those closed.

    What looks like a forgery stays open: a person looks at it, whatever came later.
    """
    rows = await connection.fetch(
        "UPDATE quarantine q SET state = 'rejected', decided_at = $3, decision_reason = 'sealed again by its sender'"
        " FROM unnest($1::text[], $2::text[]) AS r (user_id, claimed_id)"
        " WHERE q.user_id = r.user_id AND q.claimed_id = r.claimed_id AND q.state = 'open' AND NOT q.security RETURNING q.quarantine_id",
        [sender for sender, _ in resealed],
        [message_id for _, message_id in resealed],
        at,
    )
    return sorted(row["quarantine_id"] for row in rows)


async def list_quarantine(connection: Connection, *, state: str | None, most: int) -> list[dict[str, Any]]:
    """Return what is in quarantine, newest first, without bodies."""
    rows = await connection.fetch(
        f"SELECT {_QUARANTINE_SHOWN} FROM quarantine WHERE $1::text IS NULL OR state = $1"  # noqa: S608 (constant names)
        " ORDER BY last_at DESC, quarantine_id LIMIT $2",
        state,
        most,
    )
    return [dict(row) for row in rows]


async def read_quarantine(connection: Connection, quarantine_id: UUID) -> dict[str, Any] | None:
    """Return one quarantined message, without its body, or none."""
    row = await connection.fetchrow(
        f"SELECT {_QUARANTINE_SHOWN} FROM quarantine WHERE quarantine_id = $1",  # noqa: S608 (constant names)
        quarantine_id,
    )
    return None if row is None else dict(row)


async def take_quarantined(
    connection: Connection, quarantine_id: UUID, *, state: str, by: str, at: datetime, reason: str
) -> asyncpg.Record | None:
    """Decide an open message of the quarantine and return it with its body, or none if it is not there or decided already."""
    return await connection.fetchrow(
        "UPDATE quarantine SET state = $2, decided_by = $3, decided_at = $4, decision_reason = $5"
        " WHERE quarantine_id = $1 AND state = 'open' AND (body IS NOT NULL OR $2 <> 'replaying')"
        " RETURNING quarantine_id, user_id, claimed_id, type, queue, body, code",
        quarantine_id,
        state,
        by,
        at,
        reason,
    )


async def decide_quarantined(
    connection: Connection, quarantine_id: UUID, *, state: str, by: str, at: datetime, reason: str
) -> bool:
    """Decide an open message of the quarantine without reading it; return whether it was there and open."""
    done = await connection.execute(
        "UPDATE quarantine SET state = $2, decided_by = $3, decided_at = $4, decision_reason = $5"
        " WHERE quarantine_id = $1 AND state = 'open'",
        quarantine_id,
        state,
        by,
        at,
        reason,
    )
    return bool(done == "UPDATE 1")


async def find_quarantined(connection: Connection, quarantine_id: UUID, *, agency: str | None) -> asyncpg.Record | None:
    """Return one quarantined message without its body, or none; if ``agency`` is given, only what came in its name."""
    return await connection.fetchrow(
        "SELECT quarantine_id, user_id, claimed_id, type, queue, code, detail, field, security, seen, first_at, last_at, state,"
        " decided_by, decided_at, decision_reason FROM quarantine WHERE quarantine_id = $1 AND ($2::text IS NULL OR user_id = $2)",
        quarantine_id,
        agency,
    )


async def list_replaying(connection: Connection, most: int) -> Sequence[asyncpg.Record]:
    """Return messages that a person sent back to intake, with their bodies."""
    return await connection.fetch(
        "SELECT quarantine_id, user_id, claimed_id, type, queue, body FROM quarantine WHERE state = 'replaying' AND body IS NOT NULL"
        " ORDER BY decided_at LIMIT $1",
        most,
    )


async def finish_replay(connection: Connection, quarantine_id: UUID) -> None:
    """Close a replayed message, unless it was refused again and is open."""
    await connection.execute(
        "UPDATE quarantine SET state = 'replayed' WHERE quarantine_id = $1 AND state = 'replaying'", quarantine_id
    )


async def list_overdue_holds(connection: Connection, now: datetime, most: int) -> Sequence[asyncpg.Record]:
    """Return open holds whose deadline has passed, the longest overdue first."""
    return await connection.fetch(
        "SELECT message_id, delivery_id, owner, \"row\", deadline_at FROM holds WHERE state = 'open' AND deadline_at <= $1"
        " ORDER BY deadline_at LIMIT $2",
        now,
        most,
    )
