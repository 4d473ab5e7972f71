"""The trust file: what an agency or the hub pins of its partnership's authority, handed over by the officers and never by the hub."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.canonical import canonical_bytes, parse_object, sha256_base64url
from schemas.errors import ConfigInvalid, SafelaneError
from schemas.keys import VerifyingKeys, compute_thumbprint
from schemas.wire_types import DirectoryCode

MAX_TRUST_BYTES = 64 * 1024


class TrustFile(BaseModel):
    """The authority's public pair, the fingerprint that people compare, the pinned successor, and the CA of TLS."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partnership: DirectoryCode
    authority: tuple[dict[str, Any], dict[str, Any]]
    """JWKs: Ed25519, ML-DSA-65."""
    thumbprint: str = ""
    """SHA-256 over both thumbprints, hexadecimal; read out by telephone when the file is handed over."""
    successor: str = ""
    """Digest of the next authority's public pair (``digest_pair``), pinned before it is ever needed."""
    earlier: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = ()
    """The pairs that the authority had before, oldest first: good for the directories of their time alone."""
    ca_pem: str

    def authority_keys(self) -> tuple[VerifyingKeys, ...]:
        """Return the pinned keys, parsed.

        Raises:
            ConfigInvalid: they are not such keys.
        """
        try:
            return (VerifyingKeys.from_jwks(*self.authority),)
        except SafelaneError:
            raise ConfigInvalid("does not hold the authority's keys", field="trust_file") from None

    def every_authority(self) -> tuple[VerifyingKeys, ...]:
        """Return the authority's pairs in the order in which they took over, the pinned one last: for what was signed long ago.

        Raises:
            ConfigInvalid: they are not such keys.
        """
        try:
            return (*(VerifyingKeys.from_jwks(*pair) for pair in self.earlier), *self.authority_keys())
        except SafelaneError:
            raise ConfigInvalid("does not hold the authority's earlier keys", field="trust_file") from None


def parse_trust_file(data: bytes) -> TrustFile:
    """Read a trust file; the keys in it are checked too.

    Raises:
        ConfigInvalid: it is not of the form.
    """
    try:
        trust = TrustFile.model_validate(parse_object(data, max_bytes=MAX_TRUST_BYTES, field="trust_file"))
    except (SafelaneError, ValidationError):
        raise ConfigInvalid("is not a trust file", field="trust_file") from None
    trust.every_authority()
    return trust


def digest_pair(jwks: Sequence[Mapping[str, Any]]) -> str:
    """Return the digest by which a pair of public keys is pinned: SHA-256 over its two thumbprints, base64url."""
    return sha256_base64url(canonical_bytes([compute_thumbprint(jwk) for jwk in jwks]))
