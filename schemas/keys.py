"""Keys as JWKs: identity pairs that sign, keys for the API, for witnesses and for encryption, each for one use only.

Key forms: Ed25519 is ``OKP`` (RFC 8037) with ``alg: Ed25519`` (RFC 9864); ML-DSA-65 and, for witnesses, ML-DSA-44 (RFC 9964) and HPKE-9-KE
(draft-ietf-jose-hpke-pq-pqt) are ``AKP``, whose ``priv`` is a 32-byte seed. Key ids are RFC 7638 thumbprints. A key says what it is for in ``safelane_use``, outside the thumbprint.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import shake_256
from secrets import token_bytes
from typing import Any, Self, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA44PrivateKey,
    MLDSA44PublicKey,
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey

from schemas.canonical import canonical_bytes, decode_base64url, encode_base64url, sha256_base64url
from schemas.errors import MalformedMessage

Jwk = dict[str, Any]

ED25519 = "Ed25519"
ML_DSA_44 = "ML-DSA-44"
ML_DSA_65 = "ML-DSA-65"
HPKE_9_KE = "HPKE-9-KE"

_SEED_BYTES = 32
_MLKEM768_PUBLIC_BYTES = 1184
_PRIVATE_MEMBERS = frozenset({"d", "priv"})
_THUMBPRINT_MEMBERS = {"OKP": ("crv", "kty", "x"), "AKP": ("alg", "kty", "pub")}
_BAD_KEY = (ValueError, TypeError, KeyError, UnsupportedAlgorithm)
K = TypeVar("K")


class KeyUse(StrEnum):
    """What a key is for. A key of one use is refused for another (DESIGN, The envelope)."""

    SIGNING = "signing"
    API = "api"
    WITNESS = "witness"
    ENCRYPTION = "encryption"
    LOG = "log"
    APPROVAL = "approval"
    AUTHORITY = "authority"


def compute_thumbprint(jwk: Mapping[str, Any]) -> str:
    """Return the RFC 7638 SHA-256 thumbprint of a public or private JWK, base64url (43 characters).

    Raises:
        MalformedMessage: the key type is unknown or a required member is missing.
    """
    members = _THUMBPRINT_MEMBERS.get(str(jwk.get("kty")))
    if members is None or any(not isinstance(jwk.get(name), str) for name in members):
        raise MalformedMessage("is not a JWK of a known key type", field="jwk")
    return sha256_base64url(canonical_bytes({name: jwk[name] for name in members}))


def public_part(jwk: Mapping[str, Any]) -> Jwk:
    """Return ``jwk`` without its private members."""
    return {name: value for name, value in jwk.items() if name not in _PRIVATE_MEMBERS}


def require_use(jwk: Mapping[str, Any], use: KeyUse) -> None:
    """Refuse a key that is marked for another use.

    Raises:
        MalformedMessage: it is.
    """
    if jwk.get("safelane_use", use.value) != use.value:
        raise MalformedMessage(f"is not a key for {use.value}", field="jwk")


def require_distinct_keys(jwks: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a set in which one key appears twice: each use has a key of its own.

    Raises:
        MalformedMessage: a key is used twice.
    """
    thumbprints = [compute_thumbprint(jwk) for jwk in jwks]
    if len(set(thumbprints)) != len(thumbprints):
        raise MalformedMessage("one key serves two uses", field="jwk")


def generate_ed25519_jwk(use: KeyUse, *, seed: bytes | None = None) -> Jwk:
    """Return a private Ed25519 JWK for ``use``; ``seed`` (32 bytes) fixes it, for vectors."""
    private = Ed25519PrivateKey.from_private_bytes(seed) if seed is not None else Ed25519PrivateKey.generate()
    jwk = {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": ED25519,
        "use": "sig",
        "safelane_use": use.value,
        "x": encode_base64url(private.public_key().public_bytes_raw()),
        "d": encode_base64url(private.private_bytes_raw()),
    }
    return jwk | {"kid": compute_thumbprint(jwk)}


def generate_ml_dsa_65_jwk(use: KeyUse, *, seed: bytes | None = None) -> Jwk:
    """Return a private ML-DSA-65 JWK (RFC 9964) for ``use``; ``seed`` is the 32-byte FIPS 204 seed."""
    private = MLDSA65PrivateKey.from_seed_bytes(seed if seed is not None else token_bytes(_SEED_BYTES))
    return _write_ml_dsa_jwk(ML_DSA_65, use, private)


def generate_ml_dsa_44_jwk(use: KeyUse, *, seed: bytes | None = None) -> Jwk:
    """Return a private ML-DSA-44 JWK (RFC 9964) for ``use``: C2SP's tlog-cosignature asks for this size. ``seed`` as above."""
    private = MLDSA44PrivateKey.from_seed_bytes(seed if seed is not None else token_bytes(_SEED_BYTES))
    return _write_ml_dsa_jwk(ML_DSA_44, use, private)


