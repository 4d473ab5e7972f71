"""What became of what we sent: the hub's notices and the recipients' receipts, and the alarms of our own clock when they do not come.

The receiving half verifies each message before it comes here; recording one twice changes nothing. ``accepted`` counts only with a proof that the
event is in the message log: until then the sealed envelope is kept and sent again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from sqlite3 import Connection, Row
from typing import Any

import structlog

from adapters.gateway.outgoing.clock_book import ClockBook
from adapters.gateway.outgoing.outbox_model import NOT_DELIVERED, OutboxState, write_instant
from adapters.gateway.store import GatewayStore
from schemas.canonical import canonical_bytes
from schemas.codes import DeliveryOutcome, ReceiptState

_log = structlog.get_logger(__name__)

CLOCK_OUTCOME = "clock"
STARTED_OUTCOME = "clocks_started"
ACCEPTED_OUTCOMES = frozenset({"accepted", "duplicate"})
MAX_RESEALS = 5
"""Retryable rejections in a row after which a person must look."""
_RECEIPT_ORDER = {
    ReceiptState.ACCEPTED: 1,
    ReceiptState.OPENED: 2,
    ReceiptState.ACTIONED: 3,
    ReceiptState.REFUSED: 3,
}
_FINAL_OUTCOMES = frozenset({DeliveryOutcome.WITHHELD.value, DeliveryOutcome.REJECTED.value})
UNRESOLVED = "unresolved:"
_WAITING = (OutboxState.SEALED, OutboxState.PUBLISHED)


@dataclass(frozen=True, slots=True)
class AlarmTimes:
    """How long our own clock waits for proof of acceptance, then for each receipt, before it raises the alarm."""

    accept: timedelta
    accept_urgent: timedelta
    receipt: timedelta
    receipt_urgent: timedelta


class DeliveryTracker:
    """The tracking half of the outbox. ``now`` is the real clock's instant."""

    def __init__(self, store: GatewayStore) -> None:
        self._store = store
        self.clocks = ClockBook(store)

    def manifest_digest(self, message_id: str) -> str | None:
        """Return the manifest digest (base64url) of a message that we sealed, or none."""
        rows = self._store.query("SELECT manifest_digest FROM sealing WHERE message_id = ?", (message_id,))
        return rows[0]["manifest_digest"] if rows else None

    def knows_delivery(self, message_id: str, delivery_id: str) -> str | None:
        """Return the agency to which we sealed this delivery of this message, or none."""
        rows = self._store.query(
            "SELECT recipient FROM delivery WHERE message_id = ? AND delivery_id = ?", (message_id, delivery_id)
        )
        return rows[0]["recipient"] if rows else None

    def record_notice(
        self,
        *,
        message_id: str,
        referral_id: str,
        outcome: str,
        decisions: Sequence[Mapping[str, Any]],
        retryable: bool,
        proof_verified: bool,
        body: bytes,
        now: datetime,
        error: Mapping[str, Any] | None = None,
        clocks: Sequence[Mapping[str, Any]] = (),
        log_position: int | None = None,
    ) -> bool:
        """Record what the hub says of a message; return whether it is one of ours.

        A notice counts with a verified proof only: without one it is kept as evidence, and a bad one raises the alarm. ``rejected`` and ``retryable``
        leads to a new plan and sealing that names this one as its predecessor; any other rejection fails the referral and raises the alarm. Other
        outcomes update the deliveries alone.
        """
        with self._store.transaction() as db:
            referral = _find_referral(db, message_id, referral_id)
            if referral is None:
                _log.warning("notice_unknown", message_id=message_id)
                return False
            self._keep_evidence(db, "notice", message_id, None, body=body, now=now)
            if not proof_verified:
                if outcome in ACCEPTED_OUTCOMES or referral["state"] in _WAITING:
                    code = "accepted-without-proof" if outcome in ACCEPTED_OUTCOMES else "notice-without-proof"
                    _raise_alarm(db, referral["referral_id"], code, now)
                _log.error("notice_without_proof", message_id=message_id, outcome=outcome)
                return True
            if outcome in ACCEPTED_OUTCOMES:
                self._accept(db, referral, message_id, log_position, now=now)
            elif outcome == "rejected":
                self._reject(db, referral, message_id, error, retryable=retryable, now=now)
            elif outcome == "quarantined":
                self._stop(db, referral, message_id, OutboxState.HELD, "quarantined", now=now, error=error)
            if outcome != "rejected":
                for decision in decisions:
                    self._update_delivery(db, referral["referral_id"], message_id, decision, now)
            if outcome in {*ACCEPTED_OUTCOMES, STARTED_OUTCOME}:
                self.clocks.record_started(db, message_id, clocks)
            _settle(db, referral["referral_id"], now)
            if outcome == CLOCK_OUTCOME:
                self._note_clocks(db, referral["referral_id"], message_id, clocks, now)
        _log.info("notice_recorded", message_id=message_id, outcome=outcome, proof_verified=proof_verified)
        return True

    def record_receipt(
        self,
        *,
        message_id: str,
        delivery_id: str,
        state: str,
        reason_code: str | None,
        receipt_digest: str,
        body: bytes,
        at: datetime,
        now: datetime,
    ) -> bool:
        """Record a verified receipt of one delivery; return whether the delivery is ours. States only ever move forward."""
        with self._store.transaction() as db:
            row = db.execute(
                "SELECT d.receipt_state, d.referral_id, d.outcome FROM delivery d WHERE d.message_id = ? AND d.delivery_id = ?",
                (message_id, delivery_id),
            ).fetchone()
            if row is None:
                _log.warning("receipt_unknown", message_id=message_id, delivery_id=delivery_id)
                return False
            self._keep_evidence(db, "receipt", message_id, delivery_id, body=body, now=now)
            rank = _RECEIPT_ORDER[ReceiptState(state)]
            if row["receipt_state"] is None or rank > _RECEIPT_ORDER[ReceiptState(row["receipt_state"])]:
                db.execute(
                    "UPDATE delivery SET receipt_state = ?, receipt_at = ? WHERE delivery_id = ?",
                    (state, write_instant(at), delivery_id),
                )
            if state == ReceiptState.REFUSED:
                _raise_alarm(db, row["referral_id"], f"recipient-refused:{reason_code or 'no-reason'}", now)
            _settle(db, row["referral_id"], now)
        _log.info(
            "receipt_recorded", message_id=message_id, delivery_id=delivery_id, state=state, digest=receipt_digest
        )
        return True

    def _note_clocks(
        self, db: Connection, referral_id: str, message_id: str, changes: Sequence[Mapping[str, Any]], now: datetime
    ) -> None:
        """The alarm of a breach stands until what the clock waited for is logged."""
        for clock, breached in self.clocks.record_changes(db, message_id, changes).items():
            code = f"clock-breached:{clock}"
            if breached:
                _raise_alarm(db, referral_id, code, now)
            else:
                db.execute(
                    "UPDATE referral SET alarm = NULL, alarm_at = NULL WHERE referral_id = ? AND alarm = ?",
                    (referral_id, code),
                )

    def resubmit_lost(self, kept: int, now: datetime) -> int:
        """Send again, unchanged, what the log accepted at a position that is gone (``kept`` entries are left), or at one that we did not keep.

        Returns how many. Those whose sealed bytes are erased by now cannot be sent: their alarm says so.
        """
        with self._store.transaction() as db:
            lost = db.execute(
                "SELECT s.message_id, s.referral_id, s.body = x'' AS erased FROM sealing s JOIN referral r"
                " ON r.message_id = s.message_id WHERE r.state IN ('published', 'accepted', 'receipted', 'done')"
                " AND (s.outcome IS NULL OR s.outcome = 'accepted') AND (s.log_position IS NULL OR s.log_position >= ?)",
                (kept,),
            ).fetchall()
            for row in lost:
                if row["erased"]:
                    _raise_alarm(db, row["referral_id"], "lost-and-erased", now)
                    continue
                db.execute(
                    "UPDATE sealing SET outcome = NULL, outcome_at = NULL, log_position = NULL WHERE message_id = ?",
                    (row["message_id"],),
                )
                db.execute(
                    "UPDATE referral SET state = 'sealed', attempts = 0, next_attempt_at = ?, changed_at = ? WHERE referral_id = ?",
                    (write_instant(now), write_instant(now), row["referral_id"]),
                )
        return sum(1 for row in lost if not row["erased"])

    def raise_due_alarms(self, times: AlarmTimes, now: datetime) -> list[str]:
        """Raise the alarm for each referral that waits too long; return the ids of those newly raised.

        A referral keeps its first alarm until it moves on. The alarm is a stored fact and a log line with an event code, which operators watch.
        """
        raised = []
        with self._store.transaction() as db:
            for row in db.execute(
                "SELECT referral_id, urgent, state, stored_at, changed_at FROM referral"
                " WHERE alarm IS NULL AND state NOT IN ('done', 'held', 'failed')"
            ).fetchall():
                accepted = row["state"] in {OutboxState.ACCEPTED, OutboxState.RECEIPTED}
                urgent = bool(row["urgent"])
                if accepted:
                    limit, since = (times.receipt_urgent if urgent else times.receipt), row["changed_at"]
                    code = "no-receipt"
                else:
                    limit, since = (times.accept_urgent if urgent else times.accept), row["stored_at"]
                    code = "not-accepted"
                if since < write_instant(now - limit) and not (
                    accepted and not _awaits_receipt(db, row["referral_id"])
                ):
                    _raise_alarm(db, row["referral_id"], code, now)
                    raised.append(row["referral_id"])
        return raised

    def _accept(
        self, db: Connection, referral: Row, message_id: str, log_position: int | None, *, now: datetime
    ) -> None:
        db.execute(
            "UPDATE sealing SET outcome = 'accepted', outcome_at = coalesce(outcome_at, ?), log_position = ?"
            " WHERE message_id = ?",
            (write_instant(now), log_position, message_id),
        )
        # Whatever a slower publish or a held resend says: proof in the log settles it. A fault in that has no effect on the child.
        db.execute(
            "UPDATE referral SET state = 'accepted', message_id = ?, changed_at = ?, reason = NULL, alarm = NULL, alarm_at = NULL"
            " WHERE referral_id = ? AND state NOT IN ('accepted', 'receipted', 'done')",
            (message_id, write_instant(now), referral["referral_id"]),
        )

    def _reject(
        self,
        db: Connection,
        referral: Row,
        message_id: str,
        error: Mapping[str, Any] | None,
        *,
        retryable: bool,
        now: datetime,
    ) -> None:
        if referral["message_id"] != message_id or referral["state"] not in _WAITING:
            return  # an older sealing, or one that the log accepted: a late rejection of it changes nothing
        db.execute(
            "UPDATE sealing SET outcome = 'rejected', outcome_at = ? WHERE message_id = ?",
            (write_instant(now), message_id),
        )
        if not retryable or referral["reseals"] >= MAX_RESEALS:
            self._stop(db, referral, message_id, OutboxState.FAILED, "rejected-by-hub", now=now, error=error)
            return
        db.execute(
            "UPDATE referral SET state = 'received', reseals = reseals + 1, plan = NULL, changed_at = ?, next_attempt_at = ?"
            " WHERE referral_id = ?",
            (write_instant(now), write_instant(now), referral["referral_id"]),
        )

    def _stop(
        self,
        db: Connection,
        referral: Row,
        message_id: str,
        state: OutboxState,
        code: str,
        *,
        now: datetime,
        error: Mapping[str, Any] | None,
    ) -> None:
        referral_id = referral["referral_id"]
        if referral["message_id"] != message_id or referral["state"] not in _WAITING:
            return
        said = error or {}
        reason = canonical_bytes(
            {"code": str(said.get("code") or code), "detail": str(said.get("detail") or ""), "field": said.get("field")}
        )
        db.execute(
            "UPDATE referral SET state = ?, reason = ?, changed_at = ? WHERE referral_id = ?",
            (state, self._store.seal(f"referral.reason:{referral_id}", reason), write_instant(now), referral_id),
        )
        _raise_alarm(db, referral_id, code, now)

    def _update_delivery(
        self, db: Connection, referral_id: str, message_id: str, decision: Mapping[str, Any], now: datetime
    ) -> None:
        delivery_id = str(decision.get("delivery_id", ""))
        row = db.execute(
            "SELECT decision, recipient FROM delivery WHERE message_id = ? AND delivery_id = ?",
            (message_id, delivery_id),
        ).fetchone()
        if row is None:
            _log.error("notice_names_unknown_delivery", message_id=message_id)
            return
        place = f"delivery.decision:{delivery_id}"
        before = json.loads(self._store.open(place, row["decision"]))
        merged = before | dict(decision)
        db.execute(
            "UPDATE delivery SET outcome = ?, outcome_at = ?, decision = ? WHERE delivery_id = ?",
            (
                str(decision.get("outcome", "unknown")),
                write_instant(now),
                self._store.seal(place, canonical_bytes(merged)),
                delivery_id,
            ),
        )
        if decision.get("outcome") in _FINAL_OUTCOMES and _was_to_arrive(before, row["recipient"]):
            # Nobody has this part of the referral, against what its sender was told when it was planned: only its sender can find another way.
            _raise_undelivered(db, referral_id, row["recipient"], now)
        elif decision.get("outcome") == DeliveryOutcome.DELIVERED:
            db.execute(
                "DELETE FROM undelivered WHERE referral_id = ? AND recipient = ?", (referral_id, row["recipient"])
            )

    def _keep_evidence(
        self, db: Connection, kind: str, message_id: str, delivery_id: str | None, *, body: bytes, now: datetime
    ) -> None:
        digest = hashlib.sha256(body).digest()
        db.execute(
            "INSERT OR IGNORE INTO evidence VALUES (?, ?, ?, ?, ?, ?)",
            (
                digest,
                kind,
                message_id,
                delivery_id,
                write_instant(now),
                self._store.seal(f"evidence.body:{digest.hex()}", body),
            ),
        )


