"""The registers in PostgreSQL: what was signed is only added, and ``register_change`` moves with it under the sequencer's lock."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from broker.store.pool import Connection

_MESSAGE = "m.message_id, m.sender, m.referral_id, m.revision, m.conversation, m.supersedes, m.manifest_digest, m.body, m.body_sha256, m.received_at"


@dataclass(frozen=True, slots=True)
class RedecisionRow:
    """A later decision on a delivery. ``released`` are the sections that this one adds, ``addendum`` the signed object that keys them."""

    event_id: UUID
    message_id: UUID
    delivery_id: str
    number: int
    cause: str
    outcome: str
    row: str
    reason: str
    decision: str
    released: tuple[str, ...]
    rest_salt: bytes
    keyring_kid: str | None
    addendum: str | None
    decided_at: datetime
    directory_version: int


@dataclass(frozen=True, slots=True)
class DueDecision:
    """A delivery that must be decided again, and why."""

    message_id: UUID
    delivery_id: str
    cause: str
    basis: str
    attempts: int = field(default=0)


async def read_change(connection: Connection) -> int:
    """Return how often the registers have changed."""
    change: int = await connection.fetchval("SELECT change FROM register_change")
    return change


async def count_change(connection: Connection) -> None:
    """Note that the registers change. Only under the sequencer's lock."""
    await connection.execute("UPDATE register_change SET change = change + 1")


async def read_message(connection: Connection, message_id: UUID) -> asyncpg.Record | None:
    """Return a stored message with its sealed bytes, or none."""
    return await connection.fetchrow(
        f"SELECT {_MESSAGE} FROM messages m WHERE m.message_id = $1",  # noqa: S608 (constant names)
        message_id,
    )


async def read_delivery(
    connection: Connection, delivery_id: str, message_id: UUID | None = None
) -> asyncpg.Record | None:
    """Return a delivery's line with its message's ids, its hold and its ticket, or none."""
    return await connection.fetchrow(
        'SELECT d.message_id, d.delivery_id, d.recipient, d.role, d.purpose, d.contact, d.outcome, d."row", d.decision, d.released,'
        " d.state, d.event_id, m.sender, m.referral_id, m.manifest_digest, m.conversation, h.state AS hold_state, h.claimed_by,"
        " h.owner AS hold_owner, t.created_at AS ticket_at, t.collected_at, t.collected_event"
        " FROM deliveries d JOIN messages m USING (message_id) LEFT JOIN holds h USING (message_id, delivery_id)"
        " LEFT JOIN tickets t USING (message_id, delivery_id)"
        " WHERE d.delivery_id = $1 AND ($2::uuid IS NULL OR d.message_id = $2)",
        delivery_id,
        message_id,
    )


async def list_redecisions(connection: Connection, message_id: UUID, delivery_id: str) -> Sequence[asyncpg.Record]:
    """Return a delivery's later decisions, oldest first."""
    return await connection.fetch(
        'SELECT event_id, number, cause, outcome, "row", decision, released, addendum, keyring_kid, decided_at FROM redecisions'
        " WHERE message_id = $1 AND delivery_id = $2 ORDER BY number",
        message_id,
        delivery_id,
    )


async def insert_redecisions(connection: Connection, rows: Sequence[RedecisionRow]) -> None:
    """Insert later decisions."""
    columns = tuple(RedecisionRow.__slots__)
    await connection.copy_records_to_table(
        "redecisions", columns=columns, records=[tuple(getattr(row, column) for column in columns) for row in rows]
    )


async def enqueue_decision(  # noqa: PLR0917 - the columns of the table
    connection: Connection, message_id: UUID, delivery_id: str, cause: str, basis: str, now: datetime
) -> None:
    """Have a worker decide a delivery again, soon."""
    await connection.execute(
        "INSERT INTO redecide_due (message_id, delivery_id, cause, basis, created_at, due_at) VALUES ($1, $2, $3, $4, $5, $5)"
        " ON CONFLICT DO NOTHING",
        message_id,
        delivery_id,
        cause,
        basis,
        now,
    )


