"""The review queue in PostgreSQL: holds and retrospective reviews, who has them, until when, and how often they were escalated."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from broker.store.pool import Connection

# Of a hold that is open, what the last decision says counts: some of it may have been released since.
_QUEUE = """
SELECT 'hold' AS review, h.message_id, h.delivery_id, h.owner, h."row", h.reason, h.created_at, h.deadline_at, h.state, h.claimed_by,
  h.claimed_at, h.escalations, h.decided_by, h.decided_at, d.recipient, d.role, d.purpose,
  CASE WHEN h.state = 'open' THEN coalesce(l.decision, d.decision) ELSE d.decision END AS decision, d.state AS delivery_state, m.kind, m.sender, m.referral_id,
  m.manifest_digest
FROM {holds} h JOIN deliveries d USING (message_id, delivery_id) JOIN messages m USING (message_id)
LEFT JOIN LATERAL (SELECT decision FROM redecisions r WHERE r.message_id = h.message_id AND r.delivery_id = h.delivery_id
  ORDER BY number DESC LIMIT 1) l ON true
UNION ALL
SELECT r.kind, r.message_id, r.delivery_id, r.owner, '', r.reason, r.created_at, r.deadline_at, r.state, r.claimed_by,
  r.claimed_at, r.escalations, r.decided_by, r.decided_at, d.recipient, d.role, d.purpose, d.decision, d.state, m.kind, m.sender, m.referral_id,
  m.manifest_digest
FROM {reviews} r JOIN messages m USING (message_id) LEFT JOIN deliveries d USING (message_id, delivery_id)
"""
_ALL = _QUEUE.format(holds="holds", reviews="retrospective_reviews")


async def list_queue(
    connection: Connection, *, owner: str | None, state: str | None, most: int = 200
) -> Sequence[asyncpg.Record]:
    """Return what waits for a person, the most urgent first: of one owner agency, or of all."""
    values: list[Any] = [most]
    conditions = ["true"]
    for name, value in (("owner", owner), ("state", state)):
        if value is not None:
            values.append(value)
            conditions.append(f"{name} = ${len(values)}")
    # The most urgent of each sort first, and only then what they are about: most of what ever waited is decided.
    first = " AND ".join(conditions) + " ORDER BY deadline_at, message_id LIMIT $1)"
    queue = _QUEUE.format(
        holds=f"(SELECT * FROM holds WHERE {first}",  # noqa: S608 (marks)
        reviews=f"(SELECT * FROM retrospective_reviews WHERE {first}",  # noqa: S608 (marks)
    )
    return await connection.fetch(f"SELECT * FROM ({queue}) q ORDER BY deadline_at, message_id LIMIT $1", *values)  # noqa: S608 (marks)


async def find_review(
    connection: Connection, message_id: UUID, delivery_id: str, *, owner: str | None
) -> asyncpg.Record | None:
    """Return a hold or retrospective review, the one that is open first; none if there is none of this owner's."""
    return await connection.fetchrow(
        f"SELECT * FROM ({_ALL}) q WHERE message_id = $1 AND delivery_id IS NOT DISTINCT FROM $2"  # noqa: S608 (constant)
        " AND ($3::text IS NULL OR owner = $3) ORDER BY (state = 'open') DESC, created_at DESC LIMIT 1",
        message_id,
        delivery_id,
        owner,
    )


async def list_decisions(connection: Connection, message_id: UUID, delivery_id: str) -> Sequence[asyncpg.Record]:
    """Return the signed approvals on a delivery, oldest first."""
    return await connection.fetch(
        "SELECT approval_id, action, approver, approver_agency, approver_role, compartments, reason_code, received_at, expires_at"
        " FROM approvals WHERE message_id = $1 AND (delivery_id = $2 OR delivery_id IS NULL) ORDER BY received_at",
        message_id,
        delivery_id,
    )


async def claim_hold(
    connection: Connection, message_id: UUID, delivery_id: str, *, owner: str | None, by: str, at: datetime
) -> bool:
    """Claim an open hold; return whether it is now this person's. Claiming what is one's own already changes nothing."""
    done = await connection.execute(
        "UPDATE holds SET claimed_by = $4, claimed_at = coalesce(claimed_at, $5) WHERE message_id = $1 AND delivery_id = $2"
        " AND state = 'open' AND ($3::text IS NULL OR owner = $3) AND (claimed_by IS NULL OR claimed_by = $4)",
        message_id,
        delivery_id,
        owner,
        by,
        at,
    )
    return bool(done == "UPDATE 1")


async def decide_hold(
    connection: Connection, message_id: UUID, delivery_id: str, *, state: str, by: str, at: datetime, reason: str
) -> None:
    """Close an open hold."""
    await connection.execute(
        "UPDATE holds SET state = $3, decided_by = $4, decided_at = $5, decision_reason = $6"
        " WHERE message_id = $1 AND delivery_id = $2 AND state = 'open'",
        message_id,
        delivery_id,
        state,
        by,
        at,
        reason,
    )


async def open_review(connection: Connection, values: dict[str, Any]) -> None:
    """Open a retrospective review, once for each kind and delivery."""
    columns = ", ".join(values)
    marks = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    await connection.execute(
        f"INSERT INTO retrospective_reviews ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING",  # noqa: S608 (constant names)
        *values.values(),
    )


async def finish_review(connection: Connection, kind: str, message_id: UUID, *, by: str, at: datetime) -> None:
    """Close the retrospective reviews of a kind on a message."""
    await connection.execute(
        "UPDATE retrospective_reviews SET state = 'done', decided_by = $3, decided_at = $4"
        " WHERE kind = $1 AND message_id = $2 AND state = 'open'",
        kind,
        message_id,
        by,
        at,
    )


async def list_deliveries(
    connection: Connection, message_id: UUID, delivery_ids: Sequence[str] | None = None
) -> Sequence[asyncpg.Record]:
    """Return a message's deliveries: all, or those named."""
    return await connection.fetch(
        "SELECT delivery_id, recipient, role, purpose, contact, outcome, state, released FROM deliveries WHERE message_id = $1"
        " AND ($2::text[] IS NULL OR delivery_id = ANY($2::text[])) ORDER BY number",
        message_id,
        None if delivery_ids is None else list(delivery_ids),
    )


async def mark_escalated(connection: Connection, items: Sequence[dict[str, Any]], now: datetime) -> None:
    """Note that overdue holds and reviews were escalated once more."""
    for item in items:
        table, kind = ("holds", None) if item["review"] == "hold" else ("retrospective_reviews", item["review"])
        await connection.execute(
            f"UPDATE {table} SET escalated_at = $3, escalations = escalations + 1"  # noqa: S608 (constant names)
            " WHERE message_id = $1 AND delivery_id IS NOT DISTINCT FROM $2" + (" AND kind = $4" if kind else ""),
            item["message_id"],
            item["delivery_id"],
            now,
            *([kind] if kind else []),
        )
