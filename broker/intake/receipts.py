"""Intake of receipts and of the other signed objects: verify, check the chain, log, tell.

A receipt must be signed by the delivery's recipient, bind the manifest, the decision's leaf and exactly the released sections, and name the receipt
before it. It is forwarded to the referral's sender with its proof; its recipient is told that it is logged. The same receipt again has the same
answer for ever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import orjson
from pydantic import BaseModel

from broker.amqp.consumer import Incoming
from broker.delivery.notices import build_notice
from broker.intake.effects import Effects
from broker.intake.refusals import SenderUnknown, TypeUnknown
from broker.log import NewEvent
from broker.registry import DirectorySnapshot
from broker.store.receipts import ObjectRow, OpenDelivery, ReceiptRow
from schemas.canonical import parse_object, sha256_base64url
from schemas.errors import Conflict, IntegrityBroken, NotFound, SafelaneError, SignatureInvalid
from schemas.jose.jws import peek_payload
from schemas.objects.receipt import Receipt, check_next_receipt
from schemas.objects.registry import read_object
from schemas.objects.signed import MAX_OBJECT_BYTES, digest_object

OBJECT_TYPES = frozenset({"keyring_addendum", "consent", "approval", "recall", "request", "control"})
"""Types whose effect comes with the registers: verified, logged and kept until then."""


_MOST_DEFERRALS = 5


@dataclass(frozen=True, slots=True)
class SignedCandidate:
    """A signed object whose signature is its sender's. ``digest`` is the name by which a chain or a repeat knows it."""

    incoming: Incoming = field(repr=False)
    model: BaseModel = field(repr=False)
    digest: str


def read_signed(incoming: Incoming, snapshot: DirectorySnapshot) -> SignedCandidate:
    """Verify a signed object with the keys of the user whom RabbitMQ validated.

    Raises:
        Rejected: it breaks a rule of the contract, or its type is not known.
    """
    kind = incoming.type or ""
    keys = snapshot.signing_keys.get(incoming.user_id or "", ())
    if incoming.user_id is None or not keys:
        raise SenderUnknown
    if kind != "receipt" and kind not in OBJECT_TYPES:
        raise TypeUnknown(field="type")
    model = read_object(kind, incoming.body, keys)
    if isinstance(model, Receipt) and model.recipient != incoming.user_id:
        raise SignatureInvalid
    snapshot.known_ids.check_object(model)
    return SignedCandidate(incoming, model, digest_object(incoming.body))


def receipt_key(receipt: Receipt) -> tuple[UUID, str, str]:
    """Return the (message, delivery, decision leaf) that a receipt is about: each release of a delivery has a chain of its own."""
    return UUID(receipt.message_id), receipt.delivery_id, receipt.decision_leaf


def is_early(candidate: SignedCandidate, chain: Sequence[tuple[str, Receipt]]) -> bool:
    """Tell whether a receipt names a predecessor that is not here yet: another worker may have it. It is handed out again a few times."""
    receipt = candidate.model
    if (
        not isinstance(receipt, Receipt)
        or receipt.previous is None
        or candidate.incoming.delivery_count >= _MOST_DEFERRALS
    ):
        return False
    return all(digest != receipt.previous for digest, _ in chain)


def check_receipt(receipt: Receipt, delivery: OpenDelivery | None, chain: Sequence[tuple[str, Receipt]]) -> None:
    """Check that a receipt is about what was released to its recipient, and is the next of its chain.

    Raises:
        NotFound: there is no such delivery to this recipient (another's looks the same).
        Conflict: it binds something else, or is not the next step.
    """
    if delivery is None or delivery.recipient != receipt.recipient or not delivery.released:
        raise NotFound("there is no such delivery", field="receipt.delivery_id")
    binds = (receipt.sender, receipt.referral_id, receipt.manifest_digest, receipt.sections, receipt.decision_leaf)
    released = tuple(sorted(delivery.released))
    leaf = sha256_base64url(delivery.decision_entry)
    if binds != (delivery.sender, delivery.referral_id, delivery.manifest_digest, released, leaf):
        raise Conflict("binds something else than was released", field="receipt")
    check_next_receipt(receipt, chain)


