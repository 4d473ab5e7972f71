"""Sealing: a draft becomes signed and encrypted bytes that never change again."""

from collections.abc import Mapping
from secrets import token_bytes
from typing import Any

from schemas.canonical import canonical_bytes, sha256_base64url
from schemas.envelope.entries import RandomBytes, add_decoys, write_openings
from schemas.envelope.model import (
    INCIDENT,
    MAX_ENVELOPE_BYTES,
    REFERRAL_TYP,
    SUITE,
    EnvelopeDraft,
    SealedEnvelope,
    SectionDescriptor,
)
from schemas.envelope.sections import SECTION_KEY_BYTES, keyring_binding, seal_keyring, seal_section
from schemas.errors import MalformedMessage, TooLarge
from schemas.header import RoutingHeader
from schemas.jose.jws import sign_jws
from schemas.keys import Jwk, KeyUse, SigningKeys, compute_thumbprint, require_use


def seal(
    draft: EnvelopeDraft, signer: SigningKeys, recipient_keys: Mapping[str, Jwk], *, rng: RandomBytes = token_bytes
) -> SealedEnvelope:
    """Seal a draft. ``recipient_keys`` maps each delivery id that is granted sections to that recipient's encryption JWK.

    ``draft.grants`` alone says what is granted: ``granted_sections`` of the draft's header is passed over. A section in no grant is sealed but keyed to nobody.

    Raises:
        MalformedMessage: the draft contradicts itself, or a key is missing or of the wrong form.
        TooLarge: there are too many entries or bytes.
    """
    _check_draft(draft, recipient_keys)
    facts = draft.facts
    section_keys: dict[str, bytes] = {}
    sections: dict[str, str] = {}
    descriptors: dict[str, SectionDescriptor] = {}
    for section in draft.sections:
        key = rng(SECTION_KEY_BYTES)
        compact, descriptor = seal_section(section, facts.message_id, facts.sender, key, rng=rng)
        section_keys[section.section_id] = key
        sections[section.section_id] = compact
        descriptors[section.section_id] = descriptor
    digests = {section_id: descriptor.ciphertext_sha256 for section_id, descriptor in descriptors.items()}
    keyrings: dict[str, dict[str, str]] = {}
    entries = _without_grants(draft.header).to_entries()
    entries += [(f"section:{section_id}", d.model_dump(mode="json")) for section_id, d in descriptors.items()]
    for delivery_id, granted in draft.grants.items():
        if not granted:
            continue
        jwk = recipient_keys[delivery_id]
        keyrings[delivery_id], keyring = seal_keyring(
            {section_id: (section_keys[section_id], digests[section_id]) for section_id in granted},
            keyring_binding(facts.message_id, facts.sender, delivery_id),
            jwk,
            compute_thumbprint(jwk),
            rng=rng,
        )
        entries.append((f"keyring:{delivery_id}", keyring.model_dump(mode="json")))
        entries.append((f"grants:{delivery_id}", sorted(granted)))
    openings = write_openings(entries, rng=rng)
    payload = _write_manifest(draft, add_decoys(openings.keys(), rng=rng))
    body = canonical_bytes(
        {
            "manifest": sign_jws(payload, signer, REFERRAL_TYP),
            "openings": list(openings.values()),
            "sections": sections,
            "keyrings": keyrings,
        }
    )
    if len(body) > MAX_ENVELOPE_BYTES:
        raise TooLarge(f"more than {MAX_ENVELOPE_BYTES} bytes when sealed", field="sections")
    return SealedEnvelope(body, facts.message_id, sha256_base64url(payload), section_keys, digests)


def _check_draft(draft: EnvelopeDraft, recipient_keys: Mapping[str, Jwk]) -> None:
    section_ids = {section.section_id for section in draft.sections}
    if len(section_ids) != len(draft.sections):
        raise MalformedMessage("a section id is used twice", field="sections")
    subjects = {subject.subject_id for subject in draft.header.subjects} | {INCIDENT}
    if any(section.subject not in subjects for section in draft.sections):
        raise MalformedMessage("a section names a subject that the header does not", field="sections.subject")
    if not draft.grants.keys() <= {delivery.delivery_id for delivery in draft.header.deliveries}:
        raise MalformedMessage("a grant names a delivery that the header does not", field="grants")
    for delivery_id, granted in draft.grants.items():
        if not section_ids.issuperset(granted):
            raise MalformedMessage("a grant names a section that is not there", field="grants")
        if granted and delivery_id not in recipient_keys:
            raise MalformedMessage("a delivery has no encryption key", field="recipient_keys")
        if granted:
            require_use(recipient_keys[delivery_id], KeyUse.ENCRYPTION)


def _without_grants(header: RoutingHeader) -> RoutingHeader:
    # Grants are entries of their own, for the hub alone: a recipient must not count what it was not given.
    deliveries = tuple(delivery.model_copy(update={"granted_sections": ()}) for delivery in header.deliveries)
    return header.model_copy(update={"deliveries": deliveries})


def _write_manifest(draft: EnvelopeDraft, digests: list[str]) -> bytes:
    payload: dict[str, Any] = {
        **draft.facts.model_dump(mode="json"),
        "suite": SUITE,
        "type": "referral",
        "digest_alg": "sha-256",
        "digests": digests,
    }
    return canonical_bytes(payload)
