"""Receipts: a recipient's signed word on one delivery, each naming the one before (DESIGN, step 6)."""

from collections.abc import Sequence
from typing import Self

from pydantic import model_validator

from schemas.clear_forms import AgencyId, Instant, OpaqueId, PersonId, ReasonCode
from schemas.codes import ReceiptState
from schemas.errors import Conflict, RuleBroken
from schemas.objects.model import SignedModel
from schemas.wire_types import Digest, Uuid7

_NEXT: dict[ReceiptState | None, frozenset[ReceiptState]] = {
    None: frozenset({ReceiptState.ACCEPTED, ReceiptState.REFUSED}),
    ReceiptState.ACCEPTED: frozenset({ReceiptState.OPENED, ReceiptState.REFUSED}),
    ReceiptState.OPENED: frozenset({ReceiptState.ACTIONED, ReceiptState.REFUSED}),
    ReceiptState.ACTIONED: frozenset(),
    ReceiptState.REFUSED: frozenset(),
}


class Receipt(SignedModel):
    """One step of a delivery's receipt chain.

    It binds the manifest's digest, the decision's leaf and the sections. ``at`` is the time that the recipient claims; the log's own time is shown
    apart. ``previous`` is ``digest_object`` of the receipt before, none for the first.
    """

    receipt_id: OpaqueId
    delivery_id: OpaqueId
    message_id: Uuid7
    referral_id: OpaqueId
    manifest_digest: Digest
    decision_leaf: Digest
    sender: AgencyId
    recipient: AgencyId
    state: ReceiptState
    reason_code: ReasonCode | None = None
    """Why it is refused, or what was done; the words stay with the recipient or go in an OUTCOME message."""
    person: PersonId | None = None
    """Id of the person who opened or acted."""
    at: Instant
    sections: tuple[OpaqueId, ...]
    case_reference_digest: Digest | None = None
    """Digest of the recipient's own case reference, so that it can prove it later without saying it now."""
    previous: Digest | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.state is ReceiptState.REFUSED and self.reason_code is None:
            raise RuleBroken("a refusal needs a reason code")
        if self.previous is None and self.state not in _NEXT[None]:
            raise RuleBroken("a later receipt names the one before")
        if list(self.sections) != sorted(set(self.sections)):
            raise RuleBroken("sections must be sorted and distinct")
        return self


class NegativeReceipt(SignedModel):
    """The hub's word that no further receipt was logged by a deadline."""

    delivery_id: OpaqueId
    message_id: Uuid7
    manifest_digest: Digest
    decision_leaf: Digest
    sender: AgencyId
    recipient: AgencyId
    last_state: ReceiptState | None = None
    none_logged_by: Instant
    log_size: int


def check_next_receipt(receipt: Receipt, before: Sequence[tuple[str, Receipt]]) -> None:
    """Check that ``receipt`` may follow ``before``: (digest, receipt) of the same delivery, oldest first.

    Raises:
        Conflict: it names another predecessor, skips or repeats a step, or speaks of another delivery.
    """
    last_digest, last = before[-1] if before else (None, None)
    if receipt.previous != last_digest:
        raise Conflict("does not name the receipt before it", field="receipt.previous")
    if receipt.state not in _NEXT[last.state if last else None]:
        raise Conflict("is not the next step", field="receipt.state")
    if last is not None and _binding(receipt) != _binding(last):
        raise Conflict("speaks of another delivery than the receipt before it", field="receipt.delivery_id")


def _binding(receipt: Receipt) -> tuple[object, ...]:
    return (
        receipt.delivery_id,
        receipt.message_id,
        receipt.manifest_digest,
        receipt.decision_leaf,
        receipt.sender,
        receipt.recipient,
        receipt.sections,
    )