def read_chain(delivery: OpenDelivery) -> list[tuple[str, Receipt]]:
    """Return the stored chain of a delivery as (digest, receipt), in the order in which each names the one before.

    Raises:
        IntegrityBroken: the stored chain is broken.
    """
    found: dict[str | None, tuple[str, Receipt]] = {}
    try:
        for body in delivery.chain:
            payload = peek_payload(parse_object(body, max_bytes=MAX_OBJECT_BYTES))
            receipt = Receipt.model_validate_json(payload)
            found[receipt.previous] = (digest_object(body), receipt)
    except (SafelaneError, ValueError):
        raise IntegrityBroken("a stored receipt cannot be read", field="receipts.body") from None
    chain: list[tuple[str, Receipt]] = []
    while (after := found.pop(chain[-1][0] if chain else None, None)) is not None:
        chain.append(after)
    if found:
        raise IntegrityBroken("a stored chain of receipts is broken", field="receipts.previous")
    return chain


def build_receipt(candidate: SignedCandidate, delivery: OpenDelivery, effects: Effects, now: datetime) -> None:
    """Add a checked receipt to ``effects``: its row, its event, the copy for the sender and the word back to the recipient."""
    receipt = candidate.model
    if not isinstance(receipt, Receipt):
        raise IntegrityBroken("is not a receipt", field="type")
    event = effects.log(
        NewEvent.salted(
            "receipt",
            {
                "at": now.isoformat(),
                "message_id": receipt.message_id,
                "delivery_id": receipt.delivery_id,
                "sender": delivery.sender,
                "recipient": delivery.recipient,
                "state": receipt.state.value,
                "receipt_digest": candidate.digest,
                "previous": receipt.previous,
                "decision_leaf": receipt.decision_leaf,
            },
        )
    )
    notice = build_notice(
        "recorded",
        at=now,
        message_id=receipt.message_id,
        referral_id=receipt.referral_id,
        delivery_id=receipt.delivery_id,
        receipt_digest=candidate.digest,
    )
    message_id, delivery_id, leaf = receipt_key(receipt)
    effects.receipts.append(
        ReceiptRow(
            receipt_digest=candidate.digest,
            message_id=message_id,
            delivery_id=delivery_id,
            state=receipt.state.value,
            reason_code=receipt.reason_code,
            previous=receipt.previous,
            decision_leaf=leaf,
            at=receipt.at,
            received_at=now,
            event_id=effects.events[event].event_id,
            notice=notice.base,
            body=candidate.incoming.body,
        )
    )
    forwarded = b'{"receipt":' + candidate.incoming.body + b"}"
    effects.send(
        "receipt", delivery.sender, event, forwarded, message_id=message_id, delivery_id=delivery_id, stored=forwarded
    )
    effects.send("notice", delivery.recipient, event, notice.base, stored=notice.base)


def build_object(candidate: SignedCandidate, effects: Effects, now: datetime) -> None:
    """Add another signed object to ``effects``: its row, its event, and the word back to who signed it."""
    incoming = candidate.incoming
    members = orjson.loads(candidate.model.model_dump_json())
    message_id = members.get("message_id")
    kind, sender = incoming.type or "", incoming.user_id or ""
    stated: Mapping[str, str | None] = {
        "at": now.isoformat(),
        "type": kind,
        "sender": sender,
        "object_digest": candidate.digest,
        "message_id": message_id,
    }
    notice = build_notice(
        "recorded", at=now, message_id=message_id or incoming.delivery_id, object_digest=candidate.digest
    )
    event = effects.log(NewEvent.salted("object", {**stated, "notice_sha256": notice.sha256}))
    effects.objects.append(
        ObjectRow(
            object_digest=candidate.digest,
            type=kind,
            sender=sender,
            message_id=UUID(message_id) if message_id else None,
            received_at=now,
            event_id=effects.events[event].event_id,
            notice=notice.base,
            body=incoming.body,
        )
    )
    effects.send("notice", sender, event, notice.base, stored=notice.base)
