"""A message that was verified before it was stored, read again: its header, its sections' descriptors and its keyrings' keys. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import UUID

from schemas.codes import Compartment
from schemas.envelope import SectionDescriptor, parse_envelope
from schemas.envelope.entries import read_openings
from schemas.envelope.model import KeyringDescriptor, Manifest
from schemas.envelope.verify import read_entries, read_header, read_manifest
from schemas.errors import Erased, IntegrityBroken, NotFound, SafelaneError
from schemas.header import DeliveryRequest, RoutingHeader
from schemas.jose.jws import peek_payload


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A stored message, without its sections' ciphertexts."""

    message_id: UUID
    manifest: Manifest
    manifest_digest: str
    header: RoutingHeader = field(repr=False)
    descriptors: Mapping[str, SectionDescriptor] = field(repr=False)
    kids: Mapping[str, str]
    """Delivery id to the id of the key that its keyring is sealed to."""

    def find_request(self, delivery_id: str) -> DeliveryRequest:
        """Return a requested delivery.

        Raises:
            NotFound: there is none of that id.
        """
        for request in self.header.deliveries:
            if request.delivery_id == delivery_id:
                return request
        raise NotFound("there is no such delivery", field="delivery_id")

    def find_compartments(self, sections: Iterable[str]) -> frozenset[Compartment]:
        """Return the compartments of these sections."""
        return frozenset(self.descriptors[s].compartment for s in sections)


def read_stored(row: Any) -> StoredMessage:
    """Read a row of ``messages``.

    Raises:
        Erased: its sealed bytes were erased.
        IntegrityBroken: the stored bytes are not those that were verified.
    """
    if row["body"] is None:
        raise Erased(field="message_id")
    if sha256(row["body"]).digest() != row["body_sha256"]:
        raise IntegrityBroken("a stored message is not the one that was verified", field="messages.body")
    try:
        envelope = parse_envelope(row["body"])
        manifest = read_manifest(peek_payload(envelope.manifest))
        entries = read_openings(envelope.openings, frozenset(manifest.digests))
        descriptors = read_entries(entries, "section", "section_id", SectionDescriptor)
        keyrings = read_entries(entries, "keyring", "delivery_id", KeyringDescriptor)
        header = read_header(entries)
    except SafelaneError:
        raise IntegrityBroken("a stored message cannot be read", field="messages.body") from None
    return StoredMessage(
        message_id=row["message_id"],
        manifest=manifest,
        manifest_digest=row["manifest_digest"],
        header=header,
        descriptors=descriptors,
        kids={delivery_id: keyring.kid for delivery_id, keyring in keyrings.items()},
    )


def list_tokens(header: RoutingHeader) -> list[str]:
    """Return the subjects' tokens of a header as the registers index them, sorted."""
    return sorted({write_token(t.scheme, t.pepper_id, t.value) for routing in header.routing for t in routing.tokens})


def write_token(scheme: str, pepper_id: str, value: str) -> str:
    """Return one subject token as one text."""
    return f"{scheme}|{pepper_id}|{value}"
