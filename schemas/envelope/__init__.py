"""The envelope: seal, parse, verify, redact, open (DESIGN, The envelope)."""

from schemas.envelope.addendum import KeyringAddendum, open_addendum, seal_addendum_keyring
from schemas.envelope.delivery import (
    UnverifiedDelivery,
    VerifiedDelivery,
    open_delivery,
    open_sections,
    parse_delivery,
    verify_delivery,
)
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
from schemas.envelope.redaction import DeliveryParts, encode_delivery, redact_for
from schemas.envelope.seal import seal
from schemas.envelope.verify import UnverifiedEnvelope, VerifiedEnvelope, parse_envelope, verify_envelope

__all__ = [
    "INCIDENT",
    "SUITE",
    "DeliveryParts",
    "DeliveryTampered",
    "DigestMismatch",
    "EnvelopeDraft",
    "ForeignKeyring",
    "KeyringAddendum",
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
    "UnverifiedDelivery",
    "UnverifiedEnvelope",
    "VerifiedDelivery",
    "VerifiedEnvelope",
    "encode_delivery",
    "open_addendum",
    "open_delivery",
    "open_sections",
    "parse_delivery",
    "parse_envelope",
    "redact_for",
    "seal",
    "seal_addendum_keyring",
    "verify_delivery",
    "verify_envelope",
]
