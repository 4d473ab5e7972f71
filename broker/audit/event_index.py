"""The projection behind every search: ``audit_events``, the streams that they fall into, and which message a delivery belongs to."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from broker.audit.event_facts import (
    EventFacts,
    StoredFacts,
    Stream,
    find_looked_at,
    find_subject,
    read_facts,
    read_uuid,
)
from broker.audit.projecting import LoggedEvent
from broker.store.pool import Connection

EVENT_INDEX: Final = "audit_events"

_STORED = """
SELECT w.message_id, w.delivery_id, m.sender, m.referral_id, m.kind, d.recipient, d."row"
FROM unnest($1::uuid[], $2::text[]) AS w (message_id, delivery_id) JOIN messages m USING (message_id)
LEFT JOIN deliveries d ON d.message_id = w.message_id AND d.delivery_id = w.delivery_id
"""
# By the id that somebody looked at: a referral's (its first message stands for it), a message's or a delivery's.
_LOOKED_AT = """
SELECT w.id, m.message_id, m.sender, m.referral_id, m.kind, NULL AS recipient, NULL AS "row"
FROM unnest($1::text[], $2::uuid[]) AS w (id, uuid) JOIN LATERAL (
  SELECT message_id, sender, referral_id, kind, received_at FROM messages WHERE referral_id = w.id
  UNION ALL SELECT message_id, sender, referral_id, kind, received_at FROM messages WHERE message_id = w.uuid
  UNION ALL SELECT f.message_id, f.sender, f.referral_id, f.kind, f.received_at
    FROM audit_deliveries a JOIN messages f USING (message_id) WHERE a.delivery_id = w.id
  ORDER BY received_at LIMIT 1) m ON true
"""
_STREAMS = """
INSERT INTO audit_streams (kind, sender, recipient, referral_kind, state, rule, events)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[])
ON CONFLICT (kind, sender, recipient, referral_kind, state, rule) DO UPDATE SET events = audit_streams.events + excluded.events
RETURNING stream, kind, sender, recipient, referral_kind, state, rule
"""
_Key = tuple[UUID, str | None]


class EventIndex:
    """Makes the log searchable. Stateless: all that it knows is in its tables."""

    name = EVENT_INDEX

    async def apply(self, connection: Connection, events: Sequence[LoggedEvent]) -> None:
        """Add the next events."""
        stored = await _find_stored(connection, events)
        await self._note_deliveries(connection, events)
        looked_at = await _find_looked_at(connection, events)
        facts = [_describe(event, stored, looked_at) for event in events]
        streams = await _count_streams(connection, facts)
        await connection.copy_records_to_table(
            "audit_events",
            columns=("position", "at", "stream", "message_id", "delivery_id", "referral_id", "person", "subject"),
            records=[
                (e.position, e.at, streams[f.stream], f.message_id, f.delivery_id, f.referral_id, f.person, f.subject)
                for e, f in zip(events, facts, strict=True)
            ],
        )

    async def clear(self, connection: Connection) -> None:
        """Empty the tables. Searches wait for this transaction."""
        await connection.execute("TRUNCATE audit_events, audit_streams, audit_deliveries")

    async def _note_deliveries(self, connection: Connection, events: Iterable[LoggedEvent]) -> None:
        rows = []
        for event in events:
            message_id, delivery_id = find_subject(event)
            if event.kind == "decided" and message_id is not None and delivery_id is not None:
                rows.append((delivery_id, message_id, event.position))
        await connection.executemany(
            "INSERT INTO audit_deliveries (delivery_id, message_id, position) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            rows,
        )


def _describe(event: LoggedEvent, stored: dict[_Key, StoredFacts], looked_at: dict[str, StoredFacts]) -> EventFacts:
    message_id, delivery_id = find_subject(event)
    if message_id is not None:
        return read_facts(event, stored.get((message_id, delivery_id)))
    return read_facts(event, looked_at.get(find_looked_at(event) or ""))


async def _find_stored(connection: Connection, events: Iterable[LoggedEvent]) -> dict[_Key, StoredFacts]:
    keys = {(m, d) for m, d in map(find_subject, events) if m is not None}
    if not keys:
        return {}
    ordered = list(keys)
    rows = await connection.fetch(_STORED, [key[0] for key in ordered], [key[1] for key in ordered])
    return {(row["message_id"], row["delivery_id"]): _read_stored(row) for row in rows}


async def _find_looked_at(connection: Connection, events: Iterable[LoggedEvent]) -> dict[str, StoredFacts]:
    ids = sorted({found for event in events if (found := find_looked_at(event)) is not None})
    if not ids:
        return {}
    rows = await connection.fetch(_LOOKED_AT, ids, [read_uuid(text) for text in ids])
    return {row["id"]: _read_stored(row) for row in rows}


def _read_stored(row: Any) -> StoredFacts:
    return StoredFacts(
        message_id=row["message_id"],
        sender=row["sender"],
        referral_id=row["referral_id"],
        referral_kind=row["kind"],
        recipient=row["recipient"],
        rule=row["row"],
    )


async def _count_streams(connection: Connection, facts: Iterable[EventFacts]) -> dict[Stream, int]:
    """Count the batch's events into their streams, which are made where they are new; return each stream's number."""
    counts = Counter(f.stream for f in facts)
    columns = list(zip(*counts, strict=True))
    rows = await connection.fetch(_STREAMS, *(list(column) for column in columns), list(counts.values()))
    return {Stream(*list(row.values())[1:]): row["stream"] for row in rows}
