"""Late release: the sender's gateway verifies an approval, then seals the keys of held sections to one delivery. The hub never holds a key.

The hub answers an addendum with one more delivery that carries it, the sections that it adds, and a decision of its own.
"""

from collections.abc import Mapping, Sequence
from secrets import token_bytes
from typing import Any

from schemas.clear_forms import AgencyId, Instant, OpaqueId
from schemas.envelope.entries import RandomBytes
from schemas.envelope.errors import ForeignKeyring
from schemas.envelope.model import KeyringDescriptor
from schemas.envelope.sections import check_keyring, keyring_binding, open_keyring, seal_keyring
from schemas.errors import MalformedMessage
from schemas.keys import Jwk, KeyUse, compute_thumbprint, require_use
from schemas.objects.model import SignedModel
from schemas.wire_types import Digest, Uuid7


class KeyringAddendum(SignedModel):
    """A second keyring for one delivery of a message already sent. Signed by the message's sender; ``sections`` is what it adds."""

    addendum_id: OpaqueId
    message_id: Uuid7
    referral_id: OpaqueId
    manifest_digest: Digest
    sender: AgencyId
    delivery_id: OpaqueId
    recipient: AgencyId
    sections: tuple[OpaqueId, ...]
    keyring: dict[str, str]
    keyring_descriptor: KeyringDescriptor
    approvals: tuple[Digest, ...]
    """``digest_object`` of each approval that the sender's gateway verified."""
    issued_at: Instant


def seal_addendum_keyring(
    message: tuple[str, str, str],
    section_keys: Mapping[str, tuple[bytes, str]],
    recipient_jwk: Jwk,
    *,
    rng: RandomBytes = token_bytes,
) -> tuple[dict[str, str], KeyringDescriptor]:
    """Seal section id to (key, ciphertext digest). ``message`` is (message id, sender, delivery id).

    Raises:
        MalformedMessage: there is nothing to seal, or the key is not an encryption key.
    """
    if not section_keys:
        raise MalformedMessage("must hold at least one section", field="sections")
    require_use(recipient_jwk, KeyUse.ENCRYPTION)
    binding = keyring_binding(*message)
    return seal_keyring(section_keys, binding, recipient_jwk, compute_thumbprint(recipient_jwk), rng=rng)


def open_addendum(
    addendum: KeyringAddendum, private_jwks: Mapping[str, Mapping[str, Any]], *, allowed: Sequence[str]
) -> dict[str, tuple[bytes, str]]:
    """Open a verified addendum. Returns section id to (key, ciphertext digest) of those sections that it names and ``allowed`` holds.

    Raises:
        ForeignKeyring: it is bound elsewhere, or sealed to a key that is not here.
        DigestMismatch, DecryptionFailed, MalformedMessage: the keyring is not what was signed, or does not open.
    """
    binding = keyring_binding(addendum.message_id, addendum.sender, addendum.delivery_id)
    check_keyring(addendum.keyring, addendum.keyring_descriptor, binding)
    kid = addendum.keyring_descriptor.kid
    if kid not in private_jwks:
        raise ForeignKeyring("is sealed to a key that is not here", field="keyring")
    keys = open_keyring(addendum.keyring, private_jwks[kid])
    wanted = set(addendum.sections).intersection(allowed)
    return {section_id: entry for section_id, entry in keys.items() if section_id in wanted}