async def claim_decisions(connection: Connection, now: datetime, lease_until: datetime, most: int) -> list[DueDecision]:
    """Lease deliveries that must be decided again. A worker that dies lets its lease run out."""
    rows = await connection.fetch(
        "WITH due AS (SELECT message_id, delivery_id, cause, basis FROM redecide_due WHERE due_at <= $1 ORDER BY due_at"
        " LIMIT $3 FOR UPDATE SKIP LOCKED)"
        " UPDATE redecide_due r SET due_at = $2, attempts = r.attempts + 1 FROM due"
        " WHERE (r.message_id, r.delivery_id, r.cause, r.basis) = (due.message_id, due.delivery_id, due.cause, due.basis)"
        " RETURNING r.message_id, r.delivery_id, r.cause, r.basis, r.attempts",
        now,
        lease_until,
        most,
    )
    return [DueDecision(**dict(row)) for row in rows]


async def finish_decision(connection: Connection, due: DueDecision) -> None:
    """Strike a delivery off the list of those to decide again."""
    await connection.execute(
        "DELETE FROM redecide_due WHERE (message_id, delivery_id, cause, basis) = ($1, $2, $3, $4)",
        due.message_id,
        due.delivery_id,
        due.cause,
        due.basis,
    )


async def insert_subjects(connection: Connection, rows: Iterable[tuple[UUID, list[str]]]) -> None:
    """Note which children's tokens a message has, so that a later consent finds it."""
    await connection.copy_records_to_table("message_subjects", columns=("message_id", "tokens"), records=list(rows))


async def insert_approval(connection: Connection, values: dict[str, Any]) -> bool:
    """Add an approval; return whether it is new (its id is used once)."""
    return await _insert(connection, "approvals", values)


async def insert_row(connection: Connection, table: str, values: dict[str, Any]) -> bool:
    """Add a row to a register; return whether it is new. ``table`` and columns are the program's own words, never input."""
    return await _insert(connection, table, values)


async def _insert(connection: Connection, table: str, values: dict[str, Any]) -> bool:
    columns = ", ".join(values)
    marks = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    done = await connection.execute(
        f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING",  # noqa: S608 (constant names)
        *values.values(),
    )
    return bool(done == "INSERT 0 1")


_LOGGED_BEFORE = (
    "($2::bigint IS NULL OR EXISTS (SELECT 1 FROM log_entries e WHERE e.event_id = o.event_id AND e.position < $2))"
)
"""Whether a signed object was in the log before a position (none: whether it is at all)."""


async def list_approvals(
    connection: Connection, message_id: UUID, before: int | None = None
) -> Sequence[asyncpg.Record]:
    """Return the approvals that name a message, oldest first, each with its delivery's role and its signed bytes.

    ``before``: only what the log had before that position.
    """
    return await connection.fetch(
        "SELECT a.*, d.role, d.recipient AS delivery_recipient, o.body FROM approvals a JOIN signed_objects o USING (object_digest)"  # noqa: S608 (constant)
        " LEFT JOIN deliveries d ON d.message_id = a.message_id AND d.delivery_id = a.delivery_id"
        " WHERE a.message_id = $1 AND " + _LOGGED_BEFORE + " ORDER BY a.received_at, a.object_digest",
        message_id,
        before,
    )


async def list_claims(connection: Connection, message_id: UUID, before: int | None = None) -> Sequence[asyncpg.Record]:
    """Return the break-glass claims on a message, oldest first, with their signed bytes. ``before``: as for ``list_approvals``."""
    return await connection.fetch(
        "SELECT b.*, o.body FROM break_glass_claims b JOIN signed_objects o USING (object_digest)"  # noqa: S608 (constant)
        " WHERE b.message_id = $1 AND " + _LOGGED_BEFORE + " ORDER BY b.received_at",
        message_id,
        before,
    )


