"""Referrals of a made-up county, stored and logged as the worker stores and logs them, without RabbitMQ or sealing: for tests of the audit and its bench.

The same ``seed`` gives the same county. Nothing in it is content: the bodies are empty, and the search never reads them.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg

from broker.log import NewEvent
from broker.log.append import read_edge
from broker.store.pool import Connection
from schemas.canonical import encode_base64url
from schemas.merkle import RightEdge, hash_leaf

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
SENDERS = ("police.marchshire", "police.northdale", "health.marchshire-ft", "school.oakfield", "csc.marchshire")
SENDER_WEIGHTS = (60, 20, 10, 5, 5)
KINDS = ("PPN", "ENCOMPASS", "MISSING", "CP_S47", "CIN_S17", "DA_MARAC", "FGM", "PREVENT")
KIND_WEIGHTS = (40, 20, 15, 12, 8, 3, 1, 1)
SCHOOLS = tuple(f"school.s{number:03d}" for number in range(180))
RECEIVERS = ("csc.marchshire", "health.marchshire-ft", "csc.northdale")
ROWS = ("D3", "D4", "D5", "D6", "D7", "D9", "D12")
ROW_WEIGHTS = (30, 5, 45, 8, 5, 2, 5)
DIGEST = encode_base64url(bytes(32))


@dataclass
class LoggedReferral:
    """One referral's rows and events, in the order in which they were logged."""

    message: tuple[Any, ...]
    deliveries: list[tuple[Any, ...]] = field(default_factory=list)
    receipts: list[tuple[Any, ...]] = field(default_factory=list)
    holds: list[tuple[Any, ...]] = field(default_factory=list)
    clocks: list[tuple[Any, ...]] = field(default_factory=list)
    subjects: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[tuple[NewEvent, datetime]] = field(default_factory=list)

    @property
    def referral_id(self) -> str:
        return str(self.message[2])


MESSAGE_COLUMNS = (
    "message_id", "sender", "referral_id", "revision", "kind", "conversation", "body_sha256", "manifest_digest", "issued_at",
    "expires_at", "received_at", "directory_version", "event_id", "notice", "body",
)  # fmt: skip
DELIVERY_COLUMNS = (
    "message_id", "delivery_id", "number", "recipient", "role", "purpose", "outcome", "row", "reason", "decision", "released",
    "rest_salt", "event_id", "decided_at", "state",
)  # fmt: skip
RECEIPT_COLUMNS = (
    "receipt_digest", "message_id", "delivery_id", "state", "previous", "at", "received_at", "event_id", "notice", "body",
    "decision_leaf",
)  # fmt: skip
HOLD_COLUMNS = (
    "message_id",
    "delivery_id",
    "owner",
    "row",
    "reason",
    "created_at",
    "deadline_at",
    "state",
    "decided_by",
    "decided_at",
)
CLOCK_COLUMNS = (
    "clock_id",
    "message_id",
    "clock",
    "recipient",
    "starts_at",
    "due_at",
    "state",
    "changed_at",
    "breached_at",
    "met_at",
)


