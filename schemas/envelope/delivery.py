"""Deliveries: how a recipient verifies and opens what the hub cut out of an envelope for it.

The hub can only narrow: every entry that it forwards was signed by the sender, every section and keyring is bound to a signed digest, and the log's
proof shows that exactly these sections were released. A dropped, added or swapped section is refused.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from schemas.canonical import decode_base64url, parse_object, sha256_base64url
from schemas.checkpoint import Checkpoint, InclusionProof, NoteVerifier, read_proof, verify_proof
from schemas.envelope.addendum import KeyringAddendum, open_addendum
from schemas.envelope.entries import check_digests, read_openings
from schemas.envelope.errors import DeliveryTampered, DigestMismatch, ForeignKeyring, ProofInvalid, UndeclaredEntry
from schemas.envelope.model import (
    CLOCK_SKEW,
    MAX_ENVELOPE_BYTES,
    MAX_SECTIONS,
    REFERRAL_TYP,
    KeyringDescriptor,
    Manifest,
    OpenedSection,
    SectionDescriptor,
)
from schemas.envelope.redaction import list_opened_entries
from schemas.envelope.sections import check_keyring, check_section, keyring_binding, open_keyring, open_section
from schemas.envelope.verify import (
    read_claimed_sender,
    read_entries,
    read_manifest,
    read_map,
    read_opening_list,
)
from schemas.errors import MalformedMessage, SafelaneError, SignatureInvalid
from schemas.header import CaseFacts, DeliveryRequest, RiskFacts, SubjectFacts
from schemas.jose.jws import verify_jws
from schemas.keys import VerifyingKeys
from schemas.log_entry import commit_event
from schemas.objects.events import DecidedEvent
from schemas.objects.signed import verify_object

_VERIFIED = object()
_DELIVERY_MEMBERS = frozenset({"manifest", "openings", "sections", "keyring", "decision", "proof"})


@dataclass(frozen=True, slots=True)
class UnverifiedDelivery:
    """A delivery of the right shape, of which nothing may be believed yet."""

    manifest: Mapping[str, Any] = field(repr=False)
    openings: tuple[str, ...] = field(repr=False)
    sections: Mapping[str, str] = field(repr=False)
    keyring: Mapping[str, str] | None = field(repr=False)
    addendum: str | None = field(repr=False)
    event: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    proof: InclusionProof = field(repr=False)

    def claimed_sender(self) -> str:
        """Return who the delivery says sealed it: only to find the keys with which to verify it.

        Raises:
            MalformedMessage: it does not say.
        """
        return read_claimed_sender(self.manifest)


@dataclass(frozen=True, slots=True)
class VerifiedDelivery:
    """A delivery whose signatures, digests, bindings, decision and proof are all verified. Only ``verify_delivery`` makes one."""

    manifest: Manifest
    manifest_digest: str
    case: CaseFacts
    risk: RiskFacts | None
    """None: it was not shared with this recipient, which says nothing of whether there is any."""
    delivery: DeliveryRequest
    subjects: tuple[SubjectFacts, ...]
    descriptors: Mapping[str, SectionDescriptor]
    sections: Mapping[str, str] = field(repr=False)
    keyring: Mapping[str, str] | None = field(repr=False)
    addendum: KeyringAddendum | None = field(repr=False)
    keyring_kid: str | None
    decision: DecidedEvent
    decision_leaf: str
    """Base64url SHA-256 of the log entry: what receipts bind."""
    index: int
    checkpoint: Checkpoint
    note: str = field(repr=False)
    witness: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.witness is not _VERIFIED:
            raise TypeError("only verify_delivery makes a VerifiedDelivery")


def parse_delivery(body: bytes) -> UnverifiedDelivery:
    """Read a delivery's outer form strictly. Nothing in it is believed.

    Raises:
        TooLarge: over a limit.
        MalformedMessage: not strict JSON of the form.
    """
    members = parse_object(body, max_bytes=MAX_ENVELOPE_BYTES, field="delivery")
    if members.keys() - {"addendum"} != _DELIVERY_MEMBERS or not isinstance(members["proof"], str):
        raise MalformedMessage("is not of the form of a delivery", field="delivery")
    decision = read_map(members["decision"], "decision", 2, str)
    if decision.keys() != {"event", "salt"}:
        raise MalformedMessage("must hold event and salt", field="decision")
    keyring, addendum = members["keyring"], members.get("addendum")
    if "addendum" in members and not isinstance(addendum, str):
        raise MalformedMessage("must be the text of a signed object", field="addendum")
    return UnverifiedDelivery(
        manifest=read_map(members["manifest"], "manifest", 2, object),
        openings=read_opening_list(members["openings"]),
        sections=read_map(members["sections"], "sections", MAX_SECTIONS, str),
        keyring=None if keyring is None else read_map(keyring, "keyring", 8, str),
        addendum=addendum,
        event=decode_base64url(decision["event"], field="decision.event"),
        salt=decode_base64url(decision["salt"], field="decision.salt"),
        proof=read_proof(members["proof"]),
    )


def verify_delivery(
    unverified: UnverifiedDelivery,
    sender_keys: Sequence[VerifyingKeys],
    log: NoteVerifier,
    *,
    recipient: str,
    kids: Collection[str],
    now: datetime,
) -> VerifiedDelivery:
    """Verify a delivery with the sender's keys and the hub's log key, both from the recipient's own directory.

    ``recipient`` is the agency that verifies, ``kids`` its encryption keys' ids, ``now`` the real time.

    Raises:
        SignatureInvalid: the sender's signatures do not verify.
        ProofInvalid: the log's proof does not show this decision.
        DeliveryTampered: what was delivered is not what was signed and decided: the hub or the way to it cannot be trusted.
        ForeignKeyring: the keyring is sealed to a key that this recipient does not have.
        MalformedMessage: a part is not of its form.
    """
    payload = verify_jws(unverified.manifest, sender_keys, REFERRAL_TYP)
    manifest = read_manifest(payload)
    decision, checkpoint = _verify_decision(unverified, log)
    entries = _read_entries(unverified, manifest)
    case, risk, request, subjects = _read_header_part(entries)
    descriptors = read_entries(entries, "section", "section_id", SectionDescriptor)
    keyrings = read_entries(entries, "keyring", "delivery_id", KeyringDescriptor)
    _check_subject(manifest, sha256_base64url(payload), decision, request, recipient)
    # The decision's instant is the hub's business clock's, which a rehearsal may set; what the real clock rules is the sealing.
    if manifest.issued_at > now + CLOCK_SKEW:
        raise DeliveryTampered("is from the future", field="manifest.issued_at")
    _check_sections(unverified, descriptors, manifest, decision)
    addendum = _verify_addendum(unverified, sender_keys, decision)
    kid = (
        _check_keyring(unverified, keyrings, manifest, request) if addendum is None else addendum.keyring_descriptor.kid
    )
    _check_kid(kid, decision, kids)
    expected = list_opened_entries(request.delivery_id, descriptors, keyring=unverified.keyring is not None)
    if entries.keys() != set(expected):
        raise DeliveryTampered("the opened entries are not those that go with these sections", field="openings")
    return VerifiedDelivery(
        manifest=manifest,
        manifest_digest=decision.manifest_digest,
        case=case,
        risk=risk,
        delivery=request,
        subjects=subjects,
        descriptors=descriptors,
        sections=unverified.sections,
        keyring=unverified.keyring,
        addendum=addendum,
        keyring_kid=kid,
        decision=decision,
        decision_leaf=sha256_base64url(commit_event(unverified.event, unverified.salt)),
        index=unverified.proof.index,
        checkpoint=checkpoint,
        note=unverified.proof.note,
        witness=_VERIFIED,
    )


def open_delivery(verified: VerifiedDelivery, private_jwks: Mapping[str, Mapping[str, Any]]) -> list[OpenedSection]:
    """Open every delivered section with the recipient's private keys (by key id).

    Raises:
        ForeignKeyring: none of the keys is the one that the keyring is sealed to.
        DecryptionFailed: the keyring or a section does not open.
        DigestMismatch: a key or content is not the one that was signed.
        LabelMismatch: a section's content says other than its descriptor.
    """
    if verified.addendum is not None:
        return open_sections(verified, open_addendum(verified.addendum, private_jwks, allowed=list(verified.sections)))
    if verified.keyring is None or verified.keyring_kid is None:
        return []
    if verified.keyring_kid not in private_jwks:
        raise ForeignKeyring("is sealed to a key that is not here", field="keyring")
    keys = open_keyring(verified.keyring, private_jwks[verified.keyring_kid])
    return open_sections(verified, keys)


def open_sections(verified: VerifiedDelivery, keys: Mapping[str, tuple[bytes, str]]) -> list[OpenedSection]:
    """Open every delivered section with keys from its keyring or from an addendum: section id to (key, ciphertext digest).

    Raises:
        DecryptionFailed, DigestMismatch, LabelMismatch, MalformedMessage: as in ``open_delivery``.
    """
    opened = []
    for section_id, compact in verified.sections.items():
        descriptor = verified.descriptors[section_id]
        key, digest = keys.get(section_id, (b"", ""))
        if digest != descriptor.ciphertext_sha256:
            raise DigestMismatch("the keyring does not hold this section's key", field="keyring")
        opened.append(open_section(compact, descriptor, key, verified.manifest.message_id, verified.manifest.sender))
    return opened


def _verify_decision(unverified: UnverifiedDelivery, log: NoteVerifier) -> tuple[DecidedEvent, Checkpoint]:
    try:
        checkpoint = verify_proof(unverified.proof, commit_event(unverified.event, unverified.salt), log)
    except SignatureInvalid:
        raise ProofInvalid("the checkpoint is not signed by the hub's log key", field="proof") from None
    if checkpoint is None:
        raise ProofInvalid("the log does not hold this decision", field="proof")
    return DecidedEvent.from_bytes(unverified.event), checkpoint


def _read_entries(unverified: UnverifiedDelivery, manifest: Manifest) -> dict[str, tuple[str, Any]]:
    try:
        return read_openings(unverified.openings, check_digests(manifest.digests))
    except UndeclaredEntry as error:
        raise DeliveryTampered(error.detail, field=error.field) from None


def _check_subject(
    manifest: Manifest, digest: str, decision: DecidedEvent, request: DeliveryRequest, recipient: str
) -> None:
    """Refuse a decision that is about another message or delivery than the sender signed, or for another agency than ours."""
    facts = (manifest.message_id, manifest.referral_id, manifest.revision, manifest.sender, digest)
    if facts != (
        decision.message_id,
        decision.referral_id,
        decision.revision,
        decision.sender,
        decision.manifest_digest,
    ):
        raise DeliveryTampered("the decision is about another message", field="decision")
    if (request.delivery_id, request.agency, recipient) != (decision.delivery_id, decision.recipient, request.agency):
        raise DeliveryTampered("the decision is about another delivery", field="decision")


def _check_kid(kid: str | None, decision: DecidedEvent, kids: Collection[str]) -> None:
    if kid is not None and kid not in kids:
        raise ForeignKeyring("is sealed to a key that is not here", field="keyring")
    if kid != decision.keyring_kid:
        raise DeliveryTampered("the decision names another key", field="decision.keyring_kid")


def _read_header_part(
    entries: Mapping[str, tuple[str, Any]],
) -> tuple[CaseFacts, RiskFacts | None, DeliveryRequest, tuple[SubjectFacts, ...]]:
    requests = read_entries(entries, "delivery", "delivery_id", DeliveryRequest)
    subjects = read_entries(entries, "subject", "subject_id", SubjectFacts)
    if "case" not in entries or len(requests) != 1:
        raise DeliveryTampered("must open the case and one delivery", field="openings")
    try:
        case = CaseFacts.model_validate(entries["case"][1])
        risk = RiskFacts.model_validate(entries["risk"][1]) if "risk" in entries else None
    except ValidationError:
        raise MalformedMessage("is not of its form", field="case") from None
    return case, risk, next(iter(requests.values())), tuple(subjects.values())


def _check_sections(
    unverified: UnverifiedDelivery,
    descriptors: Mapping[str, SectionDescriptor],
    manifest: Manifest,
    decision: DecidedEvent,
) -> None:
    released = set(decision.released)
    if unverified.sections.keys() != released or descriptors.keys() != released:
        raise DeliveryTampered("the sections are not those that were released", field="sections")
    for section_id, compact in unverified.sections.items():
        try:
            check_section(compact, descriptors[section_id], manifest.message_id, manifest.sender)
        except DigestMismatch as error:
            raise DeliveryTampered(error.detail, field=error.field) from None


def _check_keyring(
    unverified: UnverifiedDelivery,
    keyrings: Mapping[str, KeyringDescriptor],
    manifest: Manifest,
    request: DeliveryRequest,
) -> str | None:
    if unverified.keyring is None:
        if unverified.sections:
            raise DeliveryTampered("the keyring is missing", field="keyring")
        return None
    descriptor = keyrings.get(request.delivery_id)
    if descriptor is None:
        raise DeliveryTampered("the keyring is not declared", field="keyring")
    binding = keyring_binding(manifest.message_id, manifest.sender, request.delivery_id)
    try:
        check_keyring(unverified.keyring, descriptor, binding)
    except SafelaneError as error:
        raise DeliveryTampered(error.detail, field=error.field) from None
    return descriptor.kid


def _verify_addendum(
    unverified: UnverifiedDelivery, sender_keys: Sequence[VerifyingKeys], decision: DecidedEvent
) -> KeyringAddendum | None:
    if unverified.addendum is None:
        return None
    payload = verify_object("keyring_addendum", unverified.addendum.encode("utf-8"), sender_keys)
    try:
        addendum = KeyringAddendum.model_validate(payload)
    except ValidationError:
        raise MalformedMessage("is not of its form", field="addendum") from None
    told = (addendum.manifest_digest, addendum.message_id, addendum.sender, addendum.delivery_id, addendum.recipient)
    about = (
        decision.manifest_digest,
        decision.message_id,
        decision.sender,
        decision.delivery_id,
        decision.recipient,
    )
    if told != about or unverified.keyring is not None:
        raise DeliveryTampered("the addendum is about another delivery", field="addendum")
    if not set(addendum.sections).issuperset(decision.released):
        raise DeliveryTampered("a section is not in the addendum", field="sections")
    return addendum
