"""What the console encrypts and authenticates with its own secret: one-time-code secrets at rest, cookies of visitors, form tokens.

Every purpose has a key of its own (HKDF, RFC 5869); what was sealed for one purpose opens for no other.
"""

import base64
import binascii
import hmac
from secrets import token_bytes
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.errors import ConfigInvalid, MalformedMessage

SECRET_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class Sealer:
    """Seals (AES-256-GCM), opens and authenticates (HMAC-SHA-256) under one secret."""

    def __init__(self, secret: bytes) -> None:
        """Keep the secret.

        Raises:
            ConfigInvalid: it is not 32 bytes long.
        """
        if len(secret) != SECRET_BYTES:
            raise ConfigInvalid("must hold 32 bytes in base64", field="console.secret_file")
        self._secret = secret

    @classmethod
    def from_text(cls, text: str) -> "Sealer":
        """Return the sealer of a secret in base64.

        Raises:
            ConfigInvalid: it is not 32 bytes in base64.
        """
        try:
            return cls(base64.b64decode(text, validate=True))
        except binascii.Error:
            raise ConfigInvalid("must hold 32 bytes in base64", field="console.secret_file") from None

    def seal(self, purpose: str, plain: bytes) -> bytes:
        """Encrypt ``plain`` for ``purpose``."""
        nonce = token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self._derive(purpose)).encrypt(nonce, plain, purpose.encode())

    def open(self, purpose: str, sealed: bytes) -> bytes:
        """Decrypt what ``seal`` made for ``purpose``.

        Raises:
            MalformedMessage: it was not made by us for this purpose.
        """
        try:
            return AESGCM(self._derive(purpose)).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose.encode())
        except (InvalidTag, ValueError):
            raise MalformedMessage("was not made here", field=purpose) from None

    def authenticate(self, purpose: str, data: bytes) -> str:
        """Return the tag of ``data`` for ``purpose``, hexadecimal."""
        return hmac.digest(self._derive(f"{purpose} tag"), data, "sha256").hex()

    def is_authentic(self, purpose: str, data: bytes, tag: str) -> bool:
        """Tell, in constant time, whether ``tag`` is that of ``data``."""
        return hmac.compare_digest(self.authenticate(purpose, data).encode(), tag.encode("utf-8", "replace"))

    def _derive(self, purpose: str) -> bytes:
        info = f"safelane console: {purpose}".encode()
        return HKDF(hashes.SHA256(), length=32, salt=None, info=info).derive(self._secret)