class County:
    """Makes referrals, one after another, a few minutes apart."""

    def __init__(self, seed: int = 1, *, minutes_apart: float = 7.0) -> None:
        self._random = random.Random(seed)  # noqa: S311 (made-up data)
        self._now = START
        self._apart = minutes_apart
        self._count = 0

    def _uuid(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)

    def referrals(self, count: int) -> Iterator[LoggedReferral]:
        for _ in range(count):
            yield self.next_referral()

    def next_referral(self, *, sender: str | None = None, kind: str | None = None) -> LoggedReferral:
        """Make the next referral: one message, one to three deliveries, and what became of each."""
        draw = self._random
        self._count += 1
        self._now += timedelta(minutes=draw.expovariate(1 / self._apart))
        sender = sender or draw.choices(SENDERS, SENDER_WEIGHTS)[0]
        kind = kind or draw.choices(KINDS, KIND_WEIGHTS)[0]
        message_id, at = self._uuid(), self._now
        referral_id = f"ref-{self._count:08d}{draw.getrandbits(32):08x}"
        accepted = self._event(
            "accepted",
            at,
            message_id=str(message_id),
            referral_id=referral_id,
            revision=1,
            sender=sender,
            kind=kind,
            manifest_digest=DIGEST,
            notice_sha256=DIGEST,
        )
        made = LoggedReferral(
            (
                message_id, sender, referral_id, 1, kind, f"conv-{referral_id}", sha256(message_id.bytes).digest(), DIGEST, at,
                at + timedelta(days=14), at, 1, accepted.event_id, b"{}", b"",
            )
        )  # fmt: skip
        made.events.append((accepted, at))
        made.subjects.append((message_id, [f"nhs|p1|{draw.randrange(20_000):06d}"]))
        schools = draw.sample(SCHOOLS, 1) if kind in {"ENCOMPASS", "MISSING"} else []
        recipients = [r for r in (*RECEIVERS, *schools) if r != sender][-draw.randint(1, 3) :]
        for number, recipient in enumerate(recipients):
            self._deliver(made, number, recipient, at)
        self._run_clock(made, message_id, recipients, at)
        return made

    def _deliver(self, made: LoggedReferral, number: int, recipient: str, at: datetime) -> None:
        draw = self._random
        message_id, sender = made.message[0], made.message[1]
        delivery_id = f"delivery-{message_id.hex[:16]}-{number}"
        row = draw.choices(ROWS, ROW_WEIGHTS)[0]
        outcome = {"D12": "held", "D9": "withheld", "D7": "withheld"}.get(row, "delivered")
        compartments = {
            "C01": {
                "result": "full" if outcome == "delivered" else outcome,
                "row": row,
                "reason": "The matrix permits it.",
            },
            "C10": {"result": "withheld", "row": "D12", "reason": "A source in confidence stays with the sender."},
        }
        decision: dict[str, Any] = {
            "delivery_id": delivery_id,
            "recipient": recipient,
            "role": "csc",
            "purpose": "safeguard_child",
            "outcome": outcome,
            "row": row,
            "reason": f"Row {row} applies.",
            "authority": "An Act",
            "compartments": compartments,
        }
        if row == "D4":
            decision["told"] = "It is shared to keep a child safe."
        decided = self._event(
            "decided",
            at,
            message_id=str(message_id),
            referral_id=made.referral_id,
            sender=sender,
            delivery_id=delivery_id,
            recipient=recipient,
            outcome=outcome,
            row="" if row == "D4" else row,
            reason=decision.get("told") or f"Row {row} applies.",
            released=["section-00000000000001"] if outcome == "delivered" else [],
            rest=DIGEST,
            policy_digest=DIGEST,
            inputs_digest=DIGEST,
        )
        made.events.append((decided, at))
        state = {"held": "held", "withheld": "withheld"}.get(outcome, "open")
        if outcome == "delivered":
            state = self._acknowledge(made, delivery_id, recipient, at)
        if outcome == "held":
            self._review(made, delivery_id, at)
        made.deliveries.append(
            (
                message_id, delivery_id, number, recipient, "csc", "safeguard_child", outcome, row, f"Row {row} applies.",
                json.dumps(decision), ["section-00000000000001"] if outcome == "delivered" else [], bytes(32), decided.event_id, at, state,
            )
        )  # fmt: skip

    def _acknowledge(self, made: LoggedReferral, delivery_id: str, recipient: str, at: datetime) -> str:
        """Add the receipts that the recipient sent, and return the delivery's state."""
        draw = self._random
        previous, state = None, "open"
        for next_state, minutes in (("accepted", 1), ("opened", 30), ("actioned", 300)):
            if draw.random() < 0.15:
                break
            at = at + timedelta(minutes=draw.expovariate(1 / minutes))
            digest = encode_base64url(sha256(f"{delivery_id}{next_state}".encode()).digest())
            event = self._event(
                "receipt",
                at,
                message_id=str(made.message[0]),
                delivery_id=delivery_id,
                sender=made.message[1],
                recipient=recipient,
                state=next_state,
                receipt_digest=digest,
                previous=previous,
                decision_leaf=DIGEST,
            )
            made.events.append((event, at))
            made.receipts.append(
                (digest, made.message[0], delivery_id, next_state, previous, at, at, event.event_id, b"{}", b"", DIGEST)
            )
            previous, state = digest, next_state
        return state

    def _review(self, made: LoggedReferral, delivery_id: str, at: datetime) -> None:
        decided_at = at + timedelta(hours=self._random.uniform(1, 30))
        person = f"p.reviewer{self._random.randrange(12)}"
        open_still = self._random.random() < 0.1
        if not open_still:
            event = self._event(
                "review",
                decided_at,
                message_id=str(made.message[0]),
                delivery_id=delivery_id,
                action="refused",
                by=person,
            )
            made.events.append((event, decided_at))
        made.holds.append(
            (
                made.message[0], delivery_id, made.message[1], "D12", "A source in confidence needs an approver.", at,
                at + timedelta(days=1), "open" if open_still else "refused", None if open_still else person,
                None if open_still else decided_at,
            )
        )  # fmt: skip

    def _run_clock(self, made: LoggedReferral, message_id: UUID, recipients: Sequence[str], at: datetime) -> None:
        due = at + timedelta(hours=24)
        met = self._random.random() < 0.9
        state, when = ("met", at + timedelta(hours=5)) if met else ("breached", due)
        change = {"clock": "la_acknowledgement", "recipient": recipients[0], "state": state, "at": when.isoformat()}
        event = self._event(
            "clock",
            when,
            message_id=str(message_id),
            referral_id=made.referral_id,
            changes=[change],
            notice_sha256=DIGEST,
        )
        made.events.append((event, when))
        made.clocks.append(
            (
                self._uuid(),
                message_id,
                "la_acknowledgement",
                recipients[0],
                at,
                due,
                state,
                when,
                None if met else when,
                when if met else None,
            )
        )

    def _event(self, kind: str, at: datetime, /, **members: Any) -> NewEvent:
        made = NewEvent.salted(kind, {"at": at.isoformat(), **members})
        return NewEvent(self._uuid(), made.kind, made.event, self._random.randbytes(32))


