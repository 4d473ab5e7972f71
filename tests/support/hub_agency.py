"""What an agency does with what the hub sends it, in a few lines: open a delivery, check a notice, sign a receipt."""

from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from schemas.canonical import canonical_bytes, decode_base64url, parse_object, sha256_base64url
from schemas.checkpoint import read_proof, verify_proof
from schemas.codes import ReceiptState
from schemas.envelope import VerifiedDelivery, open_delivery, parse_delivery, verify_delivery
from schemas.log_entry import commit_event
from schemas.objects import digest_object, sign_object
from schemas.objects.receipt import Receipt
from tests.support.hub_world import POLICE, HubWorld


def verify_as(world: HubWorld, agency: str, body: bytes) -> VerifiedDelivery:
    """Verify a delivery as its recipient would."""
    unverified = parse_delivery(body)
    assert unverified.claimed_sender() == POLICE
    return verify_delivery(
        unverified,
        [world.kits[POLICE].signer.public],
        world.log,
        recipient=agency,
        kids=[world.kits[agency].encryption_jwk["kid"]],
        now=datetime.now(UTC),
    )


def open_as(world: HubWorld, agency: str, body: bytes) -> dict[tuple[str, str], str]:
    """Verify and open a delivery as its recipient would; return (compartment, subject) to form."""
    jwk = world.kits[agency].encryption_jwk
    opened = open_delivery(verify_as(world, agency, body), {jwk["kid"]: jwk})
    return {(s.compartment.value, s.subject): s.form.value for s in opened}


def sign_receipt(
    world: HubWorld, delivery: VerifiedDelivery, state: ReceiptState, after: bytes | None = None, **changes: Any
) -> bytes:
    """Sign a receipt of a verified delivery; ``changes`` replace its members."""
    recipient = delivery.delivery.agency
    fields: dict[str, Any] = {
        "receipt_id": f"receipt-{token_hex(7)}",
        "delivery_id": delivery.delivery.delivery_id,
        "message_id": delivery.manifest.message_id,
        "referral_id": delivery.manifest.referral_id,
        "manifest_digest": delivery.manifest_digest,
        "decision_leaf": delivery.decision_leaf,
        "sender": delivery.manifest.sender,
        "recipient": recipient,
        "state": state,
        "at": datetime.now(UTC),
        "sections": tuple(sorted(delivery.sections)),
        "previous": digest_object(after) if after else None,
    }
    return sign_object("receipt", Receipt(**(fields | changes)), world.kits[recipient].signer)


def check_evidence(world: HubWorld, body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the proof of a notice or forwarded receipt; return what is told, and the event."""
    members = parse_object(body, max_bytes=1 << 20)
    event, salt = decode_base64url(members["event"]), decode_base64url(members["salt"])
    assert verify_proof(read_proof(members["proof"]), commit_event(event, salt), world.log) is not None
    told = {name: value for name, value in members.items() if name not in {"event", "salt", "proof"}}
    return told, parse_object(event, max_bytes=1 << 20)


def check_notice(world: HubWorld, body: bytes) -> dict[str, Any]:
    """Check a notice's proof and digest as its sender would and return it."""
    told, event = check_evidence(world, body)
    assert event["notice_sha256"] == sha256_base64url(canonical_bytes(told))
    return told


def assert_nothing_else_readable(body: bytes, texts: tuple[str, ...]) -> None:
    """A short code stands by chance in thirty kilobytes of base64 now and then; in quotes, as JSON would hold it, it does not."""
    readable = everything_readable(body)
    assert [text for text in texts if (text if len(text) > 8 else f'"{text}"').encode() in readable] == []


def everything_readable(body: bytes) -> bytes:
    """Return a delivery's bytes and everything base64url in it, decoded, as somebody without keys could."""
    members = parse_object(body, max_bytes=1 << 24)
    parts = [body, decode_base64url(members["manifest"]["payload"]), decode_base64url(members["decision"]["event"])]
    parts += [decode_base64url(opening) for opening in members["openings"]]
    parts += [decode_base64url(jwe.split(".")[0]) for jwe in members["sections"].values()]
    return b"\n".join(parts)
