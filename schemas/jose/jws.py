"""Signatures: JWS JSON Serialization (RFC 7515) with two signatures, Ed25519 (RFC 9864) then ML-DSA-65 (RFC 9964), both required.

The profile is closed: a protected header holds ``alg``, ``kid`` and ``typ`` and nothing else, there is no unprotected header, and the verifier says
which algorithms, keys and ``typ`` it accepts. The message chooses none of them. Every failure of a signature is the same error.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature

from schemas.canonical import canonical_bytes, decode_base64url, encode_base64url, parse_object
from schemas.errors import MalformedMessage, SafelaneError, SignatureInvalid
from schemas.keys import ED25519, ML_DSA_65, SigningKeys, VerifyingKeys

_JWS_MEMBERS = frozenset({"payload", "signatures"})
_SIGNATURE_MEMBERS = frozenset({"protected", "signature"})
_MAX_HEADER_BYTES = 1024


def sign_jws(payload: bytes, signer: SigningKeys, typ: str) -> dict[str, Any]:
    """Sign ``payload`` with both keys and return the JWS as a JSON object."""
    body = encode_base64url(payload)
    first, second = signer.public.protected_headers(typ)
    return {
        "payload": body,
        "signatures": [
            {
                "protected": first,
                "signature": encode_base64url(signer.ed25519.sign(f"{first}.{body}".encode("ascii"))),
            },
            {
                "protected": second,
                "signature": encode_base64url(signer.ml_dsa_65.sign(f"{second}.{body}".encode("ascii"))),
            },
        ],
    }


def verify_jws(jws: Mapping[str, Any], keys: Sequence[VerifyingKeys], typ: str) -> bytes:
    """Verify both signatures by one of the pairs in ``keys`` and return the payload's raw bytes, whose meaning nobody has read yet.

    Raises:
        SignatureInvalid: whatever is wrong with a signature, its header or its key; the error never says which.
    """
    try:
        return _verify(jws, keys, typ)
    except SignatureInvalid:
        raise
    except (SafelaneError, InvalidSignature, TypeError, ValueError):
        raise SignatureInvalid from None


def peek_payload(jws: Mapping[str, Any]) -> bytes:
    """Return the payload of a JWS that nobody has verified: only to find out whose keys to verify it with.

    Raises:
        MalformedMessage: there is no payload to read.
    """
    payload = jws.get("payload")
    if not isinstance(payload, str):
        raise MalformedMessage("must be a JWS with a payload", field="payload")
    return decode_base64url(payload, field="payload")


def _verify(jws: Mapping[str, Any], keys: Sequence[VerifyingKeys], typ: str) -> bytes:
    signatures = jws["signatures"] if jws.keys() == _JWS_MEMBERS else ()
    if not isinstance(signatures, list) or len(signatures) != 2:
        raise SignatureInvalid
    if any(not isinstance(entry, dict) or entry.keys() != _SIGNATURE_MEMBERS for entry in signatures):
        raise SignatureInvalid
    body = jws["payload"]
    if not isinstance(body, str):
        raise SignatureInvalid
    first, second = (entry["protected"] for entry in signatures)
    pair = _find_pair(first, second, keys, typ)
    encoded = body.encode("ascii")
    pair.ed25519.verify(decode_base64url(signatures[0]["signature"]), first.encode("ascii") + b"." + encoded)
    pair.ml_dsa_65.verify(decode_base64url(signatures[1]["signature"]), second.encode("ascii") + b"." + encoded)
    return decode_base64url(body, field="payload")


def _find_pair(first: str, second: str, keys: Sequence[VerifyingKeys], typ: str) -> VerifyingKeys:
    for pair in keys:
        if pair.protected_headers(typ) == (first, second):
            return pair
    # Another implementation may write the same header with other spacing or order.
    first_kid = _read_kid(first, ED25519, typ)
    second_kid = _read_kid(second, ML_DSA_65, typ)
    for pair in keys:
        if (pair.ed25519_kid, pair.ml_dsa_65_kid) == (first_kid, second_kid):
            return pair
    raise SignatureInvalid


def _read_kid(protected: str, alg: str, typ: str) -> str:
    header = parse_object(decode_base64url(protected), max_bytes=_MAX_HEADER_BYTES, max_depth=1, field="protected")
    if header.keys() != {"alg", "kid", "typ"} or header["alg"] != alg or header["typ"] != typ:
        raise SignatureInvalid
    return str(header["kid"])


def encode_jws(jws: Mapping[str, Any]) -> bytes:
    """Return the canonical bytes of a JWS object."""
    return canonical_bytes(dict(jws))
