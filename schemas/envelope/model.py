"""The parts of an envelope: what a sender drafts, what the manifest signs, what verification yields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.clear_forms import AgencyId, Instant, OpaqueId, SubjectRef
from schemas.codes import Compartment, Form
from schemas.header import RoutingHeader
from schemas.wire_types import Digest, MediaType, Uuid7

SUITE: Final = "SL1"
"""Ed25519 + ML-DSA-65 signatures, A256GCM sections, HPKE-9-KE keyrings, SHA-256 digests."""
REFERRAL_TYP: Final = "safelane-referral+jws"
SECTION_TYP: Final = "safelane-section+jwe"
KEYRING_TYP: Final = "safelane-keyring+jwe"
INCIDENT: Final = "incident"
"""The subject of a section that is about the incident as a whole."""

MAX_ENVELOPE_BYTES: Final = 16_000_000
"""Under the 16 MiB that RabbitMQ 4 takes by default."""
MAX_MANIFEST_BYTES: Final = 100_000
MAX_OPENING_BYTES: Final = 65_536
MAX_OPENINGS: Final = 1024
MAX_SECTIONS: Final = 512
MAX_KEYRINGS: Final = 128
DIGEST_COUNTS: Final = (64, 128, 256, 512, 1024)
"""The manifest's digests are filled up with decoys to the smallest of these, so that their number says little."""
CLOCK_SKEW: Final = timedelta(minutes=5)
MAX_LIFETIME: Final = timedelta(days=92)


class EnvelopeModel(BaseModel):
    """Base of signed parts: frozen, and closed to unknown members."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ManifestFacts(EnvelopeModel):
    """What a sender says of a message as a whole. ``message_id`` is per sealing, ``referral_id`` stable; ``reseals`` names a predecessor."""

    message_id: Uuid7
    referral_id: OpaqueId
    revision: int = Field(default=1, ge=1, le=9999)
    sender: AgencyId
    issued_at: Instant
    expires_at: Instant
    conversation: OpaqueId
    supersedes: Uuid7 | None = None
    reseals: Uuid7 | None = None


class Manifest(ManifestFacts):
    """The signed payload: the facts, and salted digests of every entry, with decoys."""

    suite: Literal["SL1"]
    type: Literal["referral"]
    digest_alg: Literal["sha-256"]
    digests: tuple[Digest, ...]


class SectionDescriptor(EnvelopeModel):
    """The entry ``section:<id>``. ``ciphertext_sha256`` is over the compact JWE's bytes, ``content_sha256`` over salt then plaintext as encrypted."""

    section_id: OpaqueId
    compartment: Compartment
    subject: SubjectRef
    form: Form
    media_type: MediaType
    ciphertext_sha256: Digest
    content_sha256: Digest

    def labels(self, message_id: str, sender: str) -> dict[str, str]:
        """Return what the section's protected header and its plaintext must both say."""
        return {
            "suite": SUITE,
            "message_id": message_id,
            "sender": sender,
            "section_id": self.section_id,
            "compartment": self.compartment.value,
            "subject": self.subject,
            "form": self.form.value,
            "media_type": self.media_type,
        }


class KeyringDescriptor(EnvelopeModel):
    """The entry ``keyring:<delivery id>``: to which key it is sealed, and the digest of its compact serialization."""

    delivery_id: OpaqueId
    kid: Digest
    sha256: Digest


@dataclass(frozen=True, slots=True)
class SectionDraft:
    """A section before sealing. ``content`` and ``attachments`` are JSON values (integers only; decimals as strings)."""

    section_id: str
    compartment: Compartment
    subject: str
    form: Form
    content: Any = field(repr=False)
    media_type: str = "application/json"
    attachments: Sequence[Mapping[str, Any]] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class EnvelopeDraft:
    """A message before sealing. ``grants``: delivery id to the sections whose keys its keyring holds; sections in no grant are held."""

    facts: ManifestFacts
    header: RoutingHeader
    sections: Sequence[SectionDraft] = field(repr=False)
    grants: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class SealedEnvelope:
    """A sealed message: bytes to store and publish unchanged, and what the sender must keep to release held sections later."""

    body: bytes = field(repr=False)
    message_id: str
    manifest_digest: str
    section_keys: dict[str, bytes] = field(repr=False)
    ciphertext_digests: dict[str, str]


@dataclass(frozen=True, slots=True)
class OpenedSection:
    """A section that its recipient has opened and checked."""

    section_id: str
    compartment: Compartment
    subject: str
    form: Form
    media_type: str
    content: Any = field(repr=False)
    attachments: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)


def is_fresh(facts: ManifestFacts, now: datetime) -> bool:
    """Tell whether a message may be taken in at ``now`` (real clock, with ``CLOCK_SKEW``)."""
    in_time = facts.issued_at <= now + CLOCK_SKEW and now < facts.expires_at
    return in_time and timedelta() < facts.expires_at - facts.issued_at <= MAX_LIFETIME
