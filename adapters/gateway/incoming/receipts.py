"""Receipts of what this agency received: signed, chained, stored before they are sent, published until the log has them.

A chain goes accepted → opened → actioned, or ends refused with a reason code. ``accepted`` is signed in the transaction that stores the delivery.
The same receipt asked for again is the one that is there. Receipts leave in order and unchanged; a delivery that the hub offers again has its whole
chain sent again, because the offer means that the hub lacks it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.gateway.incoming.inbox_model import InboxEntry, StoredReceipt
from adapters.gateway.incoming.inbox_store import InboxStore
from adapters.gateway.incoming.opening import DeliveryBinding
from adapters.gateway.incoming.receipt_chains import MakeReceipt
from adapters.gateway.random_ids import new_opaque_id
from schemas.codes import ReceiptState
from schemas.errors import Conflict, Rejected
from schemas.keys import SigningKeys
from schemas.objects import digest_object, peek_object, sign_object
from schemas.objects.receipt import Receipt

REFUSAL_REASONS: Final = frozenset(
    {
        "cannot_open",
        "conflict_of_interest",
        "duplicate",
        "insufficient_information",
        "not_our_area",
        "not_our_child",
        "threshold_not_met",
        "wrong_service",
    }
)
"""Why a delivery is refused. Codes, because the hub reads receipts: the words go to the sender by telephone or in an OUTCOME message."""

OTHER_REASONS: Final = frozenset(
    {
        "assessment_started",
        "no_further_action",
        "passed_to_practitioner",
        "reason_given",
        "strategy_discussion_held",
        "support_offered",
    }
)
"""What may be said of a delivery that was opened or acted on."""

_RANK: Final = {
    ReceiptState.ACCEPTED: 1,
    ReceiptState.OPENED: 2,
    ReceiptState.ACTIONED: 3,
    ReceiptState.REFUSED: 3,
}


@dataclass(frozen=True, slots=True)
class ReceiptRequest:
    """What the case system or a person says of a delivery. ``person`` is an id, never a name."""

    state: ReceiptState
    reason_code: str | None = None
    person: str | None = None
    at: datetime | None = None
    """When it was so, if not now: a receipt that is signed again for another decision says the same as before."""


class ReceiptDesk:
    """Signs and stores this agency's receipts."""

    def __init__(
        self,
        inbox: InboxStore,
        signer: Callable[[], SigningKeys],
        clock: Callable[[], datetime],
        *,
        new_id: Callable[[], str] = new_opaque_id,
    ) -> None:
        """Keep the parts: ``signer`` gives the identity keys of the moment, ``clock`` the business clock."""
        self._inbox = inbox
        self._signer = signer
        self._clock = clock
        self._new_id = new_id

    def first_receipt(self, binding: DeliveryBinding, refused_for: str | None = None) -> MakeReceipt:
        """Return the maker of a chain's first receipt: accepted, or refused for a reason code."""
        state = ReceiptState.REFUSED if refused_for else ReceiptState.ACCEPTED
        request = ReceiptRequest(state, refused_for)
        return lambda last: self._sign(binding, last, request)

    def record(self, entry: InboxEntry, recipient: str, request: ReceiptRequest) -> list[StoredReceipt]:
        """Add what ``request`` says to the chain and return the receipts that were added: none when it said so before.

        ``actioned`` on a delivery that nobody opened adds ``opened`` first: whoever acts on it has read it.

        Raises:
            Rejected: a refusal without a known reason code.
            Conflict: the chain has ended otherwise.
        """
        _check_request(request)
        chain = self._inbox.receipts.list_chain(entry.delivery_id)
        if any(r.state is request.state for r in chain):
            return []
        if chain and _RANK[chain[-1].state] >= _RANK[request.state]:
            raise Conflict(f"the delivery is {chain[-1].state.value} already", field="state")
        steps = [request]
        if request.state is ReceiptState.ACTIONED and chain[-1].state is ReceiptState.ACCEPTED:
            steps.insert(0, ReceiptRequest(ReceiptState.OPENED, person=request.person))
        binding = bind_entry(entry, recipient)
        return [
            self._inbox.append_receipt(entry.delivery_id, lambda last, step=step: self._sign(binding, last, step))  # type: ignore[misc]
            for step in steps
        ]

    def sign_again(self, entry: InboxEntry, recipient: str, lost: Sequence[StoredReceipt]) -> None:
        """Sign for a delivery's present decision what was said after ``accepted`` under one that the log lost."""
        for receipt in lost:
            if receipt.state is not ReceiptState.ACCEPTED:
                person = peek_object(receipt.body).get("person")
                self.record(entry, recipient, ReceiptRequest(receipt.state, receipt.reason_code, person, receipt.at))

    def _sign(self, binding: DeliveryBinding, last: StoredReceipt | None, request: ReceiptRequest) -> StoredReceipt:
        if last is not None and _RANK[last.state] >= _RANK[request.state]:  # another request was quicker
            raise Conflict(f"the delivery is {last.state.value} already", field="state")
        receipt = Receipt(
            receipt_id=self._new_id(),
            delivery_id=binding.delivery_id,
            message_id=binding.message_id,
            referral_id=binding.referral_id,
            manifest_digest=binding.manifest_digest,
            decision_leaf=binding.decision_leaf,
            sender=binding.sender,
            recipient=binding.recipient,
            state=request.state,
            reason_code=request.reason_code,
            person=request.person,
            at=request.at or self._clock(),
            sections=tuple(sorted(binding.sections)),
            previous=last.digest if last else None,
        )
        body = sign_object("receipt", receipt, self._signer())
        return StoredReceipt(
            delivery_id=binding.delivery_id,
            number=last.number + 1 if last else 1,
            receipt_id=receipt.receipt_id,
            state=receipt.state,
            reason_code=receipt.reason_code,
            at=receipt.at,
            digest=digest_object(body),
            body=body,
        )


def bind_entry(entry: InboxEntry, recipient: str) -> DeliveryBinding:
    """Return what receipts of a stored delivery bind."""
    return DeliveryBinding(
        delivery_id=entry.delivery_id,
        message_id=entry.message_id,
        referral_id=entry.referral_id,
        manifest_digest=entry.manifest_digest,
        decision_leaf=entry.decision_leaf,
        sender=entry.sender,
        recipient=recipient,
        sections=entry.sections,
    )


def _check_request(request: ReceiptRequest) -> None:
    if request.state is ReceiptState.ACCEPTED:
        raise Rejected("is signed when the delivery is stored", field="state")
    refused = request.state is ReceiptState.REFUSED
    allowed = REFUSAL_REASONS if refused else OTHER_REASONS
    if request.reason_code not in allowed and (refused or request.reason_code is not None):
        raise Rejected(f"must be one of {', '.join(sorted(allowed))}", field="reason_code")
