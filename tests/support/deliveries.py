"""A hub in a few lines: decides, logs and hands out deliveries of a verified envelope, for tests of what recipients accept."""

from collections.abc import Sequence
from typing import Any

from schemas.checkpoint import Checkpoint, NoteVerifier, sign_checkpoint, write_proof, write_verifier
from schemas.codes import DeliveryOutcome
from schemas.envelope import VerifiedEnvelope, encode_delivery, redact_for
from schemas.keys import Jwk, KeyUse, generate_ed25519_jwk, public_part
from schemas.log_entry import commit_event
from schemas.merkle import RightEdge, hash_leaf
from schemas.objects.events import DecidedEvent, commit_rest
from tests.support.envelopes import NOW, SeededBytes

ORIGIN = "safelane.test/log"


def seeded_log_jwk(name: str = "hub") -> Jwk:
    """Return a log key that is the same in every run."""
    return generate_ed25519_jwk(KeyUse.LOG, seed=SeededBytes(f"log {name}")(32))


def log_verifier(name: str = "hub") -> NoteVerifier:
    """Return the verifier of that key."""
    return NoteVerifier.from_text(write_verifier(ORIGIN, public_part(seeded_log_jwk(name))))


def decide(verified: VerifiedEnvelope, delivery_id: str, released: Sequence[str], **changes: Any) -> DecidedEvent:
    """Return the event of a decision that releases these sections; ``changes`` replace its fields."""
    request = next(d for d in verified.header.deliveries if d.delivery_id == delivery_id)
    keyring = verified.keyring_descriptors.get(delivery_id)
    fields: dict[str, Any] = {
        "at": NOW,
        "message_id": verified.manifest.message_id,
        "referral_id": verified.manifest.referral_id,
        "revision": verified.manifest.revision,
        "manifest_digest": verified.manifest_digest,
        "sender": verified.manifest.sender,
        "delivery_id": delivery_id,
        "recipient": request.agency,
        "role": request.role,
        "purpose": request.purpose,
        "keyring_kid": keyring.kid if keyring and released else None,
        "outcome": DeliveryOutcome.DELIVERED,
        "row": "D3",
        "released": tuple(sorted(released)),
        "rest": commit_rest({}, SeededBytes("rest")(32)),
        "policy_digest": "p" * 43,
        "inputs_digest": "i" * 43,
    }
    return DecidedEvent(**(fields | changes))


def log_and_deliver(
    verified: VerifiedEnvelope,
    event: DecidedEvent,
    *,
    before: int = 3,
    log_name: str = "hub",
    origin: str = ORIGIN,
    addendum: bytes | None = None,
    added: Sequence[str] = (),
) -> bytes:
    """Log the event after ``before`` other leaves, sign the checkpoint and return the delivery's body."""
    salt = SeededBytes(f"salt {event.delivery_id}")(32)
    others = [hash_leaf(bytes([number])) for number in range(before)]
    leaf = hash_leaf(commit_event(event.to_bytes(), salt))
    appended = RightEdge().append(others).after.append([leaf, hash_leaf(b"after")])
    note = sign_checkpoint(Checkpoint(origin, appended.after.size, appended.after.root()), seeded_log_jwk(log_name))
    proof = write_proof(before, appended.prove_inclusion(before), note)
    parts = redact_for(verified, event.delivery_id, event.released, added=added)
    return encode_delivery(parts, event.to_bytes(), salt, proof, addendum=addendum)
