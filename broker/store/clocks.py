"""Rows of the clocks that run for referrals (table ``clocks``): one for each recipient that a clock binds, or one that binds none.

What happened to a clock is in the log; its row says where it is now. A row changes only from what was read, so that two workers never move it twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from broker.decisions.running import ClockState, RunningClock
from broker.store.pool import Connection

SWEEPER_LOCK = 0x5AFE_C10C
"""Advisory lock of the one worker that sweeps."""


@dataclass(slots=True)
class ClockLine:
    """One clock of one message. ``stored`` is what the table holds (none: a new row); ``clock`` where it is now."""

    clock_id: UUID
    message_id: UUID
    referral_id: str
    sender: str
    conversation: str
    recipient: str | None
    manifest_digest: str
    extendable_to: datetime | None
    clock: RunningClock
    stored: RunningClock | None
    roles: dict[str, str] = field(default_factory=dict)
    """Delivery id to role, of what was delivered to ``recipient``; empty for a message of this batch."""
    parties: frozenset[str] = frozenset()
    """Agencies to which any of the message was delivered."""


_LINES = """
SELECT c.clock_id, c.message_id, c.clock, c.recipient, c.starts_at, c.due_at, c.extendable_to, c.state, c.changed_at, c.paused_at,
  c.breached_at, c.met_at, m.referral_id, m.sender, m.conversation, m.manifest_digest,
  ARRAY(SELECT d.delivery_id FROM deliveries d WHERE d.message_id = c.message_id AND d.recipient = c.recipient
    AND d.state NOT IN ('held', 'withheld', 'rejected') ORDER BY d.number) AS delivery_ids,
  ARRAY(SELECT d.role FROM deliveries d WHERE d.message_id = c.message_id AND d.recipient = c.recipient
    AND d.state NOT IN ('held', 'withheld', 'rejected') ORDER BY d.number) AS delivery_roles,
  ARRAY(SELECT DISTINCT d.recipient FROM deliveries d WHERE d.message_id = c.message_id
    AND d.state NOT IN ('held', 'withheld', 'rejected')) AS parties
