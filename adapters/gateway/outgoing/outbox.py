"""The outbox: what this agency has undertaken to send, from 202 to the last receipt. One effect per (native reference, digest).

Every transition is one transaction, and says from which state it leads, so that repeating it after a crash changes nothing. What leaves is stored
before it leaves: the bytes of a sealing are written once and sent unchanged however often. Only a rejection that the hub calls retryable leads to a
new sealing, and it names its predecessor.
"""

import json
from collections.abc import Callable, Collection
from datetime import datetime
from sqlite3 import Connection, Row
from typing import Any

import structlog

from adapters.gateway.outgoing.outbox_model import (
    OUTBOX_MIGRATIONS,
    STOPPED,
    TO_SEND,
    AcceptedDocument,
    EarlierMessage,
    NewDocument,
    NewReferral,
    NewSealing,
    OutboxReferral,
    OutboxState,
    SealedMessage,
    UnansweredMessage,
    read_instant,
    write_instant,
)
from adapters.gateway.outgoing.outbox_view import OutboxView, read_row
from adapters.gateway.outgoing.tracking import DeliveryTracker
from adapters.gateway.random_ids import new_opaque_id
from adapters.gateway.store import GatewayStore
from schemas.canonical import canonical_bytes
from schemas.errors import Conflict, NotFound, SafelaneError

_log = structlog.get_logger(__name__)


