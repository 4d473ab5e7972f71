"""Short-lived JSON Web Tokens by which an agency shows the hub's API who it is (after RFC 7523): compact JWS, ``alg: Ed25519``.

One key, one audience, minutes of life, a ``jti`` that the caller of ``verify_jwt`` accepts once.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature

from schemas.canonical import canonical_bytes, decode_base64url, encode_base64url, parse_object
from schemas.errors import NotAuthenticated, SafelaneError
from schemas.keys import (
    ED25519,
    KeyUse,
    compute_thumbprint,
    load_ed25519_private_key,
    load_ed25519_public_key,
    require_use,
)

_MAX_TOKEN_BYTES = 4096
_CLAIMS = frozenset({"iss", "sub", "aud", "iat", "exp", "jti"})


def sign_jwt(
    agency_id: str, audience: str, private_jwk: Mapping[str, Any], *, jti: str, now: datetime, lifetime: timedelta
) -> str:
    """Return a token in which ``agency_id`` speaks to ``audience`` from ``now`` for ``lifetime``, signed by its API key."""
    require_use(private_jwk, KeyUse.API)
    issued_at = int(now.timestamp())
    claims = {
        "iss": agency_id,
        "sub": agency_id,
        "aud": audience,
        "iat": issued_at,
        "exp": issued_at + int(lifetime.total_seconds()),
        "jti": jti,
    }
    header = {"alg": ED25519, "kid": compute_thumbprint(private_jwk), "typ": "JWT"}
    signed = f"{encode_base64url(canonical_bytes(header))}.{encode_base64url(canonical_bytes(claims))}"
    signature = load_ed25519_private_key(private_jwk).sign(signed.encode("ascii"))
    return f"{signed}.{encode_base64url(signature)}"


def peek_issuer(token: str) -> str:
    """Return the issuer that an unverified token claims: only to find out whose key to verify it with.

    Raises:
        NotAuthenticated: it is not a token.
    """
    try:
        _, claims, _, _ = _split(token)
    except (SafelaneError, ValueError):
        raise NotAuthenticated from None
    return str(claims["iss"])


def verify_jwt(
    token: str,
    public_jwk: Mapping[str, Any],
    *,
    audience: str,
    now: datetime,
    leeway: timedelta = timedelta(seconds=30),
    max_lifetime: timedelta = timedelta(minutes=5),
) -> dict[str, Any]:
    """Verify a token and return its claims. The caller must still accept each ``jti`` only once.

    Raises:
        NotAuthenticated: the signature, key, audience, time or form is wrong; the error never says which.
    """
    try:
        header, claims, signed, signature = _split(token)
        require_use(public_jwk, KeyUse.API)
        load_ed25519_public_key(public_jwk).verify(signature, signed)
    except (SafelaneError, InvalidSignature, ValueError):
        raise NotAuthenticated from None
    moment, slack = now.timestamp(), leeway.total_seconds()
    fits = (
        header == {"alg": ED25519, "kid": compute_thumbprint(public_jwk), "typ": "JWT"}
        and claims["iss"] == claims["sub"]
        and claims["aud"] == audience
        and claims["iat"] <= moment + slack
        and moment - slack < claims["exp"]
        and 0 < claims["exp"] - claims["iat"] <= max_lifetime.total_seconds()
    )
    if not fits:
        raise NotAuthenticated
    return claims


def _split(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    if len(token) > _MAX_TOKEN_BYTES:
        raise NotAuthenticated
    head, body, tail = token.split(".")
    header = parse_object(decode_base64url(head), max_bytes=_MAX_TOKEN_BYTES, max_depth=1)
    claims = parse_object(decode_base64url(body), max_bytes=_MAX_TOKEN_BYTES, max_depth=1)
    strings = all(isinstance(claims.get(name), str) for name in ("iss", "sub", "aud", "jti"))
    numbers = all(type(claims.get(name)) is int for name in ("iat", "exp"))
    if claims.keys() != _CLAIMS or not strings or not numbers:
        raise NotAuthenticated
    return header, claims, f"{head}.{body}".encode("ascii"), decode_base64url(tail)
