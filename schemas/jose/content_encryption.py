"""Content encryption of JWE (RFC 7518 section 5). Safelane writes ``A256GCM`` only; the others are read, so that any JWE of the HPKE drafts opens."""

import hmac
from hashlib import sha256, sha384, sha512
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from schemas.errors import Rejected

A256GCM: Final = "A256GCM"
KEY_BYTES: Final = {
    "A128GCM": 16,
    "A192GCM": 24,
    A256GCM: 32,
    "A128CBC-HS256": 32,
    "A192CBC-HS384": 48,
    "A256CBC-HS512": 64,
}
"""Content ciphers that can be read, and the bytes of their keys."""

GCM_IV_BYTES: Final = 12
GCM_TAG_BYTES: Final = 16
_HASHES = {"A128CBC-HS256": sha256, "A192CBC-HS384": sha384, "A256CBC-HS512": sha512}
_BLOCK_BITS = 128


class DecryptionFailed(Rejected):
    """It does not open with this key: wrong key, altered bytes or a foreign algorithm; the error never says which."""

    code = "decryption-failed"
    status = 422
    public_message = "The message cannot be opened with this key."


def open_content(enc: str, key: bytes, iv: bytes, sealed: tuple[bytes, bytes], aad: bytes) -> bytes:
    """Open a JWE's content. ``sealed`` is (ciphertext, tag), ``enc`` one of ``KEY_BYTES``.

    Raises:
        DecryptionFailed: it does not open.
    """
    if len(key) != KEY_BYTES[enc]:
        raise DecryptionFailed
    ciphertext, tag = sealed
    if enc in _HASHES:
        return _open_cbc(enc, key, iv, ciphertext, tag, aad)
    if len(iv) != GCM_IV_BYTES or len(tag) != GCM_TAG_BYTES:
        raise DecryptionFailed
    try:
        return AESGCM(key).decrypt(iv, ciphertext + tag, aad)
    except InvalidTag:
        raise DecryptionFailed from None


def _open_cbc(enc: str, key: bytes, iv: bytes, ciphertext: bytes, tag: bytes, aad: bytes) -> bytes:  # noqa: PLR0917
    # RFC 7518 section 5.2.2.2: the tag is checked before anything is decrypted.
    half = len(key) // 2
    signed = aad + iv + ciphertext + (len(aad) * 8).to_bytes(8)
    expected = hmac.new(key[:half], signed, _HASHES[enc]).digest()[:half]
    if not hmac.compare_digest(expected, tag) or len(iv) != _BLOCK_BITS // 8:
        raise DecryptionFailed
    decryptor = Cipher(AES(key[half:]), CBC(iv)).decryptor()
    unpadder = PKCS7(_BLOCK_BITS).unpadder()
    try:
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        raise DecryptionFailed from None
