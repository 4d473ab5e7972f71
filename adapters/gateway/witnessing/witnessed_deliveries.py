"""Which deliveries lie under a checkpoint that a quorum of witnesses cosigned. They are opened and worked on without waiting for it."""

from datetime import datetime

from adapters.gateway.incoming.inbox_store import InboxStore
from adapters.gateway.outgoing.outbox_model import write_instant
from adapters.gateway.store import GatewayStore
from schemas.checkpoint import Checkpoint, verify_checkpoint
from schemas.directory import HubKeys
from schemas.envelope import parse_delivery
from schemas.errors import SafelaneError
from schemas.log_epochs import ProofLost, find_verifier

_AT_ONCE = 200


class WitnessedDeliveries:
    """The table ``inbox_witnessed``: the checkpoint in each delivery's proof, and when a quorum was seen to cover it."""

    def __init__(self, store: GatewayStore) -> None:
        self._inbox = InboxStore(store)  # the tables are the inbox's
        self._store = store

    def note_new(self, hub: HubKeys, now: datetime) -> None:
        """Take the checkpoint out of the proof of each delivery that has come since. One whose decision the log lost comes again.

        What was deleted after its sender's recall has no proof any more, and waits for no witness.
        """
        rows = self._store.query(
            "SELECT d.delivery_id, d.body FROM inbox_delivery d LEFT JOIN inbox_witnessed w USING (delivery_id)"
            " WHERE w.delivery_id IS NULL AND length(d.body) > 0 AND d.delivery_id NOT IN (SELECT delivery_id FROM inbox_lost) LIMIT ?",
            (_AT_ONCE,),
        )
        for row in rows:
            body = self._store.open(f"inbox_delivery.body:{row['delivery_id']}", row["body"])
            try:
                note = parse_delivery(body).proof.note
                checkpoint = verify_checkpoint(note, find_verifier(hub, note))
            except ProofLost:
                self._inbox.mark_lost(row["delivery_id"])
                continue
            except SafelaneError:
                continue  # a key that the directory does not name: it stays unwitnessed
            with self._store.transaction() as db:
                db.execute(
                    "INSERT OR IGNORE INTO inbox_witnessed (delivery_id, size, root, noted_at) VALUES (?, ?, ?, ?)",
                    (row["delivery_id"], checkpoint.size, checkpoint.root, write_instant(now)),
                )

    def list_coverable(self, quorum: Checkpoint) -> list[Checkpoint]:
        """Return the distinct checkpoints of deliveries that are not witnessed yet and that are no larger than the quorum's."""
        rows = self._store.query(
            "SELECT DISTINCT size, root FROM inbox_witnessed WHERE witnessed_at IS NULL AND size <= ? ORDER BY size LIMIT ?",
            (quorum.size, _AT_ONCE),
        )
        return [Checkpoint(quorum.origin, row["size"], row["root"]) for row in rows]

    def mark_witnessed(self, checkpoint: Checkpoint, now: datetime) -> None:
        """Mark every delivery under this checkpoint."""
        with self._store.transaction() as db:
            db.execute(
                "UPDATE inbox_witnessed SET witnessed_at = ? WHERE size = ? AND root = ? AND witnessed_at IS NULL",
                (write_instant(now), checkpoint.size, checkpoint.root),
            )

    def count_late(self, before: datetime) -> int:
        """Return how many deliveries came before ``before`` and are not witnessed."""
        rows = self._store.query(
            "SELECT count(*) AS late FROM inbox_witnessed WHERE witnessed_at IS NULL AND noted_at < ?",
            (write_instant(before),),
        )
        return int(rows[0]["late"])