async def list_claimants(connection: Connection, message_id: UUID, agency: str) -> set[str]:
    """Return the people of ``agency`` who claimed to break the glass on a message. Needs no signed bytes, which the console's role cannot read."""
    rows = await connection.fetch(
        "SELECT DISTINCT person FROM break_glass_claims WHERE message_id = $1 AND agency = $2", message_id, agency
    )
    return {row["person"] for row in rows}


async def list_consents(
    connection: Connection, tokens: Sequence[str], before: int | None = None
) -> Sequence[asyncpg.Record]:
    """Return the consents recorded for any of these subject tokens, in the order of the log. ``before``: as for ``list_approvals``."""
    if not tokens:
        return []
    return await connection.fetch(
        "SELECT c.object_digest, c.consent_id, c.recorded_by, c.record, c.tokens, c.previous, c.received_at"
        " FROM consents c JOIN signed_objects o USING (object_digest) JOIN log_entries e ON e.event_id = o.event_id"
        " WHERE c.tokens && $1::text[] AND ($2::bigint IS NULL OR e.position < $2) ORDER BY e.position",
        list(tokens),
        before,
    )


async def find_spoken_of(connection: Connection, tokens: Sequence[str]) -> frozenset[str]:
    """Return those of these subject tokens for which any consent is recorded."""
    if not tokens:
        return frozenset()
    rows = await connection.fetch(
        "SELECT DISTINCT unnest(tokens) AS token FROM consents WHERE tokens && $1::text[]", list(tokens)
    )
    return frozenset(row["token"] for row in rows)


async def find_consent_head(connection: Connection, consent_id: str) -> asyncpg.Record | None:
    """Return the newest entry of a consent's chain, or none."""
    return await connection.fetchrow(
        "SELECT c.object_digest, c.recorded_by, c.record FROM consents c WHERE c.consent_id = $1 AND NOT EXISTS"
        " (SELECT 1 FROM consents n WHERE n.consent_id = $1 AND n.previous = c.object_digest)",
        consent_id,
    )


async def list_touched(connection: Connection, tokens: Sequence[str]) -> Sequence[asyncpg.Record]:
    """Return deliveries about these subjects that a change of consent may still reach: queued as a ticket and not collected, or held."""
    return await connection.fetch(
        "SELECT d.message_id, d.delivery_id, d.recipient, d.purpose, m.sender, t.collected_at FROM message_subjects s"
        " JOIN deliveries d USING (message_id) JOIN messages m USING (message_id) LEFT JOIN tickets t USING (message_id, delivery_id)"
        " WHERE s.tokens && $1::text[] AND ((t.message_id IS NOT NULL AND t.collected_at IS NULL) OR d.state = 'held')",
        list(tokens),
    )


async def find_used(
    connection: Connection,
    sender: str,
    tokens: Sequence[tuple[str, str]],
    conversation: str,
    before: int | None = None,
) -> frozenset[tuple[str, str]]:
    """Return which of these disclosure tokens (scheme, ref) of ``sender`` another conversation of its own has used.

    ``before``: used by a message that was in the log before that position.
    """
    if not tokens:
        return frozenset()
    rows = await connection.fetch(
        "SELECT u.scheme, u.ref FROM unnest($1::text[], $2::text[]) AS wanted (scheme, ref) JOIN used_tokens u USING (scheme, ref)"
        " WHERE u.conversation <> $3 AND u.sender = $4 AND ($5::bigint IS NULL OR EXISTS (SELECT 1 FROM messages m"
        " JOIN log_entries e USING (event_id) WHERE m.message_id = u.message_id AND e.position < $5))",
        [scheme for scheme, _ in tokens],
        [ref for _, ref in tokens],
        conversation,
        sender,
        before,
    )
    return frozenset((row["scheme"], row["ref"]) for row in rows)


async def list_addenda(connection: Connection, message_id: UUID, delivery_id: str) -> Sequence[asyncpg.Record]:
    """Return the keyring addenda of a delivery, newest first."""
    return await connection.fetch(
        "SELECT object_digest, sections, kid FROM addenda WHERE message_id = $1 AND delivery_id = $2 ORDER BY received_at DESC",
        message_id,
        delivery_id,
    )