def _find_referral(db: Connection, message_id: str, referral_id: str) -> Row | None:
    found: Row | None = db.execute(
        "SELECT r.* FROM sealing s JOIN referral r USING (referral_id) WHERE s.message_id = ? AND r.referral_id = ?",
        (message_id, referral_id),
    ).fetchone()
    return found


def _was_to_arrive(before: Mapping[str, Any], recipient: str) -> bool:
    """Tell whether what was last said of a delivery is that it arrives; or that its recipient is nobody whom the directory knows."""
    return before.get("outcome") == DeliveryOutcome.DELIVERED or recipient.startswith(UNRESOLVED)


def _awaits_receipt(db: Connection, referral_id: str) -> bool:
    """Tell whether a delivery that went out has no receipt; one that waits in the hub's review queue has the hub's own deadline."""
    row = db.execute(
        "SELECT 1 FROM delivery d JOIN referral r ON r.message_id = d.message_id"
        " WHERE r.referral_id = ? AND d.outcome = 'delivered' AND d.receipt_state IS NULL LIMIT 1",
        (referral_id,),
    ).fetchone()
    return row is not None


def _settle(db: Connection, referral_id: str, now: datetime) -> None:
    """Move an accepted referral on: ``receipted`` once a receipt is there, ``done`` once nothing more is expected."""
    rows = db.execute(
        "SELECT d.outcome, d.receipt_state FROM delivery d JOIN referral r ON r.message_id = d.message_id"
        " WHERE r.referral_id = ? AND r.state IN ('accepted', 'receipted')",
        (referral_id,),
    ).fetchall()
    if not rows:
        return
    receipted = [r for r in rows if r["receipt_state"] is not None]
    is_open = any(r["receipt_state"] is None and r["outcome"] not in _FINAL_OUTCOMES for r in rows)
    state = OutboxState.DONE if not is_open else OutboxState.RECEIPTED if receipted else OutboxState.ACCEPTED
    keeps_alarm = any(r["receipt_state"] == ReceiptState.REFUSED for r in rows)
    db.execute(
        "UPDATE referral SET state = ?, changed_at = ? WHERE referral_id = ? AND state <> ?",
        (state, write_instant(now), referral_id, state),
    )
    if not is_open and not keeps_alarm:
        db.execute("UPDATE referral SET alarm = NULL, alarm_at = NULL WHERE referral_id = ?", (referral_id,))


def _raise_alarm(db: Connection, referral_id: str, code: str, now: datetime) -> None:
    db.execute(
        "UPDATE referral SET alarm = ?, alarm_at = ? WHERE referral_id = ?", (code, write_instant(now), referral_id)
    )
    _log.error("referral_alarm", referral_id=referral_id, alarm=code)


def _raise_undelivered(db: Connection, referral_id: str, recipient: str, now: datetime) -> None:
    """Raise the alarm that a recipient does not get the referral; it stands beside others until the recipient has it or a person sends anew."""
    db.execute("INSERT OR IGNORE INTO undelivered VALUES (?, ?, ?)", (referral_id, recipient, write_instant(now)))
    _log.error("referral_alarm", referral_id=referral_id, alarm=f"{NOT_DELIVERED}{recipient}")
