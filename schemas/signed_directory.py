"""The directory and key announcements as signed bytes: made by the authority and by agencies, verified by the hub and by every gateway alike.

The hub passes both on and can write neither. Algorithms and keys come from the verifier's own pinned keys or directory, never from the message.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from schemas.directory import Agency, Directory
from schemas.errors import MalformedMessage, TooLarge
from schemas.keys import (
    KeyUse,
    SigningKeys,
    VerifyingKeys,
    compute_thumbprint,
    load_hybrid_public_key,
    public_part,
    require_use,
)
from schemas.objects import sign_object, verify_object
from schemas.validation import name_first_fault

MAX_DIRECTORY_BYTES = 8 * 1024 * 1024
MAX_KEY_LIFETIME = timedelta(days=35)
"""Encryption keys rotate weekly (DESIGN): a key that lives longer than this is a mistake or worse."""

Jwk = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """A public encryption key that its agency announced; to be used while ``not_before`` <= now < ``not_after`` (real clock)."""

    kid: str
    jwk: Jwk
    not_before: datetime
    not_after: datetime


def sign_directory(directory: Directory, authority: SigningKeys) -> bytes:
    """Sign a directory version with the authority's keys."""
    return sign_object("directory", directory.model_dump(mode="json"), authority)


def verify_directory(body: bytes, authority_keys: Sequence[VerifyingKeys]) -> Directory:
    """Verify a signed directory against the pinned authority keys and read it. The caller checks its version and that it has not expired.

    Raises:
        SignatureInvalid: the authority did not sign it.
        MalformedMessage, TooLarge: it is not of the form.
    """
    if len(body) > MAX_DIRECTORY_BYTES:
        raise TooLarge(f"more than {MAX_DIRECTORY_BYTES} bytes", field="directory")
    payload = verify_object("directory", body, authority_keys)
    try:
        return Directory.model_validate(payload)
    except ValidationError as error:
        path = name_first_fault(error)
        raise MalformedMessage("is not of the form", field=f"directory.{path}") from None


def is_active(agency: Agency) -> bool:
    """Return whether an agency's keys count at all: enrolled, and not revoked."""
    return agency.enrolled_at is not None and agency.revoked_at is None


def announce_encryption_key(
    agency_id: str, jwk: Mapping[str, Any], *, not_before: datetime, not_after: datetime, signer: SigningKeys
) -> bytes:
    """Sign an announcement of ``jwk`` (its public part) as the agency's encryption key from ``not_before`` to ``not_after``."""
    payload = {
        "control": "encryption_key",
        "agency": agency_id,
        "jwk": public_part(jwk),
        "not_before": not_before.isoformat(),
        "not_after": not_after.isoformat(),
    }
    return sign_object("control", payload, signer)


def read_key_announcement(
    body: bytes, agency_id: str, keys: Sequence[VerifyingKeys], revoked: Collection[str] = ()
) -> EncryptionKey:
    """Verify an encryption-key announcement by the agency's identity keys and return the key.

    Raises:
        SignatureInvalid: none of ``keys`` signed it.
        MalformedMessage: it is not of the form, speaks for another agency, lives too long or names a revoked key.
    """
    payload = verify_object("control", body, keys)
    try:
        jwk = dict(payload["jwk"])
        not_before, not_after = (datetime.fromisoformat(payload[name]) for name in ("not_before", "not_after"))
        announced = (payload["control"], payload["agency"])
    except (KeyError, TypeError, ValueError):
        raise MalformedMessage("is not an encryption-key announcement", field="control") from None
    if announced != ("encryption_key", agency_id):
        raise MalformedMessage("must announce the agency's own encryption key", field="agency")
    if not_before.tzinfo is None or not_after.tzinfo is None:
        raise MalformedMessage("an instant without an offset", field="not_before")
    if not timedelta(0) < not_after - not_before <= MAX_KEY_LIFETIME:
        raise MalformedMessage(f"must be good for at most {MAX_KEY_LIFETIME.days} days", field="not_after")
    require_use(jwk, KeyUse.ENCRYPTION)
    if public_part(jwk) != jwk:
        raise MalformedMessage("holds a private key: make a new one, this one is no longer secret", field="jwk")
    load_hybrid_public_key(jwk)
    kid = compute_thumbprint(jwk)
    if kid in revoked:
        raise MalformedMessage("this key is revoked", field="jwk")
    return EncryptionKey(kid, jwk, not_before, not_after)
