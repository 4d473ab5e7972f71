"""Today in counts: what came in, what was decided, clocks, holds, quarantine, and the log's own state. No id of a referral is in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from broker.audit.event_index import EVENT_INDEX
from broker.audit.projecting import ProjectionState, read_projections
from broker.log.witnessing import WitnessState, read_witness_state
from broker.store.pool import Connection
from broker.store.waiting import count_clocks, count_holds
from schemas.directory import Directory

FLOW_EVENTS: Final = ("accepted", "decided", "receipt", "rejected", "quarantined", "security", "undeliverable", "clock")


@dataclass(frozen=True, slots=True)
class Overview:
    """Counts at ``as_of``; flow is since ``since``, the beginning of the local day. Ages are against the business clock, as deadlines are."""

    since: datetime
    as_of: datetime
    flow: Mapping[str, Mapping[str, int]]
    """Kind of event to state to count."""
    referrals: Mapping[str, int]
    """Kind of referral to messages accepted."""
    clocks_running: int
    clocks_due_within_a_day: int
    clocks_breached: int
    """Ran out, and are not met since."""
    holds_open: int
    holds_overdue: int
    reviews_open: int
    reviews_overdue: int
    quarantine_open: int
    quarantine_security: int
    log: WitnessState
    complete: ProjectionState


async def read_overview(
    connection: Connection,
    *,
    since: datetime,
    now: datetime,
    business_now: datetime,
    agency: str | None,
    directory: Directory,
) -> Overview:
    """Return the counts, of one agency's part if ``agency`` is given: what it sent. The caller has logged the look before."""
    flow, referrals = await _read_flow(connection, since, agency)
    clocks = await count_clocks(connection, agency, business_now, received=False)
    holds = await count_holds(connection, agency, business_now)
    reviews = await _count(
        connection,
        "SELECT count(*) AS open, count(*) FILTER (WHERE deadline_at <= $1) AS overdue FROM retrospective_reviews"
        " WHERE state = 'open' AND ($2::text IS NULL OR owner = $2)",
        business_now,
        agency,
    )
    quarantine = await _count(
        connection,
        "SELECT count(*) AS open, count(*) FILTER (WHERE security) AS security FROM quarantine"
        " WHERE state = 'open' AND ($1::text IS NULL OR user_id = $1)",
        agency,
    )
    (complete,) = await read_projections(connection, [EVENT_INDEX])
    return Overview(
        since=since,
        as_of=now,
        flow=flow,
        referrals=referrals,
        clocks_running=clocks.running,
        clocks_due_within_a_day=clocks.due_soon,
        clocks_breached=clocks.breached,
        holds_open=holds.open,
        holds_overdue=holds.overdue,
        reviews_open=reviews["open"],
        reviews_overdue=reviews["overdue"],
        quarantine_open=quarantine["open"],
        quarantine_security=quarantine["security"],
        log=await read_witness_state(connection, directory),
        complete=complete,
    )


async def _count(connection: Connection, query: str, *args: Any) -> dict[str, int]:
    """Return the one row of counts."""
    (row,) = await connection.fetch(query, *args)
    return dict(row)


async def _read_flow(
    connection: Connection, since: datetime, agency: str | None
) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    rows = await connection.fetch(
        "SELECT s.kind, s.referral_kind, coalesce(s.state, '') AS state, sum(t.events)::int AS events"
        " FROM (SELECT stream, count(*) AS events FROM audit_events WHERE at >= $1 GROUP BY stream) t JOIN audit_streams s USING (stream)"
        " WHERE s.kind = ANY($2::text[]) AND ($3::text IS NULL OR s.sender = $3) GROUP BY s.kind, s.referral_kind, s.state",
        since,
        list(FLOW_EVENTS),
        agency,
    )
    flow: dict[str, dict[str, int]] = {}
    referrals: dict[str, int] = {}
    for row in rows:
        states = flow.setdefault(row["kind"], {})
        states[row["state"]] = states.get(row["state"], 0) + row["events"]
        if row["kind"] == "accepted" and row["referral_kind"]:
            referrals[row["referral_kind"]] = referrals.get(row["referral_kind"], 0) + row["events"]
    return flow, referrals
