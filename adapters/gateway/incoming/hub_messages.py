"""What the hub sends besides deliveries: notices on what we sent, receipts that recipients signed, and word that our own receipts are logged.

A notice counts with its proof: the event is in the log under the hub's log key, and holds the notice's digest. A forwarded receipt counts with
its recipient's own signature, over the manifest that we sealed, for a delivery that we asked for; the hub cannot make one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from adapters.gateway.identity.directory_keeper import VerifiedDirectory
from schemas.canonical import canonical_bytes, decode_base64url, parse_object, sha256_base64url
from schemas.checkpoint import read_proof, verify_proof
from schemas.envelope import ProofInvalid
from schemas.errors import MalformedMessage, Rejected, SafelaneError
from schemas.log_entry import commit_event
from schemas.log_epochs import ProofLost, find_verifier
from schemas.objects import digest_object, peek_object
from schemas.objects.receipt import Receipt
from schemas.objects.registry import read_object

MAX_NOTICE_BYTES = 4 * 1024 * 1024
_PROOF_MEMBERS = ("event", "salt", "proof")


class ReceiptRefused(Rejected):
    """A receipt that is not about what we sent, or not by whom we sent it to."""

    code = "receipt-refused"
    public_message = "A receipt does not belong to anything that this agency sent."


class SentMessages(Protocol):
    """What the receiving half asks of the sending half (``Outbox``)."""

    def manifest_digest(self, message_id: str) -> str | None:
        """Return the manifest digest of a message that we sealed, or none."""

    def knows_delivery(self, message_id: str, delivery_id: str) -> str | None:
        """Return the agency to which we sealed a delivery, or none."""


@dataclass(frozen=True, slots=True)
class VerifiedNotice:
    """A notice of the hub, with whether its proof holds."""

    message_id: str
    referral_id: str
    outcome: str
    retryable: bool
    error: Mapping[str, Any] | None
    decisions: tuple[Mapping[str, Any], ...]
    manifest_digest: str | None
    delivery_id: str | None
    receipt_digest: str | None
    proof_verified: bool
    clocks: tuple[Mapping[str, Any], ...] = ()
    """Clocks that were started, or changes of clocks, by the outcome."""
    log_position: int | None = None
    """Where the log has the notice's event, if its proof holds."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """The whole notice, without its proof."""


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """A recipient's receipt, and the digest by which its chain names it."""

    receipt: Receipt
    digest: str


def read_notice(body: bytes, directory: VerifiedDirectory) -> VerifiedNotice:
    """Read a notice. One without proof is not refused, because it can tell a person to look; it proves nothing.

    Raises:
        MalformedMessage, TooLarge: it is not of the form.
        ProofInvalid: it carries a proof that does not hold, or that is of another notice.
    """
    members = parse_object(body, max_bytes=MAX_NOTICE_BYTES, field="notice")
    proven = members.get("proof") is not None
    if proven:
        event = _verify_event(members, directory)
        _check_notice(members, event)
    return VerifiedNotice(
        message_id=_read_text(members, "message_id"),
        referral_id=_read_optional(members, "referral_id") or "",
        outcome=_read_text(members, "outcome"),
        retryable=members.get("retryable") is True,
        error=members["error"] if isinstance(members.get("error"), dict) else None,
        decisions=_read_list(members, "decisions"),
        manifest_digest=_read_optional(members, "manifest_digest"),
        delivery_id=_read_optional(members, "delivery_id"),
        receipt_digest=_read_optional(members, "receipt_digest"),
        proof_verified=proven,
        clocks=_read_list(members, "clocks") or _read_list(members, "changes"),
        log_position=read_proof(_read_text(members, "proof")).index if proven else None,
        told={name: value for name, value in members.items() if name not in _PROOF_MEMBERS},
    )


def read_forwarded_receipt(body: bytes, directory: VerifiedDirectory, sent: SentMessages) -> VerifiedReceipt:
    """Verify a receipt that the hub forwards: signature of the agency we sealed to, our manifest, our delivery.

    Raises:
        ReceiptRefused: it is about nothing that we sent, or by somebody else.
        SignatureInvalid: the recipient did not sign it with keys that count today.
        ProofInvalid: it carries a proof that does not hold.
        MalformedMessage, TooLarge: it is not of the form.
    """
    members = parse_object(body, max_bytes=MAX_NOTICE_BYTES, field="receipt")
    if "receipt" not in members:
        raise MalformedMessage("must hold the signed receipt", field="receipt")
    signed = canonical_bytes(members["receipt"])
    claimed = peek_object(signed)
    message_id, delivery_id = str(claimed.get("message_id")), str(claimed.get("delivery_id"))
    recipient = sent.knows_delivery(message_id, delivery_id)
    if recipient is None:
        raise ReceiptRefused(field="receipt.delivery_id")
    receipt = read_object("receipt", signed, directory.signing_keys.get(recipient, ()))
    if not isinstance(receipt, Receipt) or receipt.recipient != recipient:
        raise ReceiptRefused("is not by the agency we sealed to", field="receipt.recipient")
    if receipt.manifest_digest != sent.manifest_digest(message_id):
        raise ReceiptRefused("binds another manifest", field="receipt.manifest_digest")
    digest = digest_object(signed)
    if members.get("proof") is not None:
        _check_receipt_event(_verify_event(members, directory), delivery_id, digest)
    return VerifiedReceipt(receipt, digest)


def _check_notice(members: Mapping[str, Any], event: Mapping[str, Any]) -> None:
    """Check that a proven event says what its notice says: by digest, or for our own logged receipt by the receipt's digest."""
    if event.get("event") == "receipt":
        if members.get("outcome") != "recorded":
            raise ProofInvalid("the log holds another notice", field="notice.outcome")
        _check_receipt_event(event, str(members.get("delivery_id")), str(members.get("receipt_digest")))
        return
    told = {name: value for name, value in members.items() if name not in _PROOF_MEMBERS}
    if event.get("notice_sha256") != sha256_base64url(canonical_bytes(told)):
        raise ProofInvalid("the log holds another notice", field="notice.event")


def _check_receipt_event(event: Mapping[str, Any], delivery_id: str, digest: str) -> None:
    if (event.get("event"), event.get("delivery_id"), event.get("receipt_digest")) != ("receipt", delivery_id, digest):
        raise ProofInvalid("the log holds another receipt", field="event")


def _verify_event(members: Mapping[str, Any], directory: VerifiedDirectory) -> dict[str, Any]:
    """Return the event of a notice or receipt after checking that the log holds it."""
    event = decode_base64url(_read_text(members, "event"), field="event")
    salt = decode_base64url(_read_text(members, "salt"), field="salt")
    try:
        proof = read_proof(_read_text(members, "proof"))
        log = find_verifier(directory.directory.hub, proof.note)
        checkpoint = verify_proof(proof, commit_event(event, salt), log)
    except ProofLost:
        raise
    except SafelaneError:
        raise ProofInvalid("the proof is not of the hub's log", field="proof") from None
    if checkpoint is None:
        raise ProofInvalid("the log does not hold this event", field="proof")
    return parse_object(event, max_bytes=MAX_NOTICE_BYTES, field="event")


def _read_text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise MalformedMessage("must be a string", field=name)
    return value


def _read_list(members: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], ...]:
    entries = members.get(name) or []
    if not isinstance(entries, list) or any(not isinstance(entry, dict) for entry in entries):
        raise MalformedMessage(f"must be a list of {name}", field=f"notice.{name}")
    return tuple(entries)


def _read_optional(members: Mapping[str, Any], name: str) -> str | None:
    return None if members.get(name) is None else _read_text(members, name)
