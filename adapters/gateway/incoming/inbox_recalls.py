"""Recalls of what this agency received: marked here, deleted on a person's word, confirmed by a signed object."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from adapters.gateway.incoming.received import ReceivedReferral
from adapters.gateway.outgoing.outbox_model import write_instant
from adapters.gateway.store import GatewayStore
from schemas.canonical import canonical_bytes
from schemas.objects import peek_object

RECALL_MIGRATIONS = (
    """
CREATE TABLE inbox_recall (
  delivery_id TEXT PRIMARY KEY,
  statement TEXT NOT NULL,
  deleted INTEGER NOT NULL DEFAULT 0
);
""",
    # Of what was deleted before, the last instant that is known is that of its last receipt.
    """
ALTER TABLE inbox_recall ADD COLUMN deleted_at TEXT;
UPDATE inbox_recall SET deleted_at = (SELECT changed_at FROM inbox_delivery d WHERE d.delivery_id = inbox_recall.delivery_id) WHERE deleted = 1;
""",
)


@dataclass(frozen=True, slots=True)
class RecallMark:
    """Instants as RFC 3339: when a delivery's sender signed the recall, and when its content was deleted here, if it was."""

    recalled: str
    deleted: str | None


class InboxRecalls:
    """Which deliveries their senders recalled."""

    def __init__(self, store: GatewayStore) -> None:
        store.migrate("recalls", RECALL_MIGRATIONS)
        self._store = store

    def mark_recalled(self, delivery_id: str, statement: str) -> None:
        """Mark a delivery as recalled, with the sender's signed recall, which the caller verified: the newest stands."""
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO inbox_recall (delivery_id, statement) VALUES (?, ?)"
                " ON CONFLICT (delivery_id) DO UPDATE SET statement = excluded.statement",
                (delivery_id, statement),
            )

    def find_recall(self, delivery_id: str) -> str | None:
        """Return the signed recall of a delivery, or none."""
        rows = self._store.query("SELECT statement FROM inbox_recall WHERE delivery_id = ?", (delivery_id,))
        return str(rows[0]["statement"]) if rows else None

    def list_recalled(self) -> list[dict[str, object]]:
        """Return the recalled deliveries, and whether they are deleted here."""
        rows = self._store.query("SELECT delivery_id, deleted FROM inbox_recall ORDER BY rowid DESC")
        return [{"delivery_id": row["delivery_id"], "deleted": bool(row["deleted"])} for row in rows]

    def find_marks(self, delivery_ids: Collection[str]) -> dict[str, RecallMark]:
        """Return what to show of those of these deliveries that are recalled."""
        places = ", ".join("?" for _ in delivery_ids)
        rows = self._store.query(
            f"SELECT delivery_id, statement, deleted_at FROM inbox_recall WHERE delivery_id IN ({places})",  # noqa: S608 (question marks alone)
            tuple(delivery_ids),
        )
        return {
            row["delivery_id"]: RecallMark(
                str(peek_object(canonical_bytes(json.loads(row["statement"])))["issued_at"]), row["deleted_at"]
            )
            for row in rows
        }

    def find_manifest(self, message_id: str) -> str | None:
        """Return the manifest digest of a message that we received, or none."""
        rows = self._store.query("SELECT manifest_digest FROM inbox_delivery WHERE message_id = ?", (message_id,))
        return str(rows[0]["manifest_digest"]) if rows else None

    def erase_content(self, delivery_id: str, now: datetime) -> None:
        """Erase what a delivery said; that it came, its receipts and its recall stay. SQLite overwrites what is deleted."""
        with self._store.transaction() as db:
            row = db.execute("SELECT content FROM inbox_delivery WHERE delivery_id = ?", (delivery_id,)).fetchone()
            place = f"inbox_delivery.content:{delivery_id}"
            received = ReceivedReferral.model_validate_json(self._store.open(place, row["content"]))
            empty = received.model_copy(update={"sections": (), "subjects": ()})
            db.execute(
                "UPDATE inbox_delivery SET content = ?, body = x'' WHERE delivery_id = ?",
                (self._store.seal(place, canonical_bytes(empty.to_json())), delivery_id),
            )
            db.execute("DELETE FROM inbox_supplement WHERE delivery_id = ?", (delivery_id,))
            db.execute("DELETE FROM inbox_output WHERE delivery_id = ? AND state <> 'done'", (delivery_id,))
            db.execute(
                "UPDATE inbox_recall SET deleted = 1, deleted_at = ? WHERE delivery_id = ?",
                (write_instant(now), delivery_id),
            )
