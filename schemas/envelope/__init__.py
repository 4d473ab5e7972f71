"""The envelope: seal, parse, verify, redact, open (DESIGN, The envelope)."""

from schemas.envelope.errors import (
    DeliveryTampered,
    DigestMismatch,
    ForeignKeyring,
    LabelMismatch,
    NotFresh,
    ProofInvalid,
    UndeclaredEntry,
)
from schemas.envelope.model import (
    INCIDENT,
    SUITE,
    EnvelopeDraft,
    KeyringDescriptor,
    Manifest,
    ManifestFacts,
    OpenedSection,
    SealedEnvelope,
    SectionDescriptor,
    SectionDraft,
)
from schemas.envelope.seal import seal
from schemas.envelope.verify import UnverifiedEnvelope, VerifiedEnvelope, parse_envelope, verify_envelope

__all__ = [
    "INCIDENT",
    "SUITE",
    "DeliveryTampered",
    "DigestMismatch",
    "EnvelopeDraft",
    "ForeignKeyring",
    "KeyringDescriptor",
    "LabelMismatch",
    "Manifest",
    "ManifestFacts",
    "NotFresh",
    "OpenedSection",
    "ProofInvalid",
    "SealedEnvelope",
    "SectionDescriptor",
    "SectionDraft",
    "UndeclaredEntry",
    "UnverifiedEnvelope",
    "VerifiedEnvelope",
    "parse_envelope",
    "seal",
    "verify_envelope",
]
