"""Figures of the first page: what waits for a person, which clocks run, what went today, how the log is. For one agency, its own business alone."""

from dataclasses import dataclass
from datetime import datetime, time

import asyncpg

from broker.log.witnessing import read_handed_in
from broker.store.pool import Connection
from broker.store.waiting import count_clocks, count_holds
from schemas.directory import WitnessPolicy
from schemas.local_time import LONDON


@dataclass(frozen=True, slots=True)
class Overview:
    """Counts and instants; never an id of a child. ``security`` counts what looks like a forgery in the quarantine."""

    as_of: datetime
    holds_open: int
    holds_overdue: int
    next_hold_at: datetime | None
    clocks_running: int
    clocks_due_soon: int
    clocks_breached: int
    quarantine_open: int
    security: int
    accepted_today: int
    deliveries_today: dict[str, int]
    outbox_overdue: int
    log_size: int
    checkpoint_at: datetime | None
    witnessed_size: int


_TODAY = """
SELECT d.state, count(*) AS number FROM messages m JOIN deliveries d USING (message_id)
WHERE m.received_at >= $2 AND ($1::text IS NULL OR m.sender = $1 OR d.recipient = $1) GROUP BY d.state
"""
_ACCEPTED = """
SELECT count(*) FROM messages m WHERE m.received_at >= $2 AND ($1::text IS NULL OR m.sender = $1
  OR EXISTS (SELECT FROM deliveries d WHERE d.message_id = m.message_id AND d.recipient = $1))
"""


async def read_overview(
    connection: Connection, agency: str | None, *, now: datetime, business_now: datetime, witnesses: WitnessPolicy
) -> Overview:
    """Read the figures for one agency, or for the partnership; ``business_now`` is the time of deadlines, ``witnesses`` whose quorum counts."""
    holds = await count_holds(connection, agency, business_now)
    clocks = await count_clocks(connection, agency, business_now, received=True)
    midnight = datetime.combine(now.astimezone(LONDON).date(), time(), LONDON)
    today = await connection.fetch(_TODAY, agency, midnight)
    log_size, witnessed_size = await read_handed_in(connection, witnesses)
    quarantine = await _fetch_one(
        connection,
        "SELECT count(*) AS open, count(*) FILTER (WHERE security) AS security FROM quarantine WHERE state = 'open' AND $1::text IS NULL",
        agency,
    )
    overdue = await connection.fetchval(
        "SELECT count(*) FROM outbox WHERE due_at < $2::timestamptz - interval '2 minutes' AND ($1::text IS NULL OR recipient = $1)",
        agency,
        now,
    )
    return Overview(
        as_of=now,
        holds_open=holds.open,
        holds_overdue=holds.overdue,
        next_hold_at=holds.next_at,
        clocks_running=clocks.running,
        clocks_due_soon=clocks.due_soon,
        clocks_breached=clocks.breached,
        quarantine_open=quarantine["open"],
        security=quarantine["security"],
        accepted_today=await connection.fetchval(_ACCEPTED, agency, midnight),
        deliveries_today={row["state"]: row["number"] for row in today},
        outbox_overdue=overdue,
        log_size=log_size,
        checkpoint_at=await connection.fetchval("SELECT at FROM log_checkpoints WHERE size = $1", log_size),
        witnessed_size=witnessed_size,
    )


async def _fetch_one(connection: Connection, query: str, *values: object) -> asyncpg.Record:
    """Return the one row of a query that counts."""
    (row,) = await connection.fetch(query, *values)
    return row
