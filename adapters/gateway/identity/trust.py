"""The trust file on this machine: received out of band, it says whom the agency believes before it talks to any server."""

from pathlib import Path

from schemas.errors import ConfigInvalid
from schemas.trust import TrustFile, parse_trust_file


def read_trust_file(path: Path) -> TrustFile:
    """Read the trust file.

    Raises:
        ConfigInvalid: it cannot be read or is not of its form.
    """
    try:
        return parse_trust_file(path.read_bytes())
    except OSError:
        raise ConfigInvalid("the file cannot be read", field="trust_file") from None
