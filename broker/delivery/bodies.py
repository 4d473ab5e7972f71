"""Bodies of what the hub sends: cut from stored bytes, joined with the event, its salt and its proof. The same inputs give the same bytes for ever."""

from hashlib import sha256

import orjson

from schemas.canonical import encode_base64url
from schemas.envelope import DeliveryParts, SectionDescriptor, parse_envelope
from schemas.envelope.entries import read_openings
from schemas.envelope.redaction import list_opened_entries
from schemas.envelope.verify import read_entries, read_manifest
from schemas.errors import IntegrityBroken, SafelaneError
from schemas.jose.jws import peek_payload


def join_evidence(base: bytes, event: bytes, salt: bytes, proof: str) -> bytes:
    """Return a notice or forwarded receipt: the JSON object ``base`` with the event, its salt and its tlog-proof added."""
    members = orjson.loads(base)
    members |= {"event": encode_base64url(event), "salt": encode_base64url(salt), "proof": proof}
    return orjson.dumps(members, option=orjson.OPT_SORT_KEYS)


def cut_stored_delivery(
    body: bytes, body_sha256: bytes, delivery_id: str, released: tuple[str, ...], *, keyed_later: bool = False
) -> DeliveryParts:
    """Cut a delivery from a message that was verified before it was stored: as ``redact_for``, without the signatures.

    ``keyed_later``: a keyring addendum goes with it, and the first keyring stays behind.

    Raises:
        IntegrityBroken: the stored bytes are not those that were verified.
    """
    if sha256(body).digest() != body_sha256:
        raise IntegrityBroken("a stored message is not the one that was verified", field="messages.body")
    try:
        envelope = parse_envelope(body)
        declared = frozenset(read_manifest(peek_payload(envelope.manifest)).digests)
        entries = read_openings(envelope.openings, declared)
    except SafelaneError:
        raise IntegrityBroken("a stored message cannot be read", field="messages.body") from None
    chosen = sorted(set(released))
    descriptors = read_entries(entries, "section", "section_id", SectionDescriptor)
    keyring = envelope.keyrings.get(delivery_id) if chosen and not keyed_later else None
    released_descriptors = {section_id: descriptors[section_id] for section_id in chosen}
    names = list_opened_entries(delivery_id, released_descriptors, keyring=keyring is not None)
    return DeliveryParts(
        delivery_id=delivery_id,
        manifest_jws=envelope.manifest,
        openings=tuple(entries[name][0] for name in names),
        sections={section_id: envelope.sections[section_id] for section_id in chosen},
        keyring=keyring,
    )
