"""The chains of signed receipts on disk, kept for each delivery until the message log is known to have them."""

from collections.abc import Callable
from datetime import datetime
from sqlite3 import Connection, Row

from adapters.gateway.incoming.inbox_model import StoredReceipt
from adapters.gateway.outgoing.outbox_model import read_instant, write_instant
from adapters.gateway.store import GatewayStore
from schemas.codes import ReceiptState

MakeReceipt = Callable[[StoredReceipt | None], StoredReceipt]
"""Makes the next receipt of a chain from the last one, or from none."""


class ReceiptChains:
    """The table ``inbox_receipt`` of the inbox. Methods are synchronous and durable when they return."""

    def __init__(self, store: GatewayStore) -> None:
        """Read and write in ``store``, whose inbox tables ``InboxStore`` makes."""
        self._store = store

    def add(self, db: Connection, receipt: StoredReceipt) -> None:
        """Write the next receipt of a chain, in the caller's transaction."""
        db.execute(
            "INSERT INTO inbox_receipt VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL)",
            (
                receipt.delivery_id,
                receipt.number,
                receipt.receipt_id,
                receipt.state,
                receipt.reason_code,
                write_instant(receipt.at),
                receipt.digest,
                self._store.seal(f"inbox_receipt.body:{receipt.receipt_id}", receipt.body),
            ),
        )

    def list_chain(self, delivery_id: str) -> list[StoredReceipt]:
        """Return a delivery's chain, oldest first."""
        rows = self._store.query("SELECT * FROM inbox_receipt WHERE delivery_id = ? ORDER BY number", (delivery_id,))
        return [self._read(row) for row in rows]

    def find_last(self, delivery_id: str) -> StoredReceipt | None:
        """Return the newest receipt of a chain, or none if it has none."""
        chain = self.list_chain(delivery_id)
        return chain[-1] if chain else None

    def list_to_publish(self, published_before: datetime, limit: int = 100) -> list[StoredReceipt]:
        """Return receipts that were never published, or before that instant and are not known to be in the log: oldest first, chains in order."""
        rows = self._store.query(
            "SELECT * FROM inbox_receipt WHERE logged_at IS NULL AND (published_at IS NULL OR published_at < ?)"
            " AND delivery_id NOT LIKE 'lost:%' AND delivery_id NOT IN (SELECT delivery_id FROM inbox_lost)"
            " ORDER BY at, delivery_id, number LIMIT ?",
            (write_instant(published_before), limit),
        )
        return [self._read(row) for row in rows]

    def record_published(self, receipt_id: str, now: datetime) -> None:
        """Note that RabbitMQ confirmed a receipt."""
        with self._store.transaction() as db:
            db.execute(
                "UPDATE inbox_receipt SET published_at = ? WHERE receipt_id = ?", (write_instant(now), receipt_id)
            )

    def record_logged(self, delivery_id: str, digest: str, now: datetime, position: int | None = None) -> bool:
        """Note that the message log has a receipt, and where (its proof was verified). Return whether it is one of ours."""
        with self._store.transaction() as db:
            found = db.execute(
                "UPDATE inbox_receipt SET logged_at = coalesce(logged_at, ?), log_position = ? WHERE digest = ?"
                " AND (delivery_id = ? OR delivery_id LIKE ? || '/%')",
                (write_instant(now), position, digest, delivery_id, delivery_id),
            )
            return found.rowcount > 0

    def add_refusal(self, delivery_id: str, make_receipt: MakeReceipt) -> None:
        """Store a refusal as the only receipt of a delivery that could not be opened and is not in the inbox."""
        with self._store.transaction() as db:
            if self.find_last(delivery_id) is None:
                self.add(db, make_receipt(None))

    def send_again(self, delivery_id: str) -> None:
        """Publish a chain anew, same bytes: the hub offered the delivery again, so it has not seen them."""
        with self._store.transaction() as db:
            db.execute(
                "UPDATE inbox_receipt SET published_at = NULL WHERE (delivery_id = ? OR delivery_id LIKE ? || '/%')"
                " AND logged_at IS NULL",
                (delivery_id, delivery_id),
            )

    def list_lost(self, delivery_id: str, decision_leaf: str) -> list[StoredReceipt]:
        """Return the receipts of a delivery under a decision that the log lost, oldest first."""
        return self.list_chain(_name_lost(delivery_id, decision_leaf))

    def set_lost_aside(self, db: Connection, delivery_id: str, lost_leaf: str) -> None:
        """Keep the chain under a decision that the log lost as evidence, so that a new one may begin; in the caller's transaction."""
        db.execute(
            "UPDATE inbox_receipt SET delivery_id = ? WHERE delivery_id = ?",
            (_name_lost(delivery_id, lost_leaf), delivery_id),
        )

    def forget_lost(self, db: Connection, kept: int) -> int:
        """Make receipts due again that the log had beyond ``kept`` entries; return how many. In the caller's transaction."""
        found = db.execute(
            "UPDATE inbox_receipt SET logged_at = NULL, published_at = NULL, log_position = NULL"
            " WHERE delivery_id NOT LIKE 'lost:%' AND (log_position IS NULL OR log_position >= ?)",
            (kept,),
        )
        return found.rowcount

    def _read(self, row: Row) -> StoredReceipt:
        return StoredReceipt(
            delivery_id=row["delivery_id"],
            number=row["number"],
            receipt_id=row["receipt_id"],
            state=ReceiptState(row["state"]),
            reason_code=row["reason_code"],
            at=read_instant(row["at"]),
            digest=row["digest"],
            body=self._store.open(f"inbox_receipt.body:{row['receipt_id']}", row["body"]),
        )


def _name_lost(delivery_id: str, decision_leaf: str) -> str:
    return f"lost:{delivery_id}/{decision_leaf}"
