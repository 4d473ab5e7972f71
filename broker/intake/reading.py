"""Steps 1 to 4 of intake, for a referral: strict parse, sender, signatures, freshness. Pure: bytes, keys and the time in, a verified envelope out.

1. Strict parse (``parse_envelope``): size cap, no duplicate keys, no unknown members.
2. Sender: keys are looked up for the user whom RabbitMQ validated, never for whom the message names; the signed manifest must name the same.
3. Signatures, openings, digests, labels and bindings (``verify_envelope``).
4. Freshness, by the real clock; every id in clear is in the directory; and every keyring is sealed to a key that its recipient has now.
"""

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from broker.amqp.consumer import Incoming
from broker.intake.refusals import KeyNotCurrent, SenderUnknown
from broker.registry import DirectorySnapshot
from schemas.envelope import VerifiedEnvelope, parse_envelope, verify_envelope
from schemas.header import DeliveryRequest


@dataclass(frozen=True, slots=True)
class Candidate:
    """A verified message that may have an effect, if it is not a repeat."""

    incoming: Incoming = field(repr=False)
    verified: VerifiedEnvelope = field(repr=False)
    message_id: UUID
    body_sha256: bytes

    @property
    def effect(self) -> tuple[str, str, int]:
        """What happens once: (sender, referral_id, revision)."""
        manifest = self.verified.manifest
        return manifest.sender, manifest.referral_id, manifest.revision


def read_referral(incoming: Incoming, snapshot: DirectorySnapshot, now: datetime) -> Candidate:
    """Take one referral through steps 1 to 4; ``now`` is the real time.

    Raises:
        Rejected: it breaks a rule of the contract; the error's code says which.
    """
    unverified = parse_envelope(incoming.body)
    keys = snapshot.signing_keys.get(incoming.user_id or "", ())
    if incoming.user_id is None or not keys:
        raise SenderUnknown
    verified = verify_envelope(unverified, keys, now=now, sender=incoming.user_id)
    snapshot.known_ids.check_header(verified.header)
    for delivery in verified.header.deliveries:
        _require_current_key(verified, delivery, snapshot, now)
    return Candidate(incoming, verified, UUID(verified.manifest.message_id), sha256(incoming.body).digest())


def _require_current_key(
    verified: VerifiedEnvelope, delivery: DeliveryRequest, snapshot: DirectorySnapshot, now: datetime
) -> None:
    descriptor = verified.keyring_descriptors.get(delivery.delivery_id)
    if descriptor is None:
        return  # nothing is granted: the decision says what becomes of it
    for key in snapshot.encryption_keys.get(delivery.agency, ()):
        if key.kid == descriptor.kid and key.not_before <= now < key.not_after and key.kid not in snapshot.revoked:
            return
    raise KeyNotCurrent(field="keyring.kid")