def generate_encryption_jwk(*, seed: bytes | None = None) -> Jwk:
    """Return a private HPKE-9-KE JWK: ``priv`` is the 32-byte seed, ``pub`` ML-KEM-768 then X25519 public bytes (1,216)."""
    seed = seed if seed is not None else token_bytes(_SEED_BYTES)
    mlkem, x25519 = _expand_hybrid_seed(seed)
    public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
    jwk = {
        "kty": "AKP",
        "alg": HPKE_9_KE,
        "use": "enc",
        "safelane_use": KeyUse.ENCRYPTION.value,
        "pub": encode_base64url(public),
        "priv": encode_base64url(seed),
    }
    return jwk | {"kid": compute_thumbprint(jwk)}


def load_hybrid_private_key(jwk: Mapping[str, Any]) -> MLKEM768X25519PrivateKey:
    """Load an HPKE-9-KE private key; where the JWK has ``pub`` it must be the seed's own.

    Raises:
        MalformedMessage: it is not such a key.
    """
    _require_form(jwk, "AKP", HPKE_9_KE, ("priv",))
    seed = decode_base64url(jwk["priv"], field="jwk.priv")
    if len(seed) != _SEED_BYTES:
        raise MalformedMessage("must be a 32-byte seed", field="jwk.priv")
    mlkem, x25519 = _expand_hybrid_seed(seed)
    public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
    if "pub" in jwk and decode_base64url(jwk["pub"], field="jwk.pub") != public:
        raise MalformedMessage("does not belong to the private key", field="jwk.pub")
    return MLKEM768X25519PrivateKey(mlkem, x25519)


def load_hybrid_public_key(jwk: Mapping[str, Any]) -> MLKEM768X25519PublicKey:
    """Load an HPKE-9-KE public key.

    Raises:
        MalformedMessage: it is not such a key.
    """
    _require_form(jwk, "AKP", HPKE_9_KE, ("pub",))
    raw = decode_base64url(jwk["pub"], field="jwk.pub")
    try:
        return MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM768_PUBLIC_BYTES]),
            X25519PublicKey.from_public_bytes(raw[_MLKEM768_PUBLIC_BYTES:]),
        )
    except _BAD_KEY:
        raise MalformedMessage("is not an HPKE-9-KE public key", field="jwk.pub") from None


def load_ed25519_private_key(jwk: Mapping[str, Any]) -> Ed25519PrivateKey:
    """Load an Ed25519 private key.

    Raises:
        MalformedMessage: it is not such a key.
    """
    return _load(jwk, ("OKP", ED25519, "d"), Ed25519PrivateKey.from_private_bytes, "an Ed25519 private key")


def load_ed25519_public_key(jwk: Mapping[str, Any]) -> Ed25519PublicKey:
    """Load an Ed25519 public key.

    Raises:
        MalformedMessage: it is not such a key.
    """
    return _load(jwk, ("OKP", ED25519, "x"), Ed25519PublicKey.from_public_bytes, "an Ed25519 public key")


def load_ml_dsa_44_private_key(jwk: Mapping[str, Any]) -> MLDSA44PrivateKey:
    """Load an ML-DSA-44 private key from its seed.

    Raises:
        MalformedMessage: it is not such a key.
    """
    return _load(jwk, ("AKP", ML_DSA_44, "priv"), MLDSA44PrivateKey.from_seed_bytes, "an ML-DSA-44 private key")


def load_ml_dsa_44_public_key(jwk: Mapping[str, Any]) -> MLDSA44PublicKey:
    """Load an ML-DSA-44 public key (1,312 bytes).

    Raises:
        MalformedMessage: it is not such a key.
    """
    return _load(jwk, ("AKP", ML_DSA_44, "pub"), MLDSA44PublicKey.from_public_bytes, "an ML-DSA-44 public key")


