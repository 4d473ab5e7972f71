"""The template week in the database: stored as the hub stores it, taken in by the real projectors, and put aside in a schema of its own.

Twice: as the week stands at its end, with what happened by then, which is what the last week of the filled log is; and as it stands once all that
belongs to it has happened, which is what every earlier week is.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import asyncpg

from bench.county_week import CountyWeek, WeekEvent
from broker.api.wiring import list_projections
from broker.audit import Projector
from broker.reports.fact_store import write_facts
from schemas.log_entry import commit_event
from schemas.merkle import RightEdge, hash_leaf

SCHEMA: Final = "template"
ROWS: Final = ("messages", "message_subjects", "deliveries", "receipts", "holds", "clocks")
FACTS: Final = ("report_referrals", "report_deliveries", "report_clocks")
"""Tables of which every week has rows: what the hub stored, and what the projectors made of it."""
COUNTS: Final = ("report_cells", "report_durations")
"""Tables whose rows are of a day, and so of all referrals that count on it."""


@dataclass(frozen=True, slots=True)
class TemplateSize:
    """Events that happen within the week, and all of them."""

    within: int
    all: int


async def store_template(owner: asyncpg.Connection, pool: asyncpg.Pool, week: CountyWeek) -> TemplateSize:
    """Store and project the week in an empty database, and put it aside in ``SCHEMA``. ``pool`` is the superuser's."""
    await owner.execute(f"CREATE SCHEMA {SCHEMA}")
    await write_facts(owner, week.kept)
    await owner.execute("UPDATE report_referrals SET counted = false")
    within = [event for event in week.events if event.at < week.ends_at]
    later = week.events[len(within) :]
    projector = Projector(pool, list_projections())
    for variant, rows, part, first in (("cut", week.cut, within, 0), ("full", week.rows, later, len(within))):
        await owner.execute(f"TRUNCATE {', '.join(ROWS)} CASCADE")
        for table in ROWS:
            await _copy_rows(owner, table, rows.get(table, ()))
        await _log(owner, part, first)
        await projector.catch_up()
        for table in (*ROWS, *FACTS, *COUNTS):
            await owner.execute(f"CREATE TABLE {SCHEMA}.{table}_{variant} AS TABLE {table}")
    await _put_events_aside(owner, week)
    await _put_notices_aside(owner, week)
    return TemplateSize(len(within), len(week.events))


async def _copy_rows(owner: asyncpg.Connection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        columns = tuple(rows[0])
        records = [tuple(row[name] for name in columns) for row in rows]
        await owner.copy_records_to_table(table, columns=columns, records=records)


def make_salt(event: WeekEvent) -> bytes:
    """Return the salt that a copy's statement makes too: no secret, only one of its own for each event."""
    return sha256(str(event.event_id).encode()).digest()


async def _log(owner: asyncpg.Connection, events: Sequence[WeekEvent], first: int) -> None:
    """Add events, and a checkpoint that says so to the projectors; nobody proves these entries."""
    entries = [commit_event(event.event, make_salt(event)) for event in events]
    await owner.copy_records_to_table(
        "log_entries",
        columns=("position", "event_id", "kind", "at", "entry", "leaf_hash"),
        records=[
            (first + number, event.event_id, event.kind, event.at, entries[number], hash_leaf(entries[number]))
            for number, event in enumerate(events)
        ],
    )
    await owner.copy_records_to_table(
        "log_payloads",
        columns=("event_id", "event", "salt", "message_id"),
        records=[(event.event_id, event.event, make_salt(event), event.message_id) for event in events],
    )
    size = first + len(events)
    edge = RightEdge(size, (bytes(32),) * size.bit_count())
    await owner.execute(
        "INSERT INTO log_checkpoints (size, epoch, root, edge, note, at) VALUES ($1, 1, $2, $3, '', $4)",
        size,
        edge.root(),
        b"".join(edge.hashes),
        events[-1].at,
    )


async def _put_events_aside(owner: asyncpg.Connection, week: CountyWeek) -> None:
    """Keep each event with its text in which instants are marks, its place among a whole week's events, and whether it comes a week later."""
    order = sorted(
        week.events, key=lambda event: ((event.at - week.starts_at) % (week.ends_at - week.starts_at), event.event_id)
    )
    place = {event.event_id: number for number, event in enumerate(order)}
    await owner.execute(
        f"CREATE TABLE {SCHEMA}.events (base bigint, place bigint, later integer, event_id uuid, kind text, at timestamptz, body text,"
        " first_at timestamptz, second_at timestamptz, message_id uuid)"
    )
    await owner.copy_records_to_table(
        "events",
        schema_name=SCHEMA,
        records=[
            (
                base, place[event.event_id], int(event.at >= week.ends_at), event.event_id, event.kind, event.at,
                mark_instants(event.event.decode(), event.instants), event.instants[0],
                event.instants[1] if len(event.instants) > 1 else None, event.message_id,
            )
            for base, event in enumerate(week.events)
        ],
    )  # fmt: skip
    await owner.execute(f"CREATE TABLE {SCHEMA}.audit_events AS TABLE audit_events")
    await owner.execute(f"CREATE TABLE {SCHEMA}.audit_deliveries AS TABLE audit_deliveries")
    await owner.execute(f"CREATE INDEX ON {SCHEMA}.events (place)")
    await owner.execute(f"CREATE INDEX ON {SCHEMA}.audit_events (position)")


async def _put_notices_aside(owner: asyncpg.Connection, week: CountyWeek) -> None:
    await owner.execute(
        f"CREATE TABLE {SCHEMA}.notices (message_id uuid PRIMARY KEY, body text, first_at timestamptz, second_at timestamptz)"
    )
    records = []
    for row in week.rows["messages"]:
        clocks = json.loads(row["notice"])["clocks"]
        instants = (row["received_at"], row["received_at"])
        if clocks:
            instants = (datetime.fromisoformat(clocks[0]["starts_at"]), datetime.fromisoformat(clocks[0]["due_at"]))
        records.append((row["message_id"], mark_instants(row["notice"].decode(), instants), *instants))
    await owner.copy_records_to_table("notices", schema_name=SCHEMA, records=records)


def mark_instants(text: str, instants: Sequence[Any]) -> str:
    """Return text with ``@1@`` and ``@2@`` where it states these instants."""
    for number, at in enumerate(instants, start=1):
        text = text.replace(at.isoformat(), f"@{number}@")
    return text
