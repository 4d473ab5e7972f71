"""The registry of signed objects: each type has a ``typ`` of its own, so that no signature made for one thing counts for another."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from schemas.canonical import canonical_bytes, parse_object, sha256_base64url
from schemas.errors import MalformedMessage
from schemas.jose.jws import peek_payload, sign_jws, verify_jws
from schemas.keys import SigningKeys, VerifyingKeys

OBJECT_TYPES: Final = frozenset(
    {
        "receipt",
        "negative_receipt",
        "keyring_addendum",
        "consent",
        "approval",
        "recall",
        "request",
        "control",
        "directory",
    }
)
"""Types that ``sign_object`` makes. ``referral`` is in the registry too: ``schemas.envelope`` makes it."""

MAX_OBJECT_BYTES: Final = 16_000_000


def type_header(object_type: str) -> str:
    """Return the JOSE ``typ`` of an object type.

    Raises:
        MalformedMessage: the type is not in the registry.
    """
    if object_type not in OBJECT_TYPES:
        raise MalformedMessage("is not in the registry of signed objects", field="type")
    return f"safelane-{object_type.replace('_', '-')}+jws"


def sign_object(object_type: str, payload: BaseModel | Mapping[str, Any], signer: SigningKeys) -> bytes:
    """Sign a payload as ``object_type`` and return the JWS as canonical JSON bytes, to be stored and sent unchanged.

    Raises:
        MalformedMessage: the type is unknown, or the payload cannot be canonical JSON.
    """
    typ = type_header(object_type)
    members = payload.model_dump(mode="json") if isinstance(payload, BaseModel) else dict(payload)
    return canonical_bytes(sign_jws(canonical_bytes(members), signer, typ))


def verify_object(object_type: str, body: bytes, keys: Sequence[VerifyingKeys]) -> dict[str, Any]:
    """Verify a signed object by one of ``keys`` and return its payload.

    Raises:
        SignatureInvalid: a signature is missing, of another type, or does not verify.
        MalformedMessage: the bytes are not a JWS, or the payload is not a strict JSON object.
        TooLarge: it is over ``MAX_OBJECT_BYTES`` or nested too deep.
    """
    jws = parse_object(body, max_bytes=MAX_OBJECT_BYTES, field=object_type)
    payload = verify_jws(jws, keys, type_header(object_type))
    return parse_object(payload, max_bytes=MAX_OBJECT_BYTES, field=object_type)


def peek_object(body: bytes) -> dict[str, Any]:
    """Return the payload of an object that nobody has verified: only to find out whose keys to verify it with.

    Raises:
        MalformedMessage: it is not a signed object.
        TooLarge: it is over ``MAX_OBJECT_BYTES`` or nested too deep.
    """
    jws = parse_object(body, max_bytes=MAX_OBJECT_BYTES, field="object")
    return parse_object(peek_payload(jws), max_bytes=MAX_OBJECT_BYTES, field="object")


def digest_object(body: bytes) -> str:
    """Return the digest by which a chain names a signed object: SHA-256 of its payload, base64url.

    The payload, not the bytes: a second signature over the same payload is the same statement.
    """
    return sha256_base64url(peek_payload(parse_object(body, max_bytes=MAX_OBJECT_BYTES, field="object")))
