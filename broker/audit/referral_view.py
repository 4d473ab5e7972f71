"""A referral as the audit shows it: plain values, ready for a page, for JSON or for a terminal."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from broker.audit.plain import to_plain
from broker.audit.searching import FoundEvent


@dataclass(frozen=True, slots=True)
class CompartmentCell:
    """One compartment for one recipient. ``words`` say it in a sentence; ``row`` and ``reason`` are empty where the reader may not know them."""

    compartment: str
    title: str
    result: str
    sent: bool
    row: str
    reason: str
    authority: str
    words: str


@dataclass(frozen=True, slots=True)
class DecisionView:
    """A decision on a delivery, the first or a later one (``cause`` is then set)."""

    decided_at: datetime
    outcome: str
    row: str
    reason: str
    authority: str
    cause: str
    position: int | None
    cells: tuple[CompartmentCell, ...]


@dataclass(frozen=True, slots=True)
class ReceiptView:
    """A receipt: when its signer says it was made, and when it was logged."""

    state: str
    claimed_at: datetime
    logged_at: datetime
    reason_code: str | None
    receipt_digest: str
    position: int | None


@dataclass(frozen=True, slots=True)
class HoldView:
    """A hold or a retrospective review: who must decide, until when, and what they did."""

    review: str
    owner: str
    row: str
    reason: str
    state: str
    created_at: datetime
    deadline_at: datetime
    claimed_by: str | None
    decided_by: str | None
    decided_at: datetime | None
    escalations: int


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One delivery: to whom, what was decided, what came back."""

    delivery_id: str
    recipient: str
    role: str
    purpose: str
    contact: str | None
    state: str
    decisions: tuple[DecisionView, ...]
    receipts: tuple[ReceiptView, ...]
    holds: tuple[HoldView, ...]
    collected_at: datetime | None


@dataclass(frozen=True, slots=True)
class ClockView:
    """One clock that ran or runs for the message."""

    clock: str
    recipient: str | None
    state: str
    starts_at: datetime
    due_at: datetime
    met_at: datetime | None
    breached_at: datetime | None


@dataclass(frozen=True, slots=True)
class StatementView:
    """A statement about the message: an approval, a recall or its deletion, each signed; or the hub's that it was erased, and how much of it."""

    type: str
    action: str
    by: str
    reason_code: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class MessageView:
    """One message of the referral."""

    message_id: UUID
    sender: str
    referral_id: str
    revision: int
    kind: str
    received_at: datetime
    supersedes: UUID | None
    manifest_digest: str
    directory_version: int
    position: int | None
    deliveries: tuple[DeliveryView, ...]
    clocks: tuple[ClockView, ...]
    statements: tuple[StatementView, ...]


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One event of the referral in plain words."""

    event: FoundEvent
    words: str


@dataclass(frozen=True, slots=True)
class ReferralView:
    """A referral's whole view, as far as the reader may see it. ``complete_position`` and ``complete_at`` say up to where the timeline sees the log."""

    searched_id: str
    messages: tuple[MessageView, ...]
    timeline: tuple[TimelineEntry, ...]
    timeline_cut: bool
    """There are more events than are shown."""
    complete_position: int
    complete_at: datetime | None
    whole: bool
    """Whether this is all that the hub knows; else it is one recipient's part."""
    totals: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON: instants as RFC 3339, ids as text."""
        plain: dict[str, Any] = to_plain(asdict(self))
        return plain
