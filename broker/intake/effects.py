"""Everything that one batch adds to the store and the log, gathered before the transaction, and what leaves after it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from broker.amqp.consumer import Incoming
from broker.delivery.bodies import join_evidence
from broker.delivery.dispatch import Parcel
from broker.log import LogBatch, NewEvent
from broker.log.events import new_event_id
from broker.store.messages import DeliveryRow, MessageRow
from broker.store.outbox import OutboxRow
from broker.store.pool import Connection
from broker.store.receipts import ObjectRow, ReceiptRow
from broker.store.reviews import HoldRow, QuarantineRow
from schemas.envelope import DeliveryParts, encode_delivery
from schemas.errors import IntegrityBroken

Write = Callable[[Connection], Awaitable[object]]
"""A further row that a batch adds, in its transaction."""


class Draft(NamedTuple):
    """Something to publish, whose proof is not known yet: delivery parts, or the base of a notice or forwarded receipt."""

    row: OutboxRow
    event: int
    """Number of its event in the batch."""
    content: DeliveryParts | bytes

    def __repr__(self) -> str:
        return f"Draft({self.row!r})"


@dataclass(slots=True)
class Effects:
    """What one batch adds. ``now`` is the real time, ``lease_until`` the end of this worker's lease on what it will publish."""

    now: datetime
    lease_until: datetime
    messages: list[MessageRow] = field(default_factory=list)
    deliveries: list[DeliveryRow] = field(default_factory=list)
    holds: list[HoldRow] = field(default_factory=list)
    quarantine: list[QuarantineRow] = field(default_factory=list)
    receipts: list[ReceiptRow] = field(default_factory=list)
    objects: list[ObjectRow] = field(default_factory=list)
    events: list[NewEvent] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    repeats: list[OutboxRow] = field(default_factory=list)
    """Notices to send again, of events that are logged: the relay builds them."""
    deferred: list[Incoming] = field(default_factory=list)
    """Receipts that came before their predecessors."""
    refused_again: list[tuple[str | None, bytes]] = field(default_factory=list)
    resealed: list[tuple[str, str]] = field(default_factory=list)
    """Sender, and the id of its earlier message that an accepted one takes the place of: if that one is in quarantine, it waits for nobody."""
    subjects: list[tuple[UUID, list[str]]] = field(default_factory=list)
    """Message and its subjects' tokens: by them a later consent, a legal hold and a chronology find it."""
    writes: list[Write] = field(default_factory=list)
    """Rows of the registers; they go in after everything that they refer to."""
    register_change: int | None = None
    """The registers' version that decisions rest on: if it has moved by the time of the commit, they are made again."""
    changes_registers: bool = False
    chains: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """What this batch adds to chains: (register, chain) to (digest of its newest entry, who recorded it)."""
    used_tokens: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """Disclosure token (sender, scheme, ref) to the conversation of this batch that uses it."""

    def log(self, event: NewEvent) -> int:
        """Add an event and return its number in the batch."""
        self.events.append(event)
        return len(self.events) - 1

    def send(
        self,
        kind: str,
        recipient: str,
        event: int,
        content: DeliveryParts | bytes,
        *,
        message_id: UUID | None = None,
        delivery_id: str | None = None,
        stored: bytes | None = None,
    ) -> None:
        """Add something to publish. ``stored`` is what the outbox keeps of it: none where it can be made again from its message."""
        row = OutboxRow(
            outbox_id=new_event_id(),
            kind=kind,
            recipient=recipient,
            message_id=message_id,
            delivery_id=delivery_id,
            event_id=self.events[event].event_id,
            body=stored,
            created_at=self.now,
            due_at=self.lease_until,
        )
        self.drafts.append(Draft(row, event, content))

    def post(
        self,
        kind: str,
        recipient: str,
        event: int,
        *,
        stored: bytes | None,
        message_id: UUID | None = None,
        delivery_id: str | None = None,
    ) -> None:
        """Add something for the relay to build and publish: due at once, after the commit."""
        self.repeats.append(
            OutboxRow(
                outbox_id=new_event_id(),
                kind=kind,
                recipient=recipient,
                message_id=message_id,
                delivery_id=delivery_id,
                event_id=self.events[event].event_id,
                body=stored,
                created_at=self.now,
                due_at=self.now,
            )
        )

    def repeat(self, recipient: str, event_id: UUID, stored: bytes) -> None:
        """Send a notice again whose event is logged already; it is due at once, for the relay."""
        self.repeats.append(
            OutboxRow(
                outbox_id=new_event_id(),
                kind="notice",
                recipient=recipient,
                message_id=None,
                delivery_id=None,
                event_id=event_id,
                body=stored,
                created_at=self.now,
                due_at=self.now,
            )
        )

    @property
    def outbox(self) -> list[OutboxRow]:
        """Rows of the outbox that the batch adds."""
        return [*(draft.row for draft in self.drafts), *self.repeats]

    def is_empty(self) -> bool:
        """Tell whether there is nothing to store."""
        return not (self.events or self.repeats or self.refused_again or self.writes)


def build_parcels(events: Sequence[NewEvent], drafts: Sequence[Draft], batch: LogBatch) -> list[Parcel]:
    """Return what to publish, each with its event and proof. Call it only after COMMIT is certain: no log, no release."""
    parcels = []
    for draft in drafts:
        event = events[draft.event]
        if event.salt is None:
            raise IntegrityBroken("an event about a referral is not salted", field="event")
        proof = batch.proof(draft.event)
        if isinstance(draft.content, DeliveryParts):
            body = encode_delivery(draft.content, event.event, event.salt, proof)
        else:
            body = join_evidence(draft.content, event.event, event.salt, proof)
        parcels.append(Parcel(draft.row, body))
    return parcels
