"""What the hub can prove about one message, referral or delivery: decisions with rule and reason, receipts, log events and their proofs.

Ids, codes and instants; the hub has nothing else to show. Reading it is itself an event of the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from broker.log import LogWriter, NewEvent
from broker.store import translate_errors
from schemas.errors import NotFound

MAX_MESSAGES = 100


@dataclass(frozen=True, slots=True)
class AuditTrail:
    """Messages with their deliveries and receipts, and the positions of their events in the log."""

    messages: Sequence[dict[str, Any]]
    deliveries: Sequence[dict[str, Any]]
    receipts: Sequence[dict[str, Any]]
    events: Sequence[dict[str, Any]]


_MESSAGES = """
SELECT message_id, sender, referral_id, revision, kind, outcome, received_at, manifest_digest, directory_version, event_id
FROM messages
WHERE referral_id = $1 OR message_id = $2 OR message_id IN (SELECT message_id FROM deliveries WHERE delivery_id = $1)
ORDER BY received_at, message_id LIMIT $3
"""
_DELIVERIES = """
SELECT message_id, delivery_id, recipient, role, purpose, contact, outcome, "row", reason, decision, state, decided_at, event_id
FROM deliveries WHERE message_id = ANY($1) ORDER BY message_id, number
"""
_RECEIPTS = """
SELECT message_id, delivery_id, state, reason_code, at, received_at, receipt_digest, event_id
FROM receipts WHERE message_id = ANY($1) ORDER BY received_at
"""
_EVENTS = "SELECT event_id, position, kind, at FROM log_entries WHERE event_id = ANY($1) ORDER BY position"


async def read_trail(pool: asyncpg.Pool, log: LogWriter, searched_id: str, *, by: str, now: datetime) -> AuditTrail:
    """Return everything about a referral, message or delivery id, having logged that ``by`` read it.

    Raises:
        NotFound: there is no such id. The attempt is logged all the same.
        StoreUnavailable: PostgreSQL does not answer; nothing is shown that cannot be logged.
    """
    with translate_errors():
        async with pool.acquire(timeout=10) as connection:
            async with connection.transaction():
                members = {"at": now.isoformat(), "by": by, "action": "show", "subject": searched_id}
                await log.append(connection, [NewEvent.salted("audit_read", members)], at=now)
            messages = await connection.fetch(_MESSAGES, searched_id, _read_uuid(searched_id), MAX_MESSAGES)
            if not messages:
                raise NotFound("no message, referral or delivery has this id", field="id")
            ids = [row["message_id"] for row in messages]
            deliveries = await connection.fetch(_DELIVERIES, ids)
            receipts = await connection.fetch(_RECEIPTS, ids)
            events = await connection.fetch(_EVENTS, [row["event_id"] for row in (*messages, *deliveries, *receipts)])
    return AuditTrail(*([dict(row) for row in rows] for rows in (messages, deliveries, receipts, events)))


def _read_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