class Outbox:
    """The outbox of one agency. Methods are synchronous and durable when they return. ``now`` is the real clock's instant throughout."""

    def __init__(self, store: GatewayStore, *, new_id: Callable[[], str] = new_opaque_id) -> None:
        store.migrate("outbox", OUTBOX_MIGRATIONS)
        self._store = store
        self._new_id = new_id
        self.tracking = DeliveryTracker(store)
        self.record_notice = self.tracking.record_notice
        self.record_receipt = self.tracking.record_receipt
        self.manifest_digest = self.tracking.manifest_digest
        self.knows_delivery = self.tracking.knows_delivery
        view = OutboxView(store)
        self.list_referrals = view.list_referrals
        self.list_alarms = view.list_alarms
        self.count_backlog = view.count_backlog
        self.describe = view.describe

    def find_answer(self, idempotency_key: str, body_digest: str) -> AcceptedDocument | None:
        """Return what the same request was answered before, or none.

        Raises:
            Conflict: the key was used with another document.
        """
        rows = self._store.query(
            "SELECT document_id, body_index, answer FROM document WHERE request_index = ?",
            (self._store.blind_index("request", idempotency_key),),
        )
        if not rows:
            return None
        if rows[0]["body_index"] != self._store.blind_index("body", body_digest):
            raise Conflict("was used with another document", field="Idempotency-Key")
        document_id = rows[0]["document_id"]
        answer = json.loads(self._store.open(f"document.answer:{document_id}", rows[0]["answer"]))
        return AcceptedDocument(document_id, answer, repeated=True)

    def accept(self, document: NewDocument, *, received_at: datetime, now: datetime) -> AcceptedDocument:
        """Store a document and its good records in one transaction (step 1). A record that came before keeps its referral id.

        Raises:
            Conflict: the Idempotency-Key was used with another document.
            DependencyUnavailable: it could not be written; nothing was taken in.
        """
        with self._store.transaction() as db:
            if document.idempotency_key is not None:
                before = self.find_answer(document.idempotency_key, document.body_digest)
                if before is not None:
                    return before
            document_id = self._new_id()
            self._insert_document(db, document, document_id, now)
            entries = [self._accept_record(db, r, document_id, received_at, now) for r in document.referrals]
            faults = [fault.to_json() for fault in document.faults]
            answer = {"document_id": document_id, "referrals": entries, "errors": faults}
            sealed = self._store.seal(f"document.answer:{document_id}", canonical_bytes(answer))
            db.execute("UPDATE document SET answer = ? WHERE document_id = ?", (sealed, document_id))
        _log.info("document_accepted", document_id=document_id, good=len(entries), bad=len(faults))
        return AcceptedDocument(document_id, answer)

    def next_to_send(self, now: datetime, *, other_than: Collection[str] = ()) -> OutboxReferral | None:
        """Return the referral whose turn it is, urgent ones first, then the longest waiting; none if nothing is due.

        ``other_than`` are ids that somebody is working on already.
        """
        rows = self._store.query(
            "SELECT * FROM referral WHERE state IN ('received', 'planned', 'sealed') AND next_attempt_at <= ?"
            " ORDER BY urgent DESC, received_at, rowid LIMIT ?",
            (write_instant(now), len(other_than) + 1),
        )
        return next((read_row(row) for row in rows if row["referral_id"] not in other_than), None)

    def find_referral(self, referral_id: str) -> OutboxReferral:
        """Return a referral's row.

        Raises:
            NotFound: there is none of that id.
        """
        return read_row(self._row(referral_id))

    def read_content(self, referral_id: str) -> bytes:
        """Return the referral's JSON as it was taken in."""
        return self._store.open(f"referral.content:{referral_id}", self._row(referral_id)["content"])

    def find_earlier(self, native_ref: str, *, other_than: str) -> EarlierMessage | None:
        """Return the newest message that we took in under this native reference, or none; sealed ones go before others."""
        rows = self._store.query(
            "SELECT message_id, conversation, state FROM referral WHERE reference_index = ? AND referral_id <> ?"
            " ORDER BY message_id IS NULL, stored_at DESC LIMIT 1",
            (self._store.blind_index("reference", native_ref), other_than),
        )
        if not rows:
            return None
        found = rows[0]
        waits = found["message_id"] is None and OutboxState(found["state"]) in TO_SEND
        return EarlierMessage(found["message_id"], found["conversation"], is_being_prepared=waits)

    def record_plan(self, referral_id: str, plan: dict[str, Any], now: datetime) -> None:
        """Keep the plan (header and decisions) that sealing will follow: received → planned (step 2)."""
        with self._store.transaction() as db:
            db.execute(
                "UPDATE referral SET state = 'planned', plan = ?, changed_at = ? WHERE referral_id = ? AND state = 'received'",
                (
                    self._store.seal(f"referral.plan:{referral_id}", canonical_bytes(plan)),
                    write_instant(now),
                    referral_id,
                ),
            )

    def read_plan(self, referral_id: str) -> dict[str, Any] | None:
        """Return the plan that was kept, or none."""
        sealed = self._row(referral_id)["plan"]
        if sealed is None:
            return None
        plan: dict[str, Any] = json.loads(self._store.open(f"referral.plan:{referral_id}", sealed))
        return plan

    def discard_plan(self, referral_id: str, now: datetime) -> None:
        """Forget a plan that can no longer be followed (keys or directory moved on): planned → received."""
        with self._store.transaction() as db:
            db.execute(
                "UPDATE referral SET state = 'received', plan = NULL, changed_at = ? WHERE referral_id = ? AND state = 'planned'",
                (write_instant(now), referral_id),
            )

    def record_sealing(self, referral_id: str, sealing: NewSealing, now: datetime) -> None:
        """Store sealed bytes, section keys and deliveries before anything is published: planned → sealed (step 3)."""
        message_id = sealing.message_id
        keys = canonical_bytes(sealing.section_keys)
        with self._store.transaction() as db:
            if OutboxState(self._row(referral_id)["state"]) is not OutboxState.PLANNED:
                return
            db.execute(
                "INSERT INTO sealing (message_id, referral_id, predecessor, sealed_at, manifest_digest, body, section_keys)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    message_id,
                    referral_id,
                    sealing.predecessor,
                    write_instant(now),
                    sealing.manifest_digest,
                    self._store.seal(f"sealing.body:{message_id}", sealing.body),
                    self._store.seal(f"sealing.section_keys:{message_id}", keys),
                ),
            )
            for delivery in sealing.deliveries:
                decision = canonical_bytes(delivery.decision)
                db.execute(
                    "INSERT INTO delivery (delivery_id, message_id, referral_id, recipient, role, purpose, outcome, decision)"
                    " VALUES (?, ?, ?, ?, ?, ?, 'planned', ?)",
                    (
                        delivery.delivery_id,
                        message_id,
                        referral_id,
                        delivery.recipient,
                        delivery.role,
                        delivery.purpose,
                        self._store.seal(f"delivery.decision:{delivery.delivery_id}", decision),
                    ),
                )
            db.execute(
                "UPDATE referral SET state = 'sealed', message_id = ?, attempts = 0, changed_at = ? WHERE referral_id = ?",
                (message_id, write_instant(now), referral_id),
            )

    def read_sealed(self, message_id: str) -> SealedMessage:
        """Return the stored bytes of a sealing.

        Raises:
            NotFound: there is no such sealing.
        """
        rows = self._store.query("SELECT referral_id, body FROM sealing WHERE message_id = ?", (message_id,))
        if not rows:
            raise NotFound("there is no such message", field="message_id")
        body = self._store.open(f"sealing.body:{message_id}", rows[0]["body"])
        return SealedMessage(message_id, rows[0]["referral_id"], body)

    def record_published(self, message_id: str, now: datetime) -> None:
        """Note that RabbitMQ confirmed the message: sealed → published. The envelope is kept: a confirm is not acceptance."""
        with self._store.transaction() as db:
            db.execute(
                "UPDATE sealing SET published_at = ?, publications = publications + 1 WHERE message_id = ?",
                (write_instant(now), message_id),
            )
            db.execute(
                "UPDATE referral SET state = 'published', attempts = 0, changed_at = ? WHERE message_id = ? AND state = 'sealed'",
                (write_instant(now), message_id),
            )

    def unanswered(self, published_before: datetime, limit: int = 256) -> list[UnansweredMessage]:
        """Return messages on which the hub has not answered since their last publish, before that instant; oldest first."""
        rows = self._store.query(
            "SELECT s.message_id, s.publications, s.published_at, r.urgent FROM sealing s"
            " JOIN referral r ON r.message_id = s.message_id"
            " WHERE r.state = 'published' AND s.published_at < ? ORDER BY s.published_at LIMIT ?",
            (write_instant(published_before), limit),
        )
        return [
            UnansweredMessage(r["message_id"], bool(r["urgent"]), r["publications"], read_instant(r["published_at"]))
            for r in rows
        ]

    def postpone(self, referral_id: str, until: datetime, error: SafelaneError) -> None:
        """Try again at ``until``: something that may heal by itself went wrong."""
        with self._store.transaction() as db:
            db.execute(
                "UPDATE referral SET attempts = attempts + 1, next_attempt_at = ?, reason = ? WHERE referral_id = ?",
                (write_instant(until), self._seal_reason(referral_id, error), referral_id),
            )
        _log.warning("referral_postponed", referral_id=referral_id, code=error.code, until=write_instant(until))

    def stop(self, referral_id: str, state: OutboxState, error: SafelaneError, now: datetime) -> None:
        """Stop a referral until a person acts (``held``) or for good as things stand (``failed``), and raise the alarm. Nothing is deleted."""
        with self._store.transaction() as db:
            db.execute(
                "UPDATE referral SET state = ?, reason = ?, alarm = ?, alarm_at = ?, changed_at = ? WHERE referral_id = ?"
                " AND state IN ('received', 'planned', 'sealed')",
                (
                    state,
                    self._seal_reason(referral_id, error),
                    error.code,
                    write_instant(now),
                    write_instant(now),
                    referral_id,
                ),
            )
        _log.error("referral_stopped", referral_id=referral_id, state=state.value, code=error.code, field=error.field)

    def release(self, referral_id: str, now: datetime) -> OutboxState:
        """Send a held or failed referral on its way again; return its state. Sealed bytes that the hub never refused are sent unchanged.

        Raises:
            Conflict: it is neither held nor failed.
        """
        with self._store.transaction() as db:
            row = self._row(referral_id)
            if OutboxState(row["state"]) not in STOPPED:
                raise Conflict("only a held or failed referral can be released", field="state")
            sealing = db.execute("SELECT outcome FROM sealing WHERE message_id = ?", (row["message_id"],)).fetchone()
            resend = sealing is not None and sealing["outcome"] is None
            state = OutboxState.SEALED if resend else OutboxState.RECEIVED
            db.execute("DELETE FROM undelivered WHERE referral_id = ?", (referral_id,))
            db.execute(
                "UPDATE referral SET state = ?, plan = NULL, reason = NULL, alarm = NULL, alarm_at = NULL, attempts = 0,"
                " reseals = 0, next_attempt_at = ?, changed_at = ? WHERE referral_id = ?",
                (state, write_instant(now), write_instant(now), referral_id),
            )
        _log.info("referral_released", referral_id=referral_id, state=state.value)
        return state

    def _insert_document(self, db: Connection, document: NewDocument, document_id: str, now: datetime) -> None:
        key = document.idempotency_key
        db.execute(
            "INSERT INTO document (document_id, stored_at, channel, mapping, request_index, body_index, body, answer)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, x'')",
            (
                document_id,
                write_instant(now),
                document.channel,
                document.mapping,
                None if key is None else self._store.blind_index("request", key),
                self._store.blind_index("body", document.body_digest),
                self._store.seal(f"document.body:{document_id}", document.body),
            ),
        )

    def _accept_record(
        self, db: Connection, record: NewReferral, document_id: str, received_at: datetime, now: datetime
    ) -> dict[str, Any]:
        source = self._store.blind_index("source", f"{record.native_ref}\0{record.native_digest}")
        before = db.execute("SELECT referral_id, state FROM referral WHERE source_index = ?", (source,)).fetchone()
        entry: dict[str, Any] = {"number": record.number, "native_ref": record.native_ref}
        if before is not None:
            return entry | {"referral_id": before["referral_id"], "state": before["state"], "repeated": True}
        referral_id = self._new_id()
        earlier = None if record.relates_to is None else self.find_earlier(record.relates_to, other_than=referral_id)
        moment = write_instant(now)
        db.execute(
            "INSERT INTO referral (referral_id, document_id, record_number, source_index, reference_index, state, urgent,"
            " kind, received_at, stored_at, changed_at, next_attempt_at, conversation, content)"
            " VALUES (?, ?, ?, ?, ?, 'received', ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                referral_id,
                document_id,
                record.number,
                source,
                self._store.blind_index("reference", record.native_ref),
                record.urgent,
                record.kind,
                write_instant(received_at),
                moment,
                moment,
                moment,
                earlier.conversation if earlier else self._new_id(),
                self._store.seal(f"referral.content:{referral_id}", record.content),
            ),
        )
        return entry | {"referral_id": referral_id, "state": OutboxState.RECEIVED.value, "repeated": False}

    def _seal_reason(self, referral_id: str, error: SafelaneError) -> bytes:
        reason = {"code": error.code, "detail": error.detail, "field": error.field}
        return self._store.seal(f"referral.reason:{referral_id}", canonical_bytes(reason))

    def _row(self, referral_id: str) -> Row:
        rows = self._store.query("SELECT * FROM referral WHERE referral_id = ?", (referral_id,))
        if not rows:
            raise NotFound("there is no such referral", field="referral_id")
        return rows[0]
