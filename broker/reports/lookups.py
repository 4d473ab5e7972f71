"""What events name and do not say themselves: refusal reasons, recalls, deletions, and where holds and reviews stand. Codes and instants."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from broker.reports.book import FactBook
from broker.reports.facts import DeliveryFact
from broker.store.pool import Connection


class Lookups:
    """The registers' rows that a batch of events points to."""

    def __init__(self) -> None:
        """Start empty."""
        self.receipts: dict[UUID, Any] = {}
        self.recalls: dict[str, Any] = {}
        self.deletions: dict[str, Any] = {}
        self._again: dict[tuple[UUID, str], DeliveryFact] = {}

    async def load(self, connection: Connection, events: Sequence[Any]) -> None:
        """Read what the batch's receipts, recalls and deletions say."""
        receipts = [event.event_id for event in events if event.kind == "receipt"]
        if receipts:
            rows = await connection.fetch(
                "SELECT event_id, reason_code, at FROM receipts WHERE event_id = ANY($1::uuid[])", receipts
            )
            self.receipts = {row["event_id"]: row for row in rows}
        digests = [event.members["object_digest"] for event in events if event.kind == "object" and event.members]
        if digests:
            rows = await connection.fetch(
                "SELECT object_digest, message_id, deliveries, reason_code FROM recalls WHERE object_digest = ANY($1::text[])",
                digests,
            )
            self.recalls = {row["object_digest"]: row for row in rows}
            rows = await connection.fetch(
                "SELECT d.object_digest, r.message_id, d.delivery_id FROM deletions d JOIN recalls r USING (recall_id)"
                " WHERE d.object_digest = ANY($1::text[]) AND d.exceptions_code IS NULL",  # what an exception keeps is not deleted
                digests,
            )
            self.deletions = {row["object_digest"]: row for row in rows}

    def look_again(self, delivery: DeliveryFact) -> None:
        """Have ``settle`` look where a delivery's hold and its review of broken glass stand."""
        self._again[delivery.message_id, delivery.delivery_id] = delivery

    async def settle(self, connection: Connection, book: FactBook) -> None:
        """Bring holds and reviews of the deliveries that moved up to date: no event says by itself that the last of a hold has gone."""
        again = [delivery for key, delivery in self._again.items() if book.deliveries.get(key) is delivery]
        if not again:
            return
        wanted = ([d.message_id for d in again], [d.delivery_id for d in again])
        holds = await connection.fetch(
            "SELECT h.message_id, h.delivery_id, h.state, h.created_at, h.decided_at"
            " FROM unnest($1::uuid[], $2::text[]) AS wanted (message_id, delivery_id) JOIN holds h USING (message_id, delivery_id)",
            *wanted,
        )
        for row in holds:
            delivery = self._again[row["message_id"], row["delivery_id"]]
            delivery.hold, delivery.held_at, delivery.hold_ended_at = row["state"], row["created_at"], row["decided_at"]
        reviews = await connection.fetch(
            "SELECT r.message_id, r.delivery_id, r.state, r.created_at, r.decided_at"
            " FROM unnest($1::uuid[], $2::text[]) AS wanted (message_id, delivery_id)"
            " JOIN retrospective_reviews r USING (message_id, delivery_id) WHERE r.kind = 'break_glass'",
            *wanted,
        )
        for row in reviews:
            delivery = self._again[row["message_id"], row["delivery_id"]]
            delivery.glass = "reviewed" if row["state"] == "done" else "open"
            delivery.glass_at, delivery.glass_ended_at = row["created_at"], row["decided_at"]