@dataclass(frozen=True, slots=True)
class VerifyingKeys:
    """An identity's public pair, parsed once. ``protected`` caches the protected headers that this pair's signatures carry, by ``typ``."""

    ed25519: Ed25519PublicKey
    ml_dsa_65: MLDSA65PublicKey
    ed25519_kid: str
    ml_dsa_65_kid: str
    protected: dict[str, tuple[str, str]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_jwks(cls, ed25519_jwk: Mapping[str, Any], ml_dsa_65_jwk: Mapping[str, Any]) -> Self:
        """Load the pair. Key ids are computed, never taken from the JWK.

        Raises:
            MalformedMessage: one of them is not such a key.
        """
        ml_dsa_65 = _load(
            ml_dsa_65_jwk, ("AKP", ML_DSA_65, "pub"), MLDSA65PublicKey.from_public_bytes, "an ML-DSA-65 public key"
        )
        return cls(
            load_ed25519_public_key(ed25519_jwk),
            ml_dsa_65,
            compute_thumbprint(ed25519_jwk),
            compute_thumbprint(ml_dsa_65_jwk),
        )

    def protected_headers(self, typ: str) -> tuple[str, str]:
        """Return the two protected headers, base64url, Ed25519 first, that signatures of this pair carry for ``typ``."""
        found = self.protected.get(typ)
        if found is None:
            found = (
                encode_base64url(canonical_bytes({"alg": ED25519, "kid": self.ed25519_kid, "typ": typ})),
                encode_base64url(canonical_bytes({"alg": ML_DSA_65, "kid": self.ml_dsa_65_kid, "typ": typ})),
            )
            self.protected[typ] = found
        return found


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """An identity's private pair, parsed once, and the public pair that verifies it."""

    ed25519: Ed25519PrivateKey = field(repr=False)
    ml_dsa_65: MLDSA65PrivateKey = field(repr=False)
    public: VerifyingKeys

    @classmethod
    def from_jwks(cls, ed25519_jwk: Mapping[str, Any], ml_dsa_65_jwk: Mapping[str, Any]) -> Self:
        """Load a private pair.

        Raises:
            MalformedMessage: one of them is not such a key, or its public part is not its own.
        """
        _require_form(ml_dsa_65_jwk, "AKP", ML_DSA_65, ("pub", "priv"))
        ed25519 = load_ed25519_private_key(ed25519_jwk)
        ml_dsa_65 = _load(
            ml_dsa_65_jwk, ("AKP", ML_DSA_65, "priv"), MLDSA65PrivateKey.from_seed_bytes, "an ML-DSA-65 private key"
        )
        public = VerifyingKeys.from_jwks(ed25519_jwk, ml_dsa_65_jwk)
        if (
            public.ed25519.public_bytes_raw() != ed25519.public_key().public_bytes_raw()
            or public.ml_dsa_65.public_bytes_raw() != ml_dsa_65.public_key().public_bytes_raw()
        ):
            raise MalformedMessage("a public part does not belong to its private key", field="jwk")
        return cls(ed25519, ml_dsa_65, public)

    @classmethod
    def generate(cls, use: KeyUse = KeyUse.SIGNING) -> tuple[Self, tuple[Jwk, Jwk]]:
        """Make a fresh pair; return it and its two private JWKs (Ed25519 first), which the caller must keep safe."""
        jwks = (generate_ed25519_jwk(use), generate_ml_dsa_65_jwk(use))
        return cls.from_jwks(*jwks), jwks


def pair_verifying_keys(
    jwks: Sequence[Mapping[str, Any]], *, use: KeyUse = KeyUse.SIGNING, revoked: Collection[str] = ()
) -> tuple[VerifyingKeys, ...]:
    """Load a directory's flat list of signing keys: Ed25519, ML-DSA-65, Ed25519, ML-DSA-65 … A pair with a revoked half is left out.

    Raises:
        MalformedMessage: the list is not made of such pairs, or a key is for another use.
    """
    if len(jwks) % 2:
        raise MalformedMessage("signing keys come in pairs", field="signing")
    for jwk in jwks:
        require_use(jwk, use)
    pairs = [VerifyingKeys.from_jwks(jwks[i], jwks[i + 1]) for i in range(0, len(jwks), 2)]
    return tuple(p for p in pairs if p.ed25519_kid not in revoked and p.ml_dsa_65_kid not in revoked)


def _load(jwk: Mapping[str, Any], form: tuple[str, str, str], read: Callable[[bytes], K], what: str) -> K:
    """Load the key that lies in one member of a JWK; ``form`` is its type, algorithm and that member."""
    kind, algorithm, member = form
    _require_form(jwk, kind, algorithm, (member,))
    try:
        return read(decode_base64url(jwk[member], field=f"jwk.{member}"))
    except _BAD_KEY:
        raise MalformedMessage(f"is not {what}", field=f"jwk.{member}") from None


def _write_ml_dsa_jwk(alg: str, use: KeyUse, private: MLDSA44PrivateKey | MLDSA65PrivateKey) -> Jwk:
    jwk = {
        "kty": "AKP",
        "alg": alg,
        "use": "sig",
        "safelane_use": use.value,
        "pub": encode_base64url(private.public_key().public_bytes_raw()),
        "priv": encode_base64url(private.private_bytes_raw()),
    }
    return jwk | {"kid": compute_thumbprint(jwk)}


def _expand_hybrid_seed(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    # draft-ietf-hpke-pq: SHAKE256(seed, 96) gives the 64-byte ML-KEM seed (d, z), then the X25519 scalar.
    expanded = shake_256(seed).digest(96)
    return MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])


def _require_form(jwk: Mapping[str, Any], kty: str, alg: str, members: tuple[str, ...]) -> None:
    curve_fits = kty != "OKP" or jwk.get("crv") == alg
    if jwk.get("kty") != kty or jwk.get("alg", alg) != alg or not curve_fits:
        raise MalformedMessage(f"is not a {alg} key", field="jwk")
    if kty == "AKP" and "alg" not in jwk:
        raise MalformedMessage("an AKP key must name its algorithm (RFC 9964)", field="jwk.alg")
    if any(not isinstance(jwk.get(name), str) for name in members):
        raise MalformedMessage(f"lacks {' or '.join(members)}", field="jwk")
