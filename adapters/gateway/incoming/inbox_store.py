"""The inbox on disk: each delivery once, with its receipt chain and its outputs, in one transaction.

A delivery that comes again (redelivered, offered again, replayed) finds itself here and changes nothing. Nothing is acknowledged to RabbitMQ
before this store has it.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from sqlite3 import Connection, Row

from adapters.gateway.incoming.inbox_model import (
    INBOX_MIGRATIONS,
    InboxEntry,
    InboxFilter,
    OutputState,
    StoredReceipt,
    Taken,
)
from adapters.gateway.incoming.receipt_chains import MakeReceipt, ReceiptChains
from adapters.gateway.incoming.received import ReceivedReferral
from adapters.gateway.outgoing.outbox_model import read_instant, write_instant
from adapters.gateway.store import GatewayStore
from schemas.canonical import canonical_bytes
from schemas.codes import ReceiptState, RiskGrade
from schemas.directory import HubKeys
from schemas.envelope import parse_delivery
from schemas.errors import Conflict, NotFound
from schemas.log_epochs import ProofLost, find_verifier

_NOT_SHARED = "not_shared"
"""In the column ``grade``: this recipient may not have the risk."""
_ENTRIES = (
    "SELECT *, 1 + (SELECT count(*) FROM inbox_supplement AS later WHERE later.delivery_id = inbox_delivery.delivery_id)"
    " AS release FROM inbox_delivery"
)


class InboxStore:
    """The receiving half's tables in the agency's store. Methods are synchronous and durable when they return."""

    def __init__(self, store: GatewayStore) -> None:
        store.migrate("inbox", INBOX_MIGRATIONS)
        self._store = store
        self.receipts = ReceiptChains(store)

    def record_delivery(
        self,
        received: ReceivedReferral,
        body: bytes,
        *,
        channels: Sequence[str],
        make_receipt: MakeReceipt,
        now: datetime,
    ) -> Taken:
        """Store a verified delivery, its first receipt and its outputs in one transaction.

        A delivery that is here already changes nothing, unless a later decision released more of its sections: these are added. Nothing comes back of
        one that was deleted after its sender's recall.

        Raises:
            Conflict: another message came under the same delivery id.
            DependencyUnavailable: it could not be written; nothing was taken in.
        """
        delivery_id = received.delivery_id
        with self._store.transaction() as db:
            known = db.execute(
                "SELECT manifest_digest, decision_leaf, length(body) = 0 AS erased FROM inbox_delivery WHERE delivery_id = ?",
                (delivery_id,),
            ).fetchone()
            if known is not None:
                if known["manifest_digest"] != received.manifest_digest:
                    raise Conflict("another message came under the same delivery id", field="delivery_id")
                same = known["decision_leaf"] == received.decision_leaf
                if not same and db.execute("SELECT 1 FROM inbox_lost WHERE delivery_id = ?", (delivery_id,)).fetchone():
                    self._decide_anew(db, received, known["decision_leaf"], b"" if known["erased"] else body, now)
                    self.receipts.add(db, make_receipt(None))
                    return Taken.DECIDED_ANEW
                added = False if same or known["erased"] else self._supplement(db, received, body, now)
                if added:
                    _queue_outputs(db, delivery_id, channels, now)
                    # What a later decision released has a chain of receipts of its own, beside the delivery's.
                    self.receipts.add(
                        db, replace(make_receipt(None), delivery_id=f"{delivery_id}/{received.decision_leaf}")
                    )
                return Taken.SUPPLEMENTED if added else Taken.REPEATED
            self._insert_delivery(db, received, body, now)
            self.receipts.add(db, make_receipt(None))
            _queue_outputs(db, delivery_id, channels, now)
        return Taken.STORED

    def note_lost(self, delivery_id: str, hub: HubKeys) -> bool:
        """Note that a delivery is to be decided anew, if the log lost the decision under which it is here; return whether it did.

        The witness notes the same when it enters a new epoch; what the hub decided anew may come before that.
        """
        rows = self._store.query("SELECT body FROM inbox_delivery WHERE delivery_id = ?", (delivery_id,))
        if not rows or not rows[0]["body"]:
            return False  # not here, or deleted after its sender's recall
        body = self._store.open(f"inbox_delivery.body:{delivery_id}", rows[0]["body"])
        try:
            find_verifier(hub, parse_delivery(body).proof.note)
        except ProofLost:
            self.mark_lost(delivery_id)
            return True
        return False

    def mark_lost(self, delivery_id: str) -> None:
        """Note that a delivery is to be decided anew: its receipts wait for that."""
        with self._store.transaction() as db:
            db.execute("INSERT OR IGNORE INTO inbox_lost VALUES (?)", (delivery_id,))

    def find_entry(self, delivery_id: str) -> InboxEntry:
        """Return a delivery's line.

        Raises:
            NotFound: there is none of that id.
        """
        rows = self._store.query(f"{_ENTRIES} WHERE delivery_id = ?", (delivery_id,))
        if not rows:
            raise NotFound("there is no such delivery", field="delivery_id")
        return _read_entry(rows[0])

    def find_leaf(self, delivery_id: str) -> str | None:
        """Return the decision under which a delivery is here, or none if it is not."""
        rows = self._store.query("SELECT decision_leaf FROM inbox_delivery WHERE delivery_id = ?", (delivery_id,))
        return str(rows[0]["decision_leaf"]) if rows else None

    def read_received(self, delivery_id: str) -> ReceivedReferral:
        """Return a delivery's content.

        Raises:
            NotFound: there is none of that id.
            IntegrityBroken: the stored value was altered.
        """
        rows = self._store.query("SELECT content FROM inbox_delivery WHERE delivery_id = ?", (delivery_id,))
        if not rows:
            raise NotFound("there is no such delivery", field="delivery_id")
        data = self._store.open(f"inbox_delivery.content:{delivery_id}", rows[0]["content"])
        received = ReceivedReferral.model_validate_json(data)
        return received.model_copy(update={"witnessed": self.is_witnessed(delivery_id)})

    def is_witnessed(self, delivery_id: str) -> bool:
        """Tell whether a quorum of witnesses is known to cover a delivery's decision."""
        return bool(
            self._store.query(
                "SELECT 1 FROM inbox_witnessed WHERE delivery_id = ? AND witnessed_at IS NOT NULL", (delivery_id,)
            )
        )

    def list_entries(self, chosen: InboxFilter, limit: int) -> list[InboxEntry]:
        """Return at most ``limit`` lines, newest first, of what the asking contact may open."""
        clauses = ["(contact IS NULL OR contact = ?)"]
        values: list[str] = [chosen.contact or ""]
        for column, wanted in (("state", chosen.states), ("kind", chosen.kinds), ("sender", chosen.senders)):
            if wanted:
                clauses.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values += [str(item) for item in wanted]
        if chosen.since:
            clauses.append("received_at >= ?")
            values.append(write_instant(chosen.since))
        if chosen.before:
            clauses.append("(received_at, delivery_id) < (?, ?)")
            values += chosen.before
        rows = self._store.query(
            f"{_ENTRIES} WHERE {' AND '.join(clauses)} ORDER BY received_at DESC, delivery_id DESC LIMIT ?",
            (*values, limit),
        )
        return [_read_entry(row) for row in rows]

    def list_unopened_contacts(self) -> list[tuple[str, str]]:
        """Return (delivery id, contact) of deliveries for a named contact that are not opened yet, oldest first."""
        rows = self._store.query(
            "SELECT delivery_id, contact FROM inbox_delivery WHERE contact IS NOT NULL AND state = 'accepted'"
            " ORDER BY received_at LIMIT 1000"
        )
        return [(row["delivery_id"], row["contact"]) for row in rows]

    def list_related(self, entry: InboxEntry) -> tuple[list[InboxEntry], list[InboxEntry]]:
        """Return what ``entry`` corrects or adds to, and what corrects or adds to it, as far as it was received for the same contact."""
        corrects = self._store.query(
            f"{_ENTRIES} WHERE message_id = ? AND delivery_id <> ?"
            " AND (contact IS NULL OR contact = ?) ORDER BY received_at",
            (entry.supersedes or "", entry.delivery_id, entry.contact or ""),
        )
        corrected_by = self._store.query(
            f"{_ENTRIES} WHERE supersedes = ? AND delivery_id <> ?"
            " AND (contact IS NULL OR contact = ?) ORDER BY received_at",
            (entry.message_id, entry.delivery_id, entry.contact or ""),
        )
        return [_read_entry(row) for row in corrects], [_read_entry(row) for row in corrected_by]

    def append_receipt(self, delivery_id: str, make_receipt: MakeReceipt) -> StoredReceipt:
        """Add the next receipt to a delivery's chain; ``make_receipt`` sees the last one and may raise.

        Raises:
            NotFound: there is no such delivery.
        """
        with self._store.transaction() as db:
            self.find_entry(delivery_id)
            receipt = make_receipt(self.receipts.find_last(delivery_id))
            self.receipts.add(db, receipt)
            db.execute(
                "UPDATE inbox_delivery SET state = ?, changed_at = ? WHERE delivery_id = ?",
                (receipt.state, write_instant(receipt.at), delivery_id),
            )
        return receipt

    def forget_lost_receipts(self, kept: int) -> int:
        """After the log lost what lay beyond ``kept`` entries: receipts that it had there are due again; return how many.

        What was noted of witnesses is noted again, by the new epoch's key.
        """
        with self._store.transaction() as db:
            db.execute("DELETE FROM inbox_witnessed WHERE size > ?", (kept,))
            return self.receipts.forget_lost(db, kept)

    def transaction(self) -> AbstractContextManager[Connection]:
        """Join what follows into one transaction."""
        return self._store.transaction()

    def _insert_delivery(self, db: Connection, received: ReceivedReferral, body: bytes, now: datetime) -> None:
        delivery_id = received.delivery_id
        content = canonical_bytes(received.to_json())
        db.execute(
            "INSERT INTO inbox_delivery VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                delivery_id,
                received.message_id,
                received.referral_id,
                received.revision,
                received.manifest_digest,
                received.decision_leaf,
                json.dumps([s.section_id for s in received.sections]),
                received.supersedes,
                received.sender,
                received.case.kind,
                received.role,
                received.contact,
                *_write_risk(received),
                write_instant(received.received_at),
                ReceiptState.ACCEPTED,
                write_instant(now),
                self._store.seal(f"inbox_delivery.content:{delivery_id}", content),
                self._store.seal(f"inbox_delivery.body:{delivery_id}", body),
            ),
        )

    def _decide_anew(
        self, db: Connection, received: ReceivedReferral, lost_leaf: str, body: bytes, now: datetime
    ) -> None:
        """Bind a delivery to the decision that took the lost one's place. The content stays; the old receipts stay as evidence."""
        delivery_id = received.delivery_id
        self.receipts.set_lost_aside(db, delivery_id, lost_leaf)
        db.execute(
            "UPDATE inbox_delivery SET decision_leaf = ?, sections = ?, state = ?, changed_at = ?, body = ? WHERE delivery_id = ?",
            (
                received.decision_leaf,
                json.dumps([s.section_id for s in received.sections]),
                ReceiptState.ACCEPTED,
                write_instant(now),
                self._store.seal(f"inbox_delivery.body:{delivery_id}", body) if body else b"",
                delivery_id,
            ),
        )
        for table in ("inbox_lost", "inbox_witnessed"):
            db.execute(f"DELETE FROM {table} WHERE delivery_id = ?", (delivery_id,))  # noqa: S608 (constant names)

    def _supplement(self, db: Connection, received: ReceivedReferral, body: bytes, now: datetime) -> bool:
        """Add the sections and subjects that are not here yet; return whether there were any. The first body and receipts stay as they are."""
        delivery_id = received.delivery_id
        before = self.read_received(delivery_id)
        sections = {s.section_id for s in before.sections}
        subjects = {s.subject_id for s in before.subjects}
        added = tuple(s for s in received.sections if s.section_id not in sections)
        if not added:
            return False
        merged = before.model_copy(
            update={
                "sections": (*before.sections, *added),
                "subjects": (*before.subjects, *(s for s in received.subjects if s.subject_id not in subjects)),
                "risk": before.risk or received.risk,
                "release": before.release + 1,
            }
        )
        sealed = self._store.seal(f"inbox_delivery.content:{delivery_id}", canonical_bytes(merged.to_json()))
        db.execute(
            "UPDATE inbox_delivery SET content = ?, grade = ?, immediate_danger = ?, changed_at = ? WHERE delivery_id = ?",
            (sealed, *_write_risk(merged), write_instant(now), delivery_id),
        )
        place = f"inbox_supplement.body:{delivery_id}/{received.decision_leaf}"
        db.execute(
            "INSERT INTO inbox_supplement VALUES (?, ?, ?, ?)",
            (delivery_id, received.decision_leaf, write_instant(now), self._store.seal(place, body)),
        )
        return True


