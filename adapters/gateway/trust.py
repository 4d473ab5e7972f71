"""What an agency trusts before it talks to any server: the authority's keys and the partnership's CA, from a file received out of band."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.canonical import canonical_bytes, parse_object, sha256_base64url
from schemas.errors import ConfigInvalid, SafelaneError
from schemas.header import Code
from schemas.keys import VerifyingKeys, compute_thumbprint

MAX_TRUST_BYTES = 64 * 1024


class TrustFile(BaseModel):
    """The trust file as ``safelane authority init`` writes it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    partnership: Code
    authority: tuple[dict[str, Any], dict[str, Any]]
    """The authority's public pair, Ed25519 then ML-DSA-65."""
    thumbprint: str = ""
    successor: str = ""
    """Digest of the next authority's public pair (``digest_pair``), pinned before it is ever needed."""
    ca_pem: str

    def authority_keys(self) -> VerifyingKeys:
        """Return the pair that signs directories and welcomes.

        Raises:
            ConfigInvalid: a key is not of its form.
        """
        try:
            return VerifyingKeys.from_jwks(*self.authority)
        except SafelaneError:
            raise ConfigInvalid("does not hold the authority's keys", field="trust_file") from None


def digest_pair(jwks: Sequence[Mapping[str, Any]]) -> str:
    """Return the digest by which a pair of public keys is pinned: SHA-256 over its two thumbprints, base64url."""
    return sha256_base64url(canonical_bytes([compute_thumbprint(jwk) for jwk in jwks]))


def read_trust_file(path: Path) -> TrustFile:
    """Read the trust file.

    Raises:
        ConfigInvalid: it cannot be read or is not of its form.
    """
    try:
        data = path.read_bytes()
        trust = TrustFile.model_validate(parse_object(data, max_bytes=MAX_TRUST_BYTES, field="trust_file"))
    except OSError:
        raise ConfigInvalid("the file cannot be read", field="trust_file") from None
    except (SafelaneError, ValidationError):
        raise ConfigInvalid("is not a trust file", field="trust_file") from None
    trust.authority_keys()
    return trust