async def store_referrals(owner: asyncpg.Connection, referrals: Sequence[LoggedReferral]) -> None:
    """Store the rows, and the events after the log's last; entries, not tiles: nobody proves them."""
    async with owner.transaction():
        await store_rows(owner, referrals)
        await log_events(owner, [event for r in referrals for event in r.events])


async def store_rows(owner: asyncpg.Connection, referrals: Sequence[LoggedReferral]) -> None:
    """Store the rows of everything but the log."""
    copies = (
        ("messages", MESSAGE_COLUMNS, [r.message for r in referrals]),
        ("deliveries", DELIVERY_COLUMNS, [row for r in referrals for row in r.deliveries]),
        ("receipts", RECEIPT_COLUMNS, [row for r in referrals for row in r.receipts]),
        ("holds", HOLD_COLUMNS, [row for r in referrals for row in r.holds]),
        ("clocks", CLOCK_COLUMNS, [row for r in referrals for row in r.clocks]),
        ("message_subjects", ("message_id", "tokens"), [row for r in referrals for row in r.subjects]),
    )
    async with owner.transaction():
        for table, columns, records in copies:
            await owner.copy_records_to_table(table, columns=columns, records=records)


async def log_events(connection: Connection, events: Sequence[tuple[NewEvent, datetime]]) -> None:
    """Add entries and payloads and one checkpoint, whose edge is right, so that the hub can go on from it, and whose note is not signed."""
    row = await connection.fetchrow("SELECT size, edge, at FROM log_checkpoints ORDER BY size DESC LIMIT 1")
    edge = read_edge(row["size"], row["edge"], row["at"]) if row else RightEdge()
    entries = [(event, at, event.entry()) for event, at in events]
    leaves = [hash_leaf(entry) for _, _, entry in entries]
    after = edge.append(leaves).after
    await connection.copy_records_to_table(
        "log_entries",
        columns=("position", "event_id", "kind", "at", "entry", "leaf_hash"),
        records=[
            (edge.size + number, event.event_id, event.kind, at, entry, leaves[number])
            for number, (event, at, entry) in enumerate(entries)
        ],
    )
    await connection.copy_records_to_table(
        "log_payloads",
        columns=("event_id", "event", "salt"),
        records=[(event.event_id, event.event, event.salt) for event, _ in events],
    )
    await connection.execute(
        "INSERT INTO log_checkpoints (size, epoch, root, edge, note, at) VALUES ($1, 1, $2, $3, 'not signed', $4)",
        after.size,
        after.root(),
        b"".join(after.hashes),
        events[-1][1],
    )