def _queue_outputs(db: Connection, delivery_id: str, channels: Sequence[str], now: datetime) -> None:
    for channel in channels:
        db.execute(
            "INSERT OR REPLACE INTO inbox_output (delivery_id, channel, state, next_attempt_at) VALUES (?, ?, ?, ?)",
            (delivery_id, channel, OutputState.PENDING, write_instant(now)),
        )


def _write_risk(received: ReceivedReferral) -> tuple[str, bool]:
    """Return the columns ``grade`` and ``immediate_danger``."""
    return (_NOT_SHARED, False) if received.risk is None else (received.risk.grade, received.risk.immediate_danger)


def _read_entry(row: Row) -> InboxEntry:
    return InboxEntry(
        delivery_id=row["delivery_id"],
        message_id=row["message_id"],
        referral_id=row["referral_id"],
        revision=row["revision"],
        manifest_digest=row["manifest_digest"],
        decision_leaf=row["decision_leaf"],
        sections=tuple(json.loads(row["sections"])),
        supersedes=row["supersedes"],
        sender=row["sender"],
        kind=row["kind"],
        role=row["role"],
        contact=row["contact"],
        grade=RiskGrade(row["grade"]) if row["grade"] != _NOT_SHARED else None,
        immediate_danger=bool(row["immediate_danger"]) if row["grade"] != _NOT_SHARED else None,
        received_at=read_instant(row["received_at"]),
        state=ReceiptState(row["state"]),
        release=row["release"],
    )
