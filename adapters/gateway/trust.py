"""What an agency trusts before it talks to any server: the authority's keys and the partnership's CA, from a file received out of band."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.canonical import parse_object
from schemas.errors import ConfigInvalid, SafelaneError
from schemas.header import Code
from schemas.keys import KeyUse, VerifyingKeys, pair_verifying_keys

MAX_TRUST_BYTES = 64 * 1024


class TrustFile(BaseModel):
    """The trust file as ``safelane authority init`` writes it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    partnership: Code
    authority: tuple[dict[str, Any], dict[str, Any]]
    """The authority's public pair, Ed25519 then ML-DSA-65."""
    thumbprint: str = ""
    successor: Any = None
    """The pinned next authority: its public pair, or nothing usable yet (then a change of authority needs a new trust file)."""
    ca_pem: str

    def authority_keys(self) -> tuple[VerifyingKeys, ...]:
        """Return the pairs that may sign a directory: the authority's own and, where it is pinned, its successor's.

        Raises:
            ConfigInvalid: a key is not of its form.
        """
        try:
            keys = pair_verifying_keys(self.authority, use=KeyUse.AUTHORITY)
            if (
                isinstance(self.successor, Sequence)
                and not isinstance(self.successor, str)
                and len(self.successor) == 2
            ):
                keys += pair_verifying_keys(self.successor, use=KeyUse.AUTHORITY)
        except SafelaneError:
            raise ConfigInvalid("does not hold the authority's keys", field="trust_file") from None
        return keys


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
