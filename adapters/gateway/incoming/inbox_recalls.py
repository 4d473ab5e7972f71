"""Recalls of what this agency received: marked here, deleted on a person's word, confirmed by a signed object."""

from adapters.gateway.incoming.received import ReceivedReferral
from adapters.gateway.store import GatewayStore
from schemas.canonical import canonical_bytes

RECALL_MIGRATIONS = (
    """
CREATE TABLE inbox_recall (
  delivery_id TEXT PRIMARY KEY,
  statement TEXT NOT NULL,
  deleted INTEGER NOT NULL DEFAULT 0
);
""",
)


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

    def find_manifest(self, message_id: str) -> str | None:
        """Return the manifest digest of a message that we received, or none."""
        rows = self._store.query("SELECT manifest_digest FROM inbox_delivery WHERE message_id = ?", (message_id,))
        return str(rows[0]["manifest_digest"]) if rows else None

    def erase_content(self, delivery_id: str) -> None:
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
            db.execute("UPDATE inbox_recall SET deleted = 1 WHERE delivery_id = ?", (delivery_id,))