FROM clocks c JOIN messages m USING (message_id)
"""
_COLUMNS = (
    "clock_id",
    "message_id",
    "clock",
    "recipient",
    "starts_at",
    "due_at",
    "extendable_to",
    "state",
    "changed_at",
    "paused_at",
    "breached_at",
    "met_at",
)


async def find_conversation_clocks(connection: Connection, conversations: Sequence[str]) -> list[ClockLine]:
    """Return the clocks of these conversations to which something can still happen."""
    rows = await connection.fetch(
        f"{_LINES} WHERE m.conversation = ANY($1::text[]) AND c.met_at IS NULL ORDER BY c.clock_id", list(conversations)
    )
    return [_read_line(row) for row in rows]


async def find_message_clocks(connection: Connection, message_ids: Sequence[UUID]) -> list[ClockLine]:
    """Return the clocks of these messages, and of earlier messages of their conversations, to which something can still happen."""
    rows = await connection.fetch(
        f"{_LINES} WHERE m.conversation IN (SELECT conversation FROM messages WHERE message_id = ANY($1::uuid[]))"  # noqa: S608 - our own text alone
        " AND c.met_at IS NULL ORDER BY c.clock_id",
        list(message_ids),
    )
    return [_read_line(row) for row in rows]


async def find_overdue_clocks(connection: Connection, now: datetime, most: int) -> list[ClockLine]:
    """Return clocks that have run out by ``now``, the longest overdue first."""
    rows = await connection.fetch(
        f"{_LINES} WHERE c.state = 'running' AND c.due_at < $1 ORDER BY c.due_at, c.clock_id LIMIT $2", now, most
    )
    return [_read_line(row) for row in rows]


async def find_kinds(connection: Connection, message_ids: Sequence[UUID]) -> dict[UUID, tuple[str, str]]:
    """Return kind and conversation of these messages."""
    rows = await connection.fetch(
        "SELECT message_id, kind, conversation FROM messages WHERE message_id = ANY($1::uuid[])", list(message_ids)
    )
    return {row["message_id"]: (row["kind"], row["conversation"]) for row in rows}


async def find_reviewed_clocks(
    connection: Connection, actions: Sequence[str], most: int
) -> list[tuple[ClockLine, str, datetime]]:
    """Return running clocks that bind no recipient with each approval about their message since they last changed: action and instant."""
    rows = await connection.fetch(
        f"SELECT l.*, a.action, a.received_at FROM ({_LINES} WHERE c.met_at IS NULL AND c.recipient IS NULL) l"  # noqa: S608 - our own text alone
        " JOIN approvals a ON a.message_id = l.message_id AND a.received_at > l.changed_at AND a.action = ANY($1::text[])"
        " ORDER BY a.received_at, l.clock_id LIMIT $2",
        list(actions),
        most,
    )
    return [(_read_line(row), row["action"], row["received_at"]) for row in rows]


async def insert_clocks(connection: Connection, lines: Sequence[ClockLine]) -> None:
    """Add the rows of clocks that start."""
    await connection.copy_records_to_table("clocks", columns=_COLUMNS, records=[_write_line(line) for line in lines])


async def insert_late_clocks(connection: Connection, lines: Sequence[ClockLine]) -> None:
    """Add the rows of clocks that start after their message was stored; one that runs already stays as it is."""
    marks = ", ".join(f"${number}" for number in range(1, len(_COLUMNS) + 1))
    await connection.executemany(
        f"INSERT INTO clocks ({', '.join(_COLUMNS)}) VALUES ({marks}) ON CONFLICT DO NOTHING",  # noqa: S608 - our own text alone
        [_write_line(line) for line in lines],
    )


async def find_started(connection: Connection, message_id: UUID) -> set[tuple[str, str | None]]:
    """Return which clocks of a message were ever started, and whom each binds."""
    rows = await connection.fetch("SELECT clock, recipient FROM clocks WHERE message_id = $1", message_id)
    return {(row["clock"], row["recipient"]) for row in rows}


async def lock_as_read(connection: Connection, lines: Sequence[ClockLine]) -> bool:
    """Lock the rows of ``lines``, always in the same order; return whether they are still as they were read."""
    rows = await connection.fetch(
        "SELECT clock_id, state, changed_at, due_at, met_at FROM clocks WHERE clock_id = ANY($1::uuid[])"
        " ORDER BY clock_id FOR UPDATE",
        [line.clock_id for line in lines],
    )
    found = {row["clock_id"]: (row["state"], row["changed_at"], row["due_at"], row["met_at"]) for row in rows}
    return all(
        line.stored is not None
        and found.get(line.clock_id)
        == (line.stored.state.value, line.stored.changed_at, line.stored.due_at, line.stored.met_at)
        for line in lines
    )


async def update_clocks(connection: Connection, lines: Sequence[ClockLine]) -> None:
    """Write where clocks are now."""
    await connection.executemany(
        "UPDATE clocks SET starts_at = $2, due_at = $3, state = $4, changed_at = $5, paused_at = $6, breached_at = $7, met_at = $8"
        " WHERE clock_id = $1",
        [
            (
                line.clock_id,
                line.clock.starts_at,
                line.clock.due_at,
                line.clock.state.value,
                line.clock.changed_at,
                line.clock.paused_at,
                line.clock.breached_at,
                line.clock.met_at,
            )
            for line in lines
        ],
    )


async def find_silence(connection: Connection, message_id: UUID, delivery_id: str, by: datetime) -> dict[str, Any]:
    """Return what a negative receipt says of a delivery: the last receipt logged by an instant, the decision's entry, the log's size."""
    row = await connection.fetchrow(
        "SELECT e.entry, (SELECT r.state FROM receipts r WHERE r.message_id = d.message_id AND r.delivery_id = d.delivery_id"
        " AND r.received_at <= $3 ORDER BY r.received_at DESC, array_position(ARRAY['accepted', 'opened', 'actioned', 'refused'], r.state)"
        " DESC LIMIT 1) AS last_state, (SELECT max(size) FROM log_checkpoints) AS log_size"
        " FROM deliveries d JOIN log_entries e USING (event_id) WHERE d.message_id = $1 AND d.delivery_id = $2",
        message_id,
        delivery_id,
        by,
    )
    return dict(row) if row is not None else {}


async def lock_sweeping(connection: Connection) -> bool:
    """Become the one that sweeps, until ``unlock_sweeping`` or the connection ends; return whether nobody else is."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", SWEEPER_LOCK))


async def unlock_sweeping(connection: Connection) -> None:
    """Let another sweep. A connection that is gone has let go already."""
    if not connection.is_closed():
        await connection.execute("SELECT pg_advisory_unlock($1)", SWEEPER_LOCK)


async def list_clocks(connection: Connection, state: str | None, most: int) -> list[ClockLine]:
    """Return clocks for people: in one state, or in any, what falls due first at the front. ``open`` stands for running or paused."""
    states = {"open": ["running", "paused"], None: [s.value for s in ClockState]}.get(state, [state])
    rows = await connection.fetch(
        f"{_LINES} WHERE c.state = ANY($1::text[]) ORDER BY c.due_at, c.clock_id LIMIT $2", states, most
    )
    return [_read_line(row) for row in rows]


def _read_line(row: Any) -> ClockLine:
    clock = RunningClock(
        clock=row["clock"],
        starts_at=row["starts_at"],
        due_at=row["due_at"],
        changed_at=row["changed_at"],
        state=ClockState(row["state"]),
        paused_at=row["paused_at"],
        breached_at=row["breached_at"],
        met_at=row["met_at"],
    )
    return ClockLine(
        clock_id=row["clock_id"],
        message_id=row["message_id"],
        referral_id=row["referral_id"],
        sender=row["sender"],
        conversation=row["conversation"],
        recipient=row["recipient"],
        manifest_digest=row["manifest_digest"],
        extendable_to=row["extendable_to"],
        clock=clock,
        stored=clock,
        roles=dict(zip(row["delivery_ids"], row["delivery_roles"], strict=True)),
        parties=frozenset(row["parties"]),
    )


def _write_line(line: ClockLine) -> tuple[Any, ...]:
    clock = line.clock
    return (
        line.clock_id,
        line.message_id,
        clock.clock,
        line.recipient,
        clock.starts_at,
        clock.due_at,
        line.extendable_to,
        clock.state.value,
        clock.changed_at,
        clock.paused_at,
        clock.breached_at,
        clock.met_at,
    )
