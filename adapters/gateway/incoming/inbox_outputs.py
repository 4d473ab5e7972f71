"""Outputs still to be made: which delivery goes to which channel, and when to try again. It survives restarts."""

from datetime import datetime

from adapters.gateway.incoming.inbox_model import INBOX_MIGRATIONS, FailedOutput, OutputState, PendingOutput
from adapters.gateway.outgoing.outbox_model import write_instant
from adapters.gateway.store import GatewayStore
from schemas.errors import SafelaneError


class OutputQueue:
    """The queue of outputs. ``InboxStore.record_delivery`` fills it in the transaction that stores a delivery."""

    def __init__(self, store: GatewayStore) -> None:
        store.migrate("inbox", INBOX_MIGRATIONS)
        self._store = store

    def list_due_outputs(self, now: datetime, limit: int = 50) -> list[PendingOutput]:
        """Return outputs whose time has come, the most urgent deliveries first."""
        rows = self._store.query(
            "SELECT o.delivery_id, o.channel, o.attempts FROM inbox_output o JOIN inbox_delivery d USING (delivery_id)"
            " WHERE o.state = 'pending' AND o.next_attempt_at <= ?"
            " ORDER BY d.immediate_danger DESC, d.received_at LIMIT ?",
            (write_instant(now), limit),
        )
        return [PendingOutput(row["delivery_id"], row["channel"], row["attempts"]) for row in rows]

    def record_output(self, output: PendingOutput, now: datetime) -> None:
        """Note that an output is made."""
        with self._store.transaction() as db:
            db.execute(
                "UPDATE inbox_output SET state = 'done', done_at = ?, code = NULL WHERE delivery_id = ? AND channel = ?",
                (write_instant(now), output.delivery_id, output.channel),
            )

    def record_output_failure(self, output: PendingOutput, error: SafelaneError, *, retry_at: datetime | None) -> None:
        """Note that an output failed; it is tried again at ``retry_at``, or with none a person must look."""
        state = OutputState.FAILED if retry_at is None else OutputState.PENDING
        with self._store.transaction() as db:
            db.execute(
                "UPDATE inbox_output SET state = ?, attempts = attempts + 1, next_attempt_at = coalesce(?, next_attempt_at),"
                " code = ? WHERE delivery_id = ? AND channel = ?",
                (
                    state,
                    write_instant(retry_at) if retry_at else None,
                    error.code,
                    output.delivery_id,
                    output.channel,
                ),
            )

    def retry_failed_outputs(self, now: datetime) -> int:
        """Try every failed output again from the start; return how many there are."""
        with self._store.transaction() as db:
            done = db.execute(
                "UPDATE inbox_output SET state = 'pending', attempts = 0, next_attempt_at = ? WHERE state = 'failed'",
                (write_instant(now),),
            )
            return done.rowcount

    def list_failed(self, limit: int = 200) -> list[FailedOutput]:
        """Return outputs that have failed for good until a person acts, oldest first."""
        rows = self._store.query(
            "SELECT delivery_id, channel, attempts, code FROM inbox_output WHERE state = 'failed'"
            " ORDER BY next_attempt_at LIMIT ?",
            (limit,),
        )
        return [FailedOutput(r["delivery_id"], r["channel"], r["attempts"], r["code"] or "") for r in rows]

    def list_outputs(self, delivery_id: str) -> dict[str, str]:
        """Return channel to state for one delivery."""
        rows = self._store.query("SELECT channel, state FROM inbox_output WHERE delivery_id = ?", (delivery_id,))
        return {row["channel"]: row["state"] for row in rows}
