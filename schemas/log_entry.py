"""Entries of the message log: clear events as they are, events about people and referrals as salted commitments.

The salt makes a guess at an event impossible to confirm; erasing event and salt leaves every proof intact (crypto-erasure).
"""

from typing import Final

from schemas.canonical import canonical_bytes, sha256_base64url
from schemas.errors import MalformedMessage

SALT_BYTES: Final = 32


def commit_event(event: bytes, salt: bytes) -> bytes:
    """Return the log entry of a salted event: canonical JSON ``{"commitment": base64url SHA-256(salt then event)}``.

    Raises:
        MalformedMessage: the salt is not 32 bytes.
    """
    if len(salt) != SALT_BYTES:
        raise MalformedMessage(f"must be {SALT_BYTES} bytes", field="salt")
    return canonical_bytes({"commitment": sha256_base64url(salt + event)})
