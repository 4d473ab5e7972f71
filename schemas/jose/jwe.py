"""Encryption: JWE (RFC 7516) in two narrow forms.

- A section is a compact JWE, ``dir`` with ``A256GCM``, under a key of its own.
- A keyring is a flattened JWE, ``HPKE-9-KE`` with ``A256GCM``: HPKE Key Encryption of draft-ietf-jose-hpke-encrypt (section 6) with the suite of
  draft-ietf-jose-hpke-pq-pqt (MLKEM768-X25519, SHAKE256, AES-256-GCM). HPKE's ``info`` is the Recipient_structure with no extra info, its ``aad``
  is empty, the encapsulated secret is the header parameter ``ek``.

``jwe_decrypt`` opens any HPKE-9-KE flattened JWE, by whomever it was made.
"""

from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from schemas.canonical import canonical_bytes, decode_base64url, encode_base64url, parse_object
from schemas.errors import MalformedMessage
from schemas.jose.content_encryption import (
    A256GCM,
    GCM_IV_BYTES,
    GCM_TAG_BYTES,
    KEY_BYTES,
    DecryptionFailed,
    open_content,
)
from schemas.keys import HPKE_9_KE, load_hybrid_private_key, load_hybrid_public_key

DIRECT = "dir"

_MAX_HEADER_BYTES = 8192
_MEMBERS = frozenset({"protected", "encrypted_key", "iv", "ciphertext", "tag"})
_OPTIONAL_MEMBERS = frozenset({"aad", "header", "unprotected"})
_REFUSED_PARAMETERS = frozenset({"zip", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "crit", "psk_id", "epk"})

RandomBytes = Callable[[int], bytes]


def encrypt_direct(plaintext: bytes, key: bytes, header: Mapping[str, Any], *, rng: RandomBytes) -> str:
    """Encrypt under ``key`` (32 bytes) as a compact JWE, ``dir`` + ``A256GCM``, with ``header`` added to the protected header."""
    protected = encode_direct_header(header)
    iv = rng(GCM_IV_BYTES)
    sealed = AESGCM(key).encrypt(iv, plaintext, protected.encode("ascii"))
    parts = (
        protected,
        "",
        encode_base64url(iv),
        encode_base64url(sealed[:-GCM_TAG_BYTES]),
        encode_base64url(sealed[-GCM_TAG_BYTES:]),
    )
    return ".".join(parts)


def encode_direct_header(header: Mapping[str, Any]) -> str:
    """Return the base64url protected header that ``encrypt_direct`` writes for ``header``."""
    return encode_base64url(canonical_bytes({**header, "alg": DIRECT, "enc": A256GCM}))


def read_direct_header(compact: str, *, field: str) -> dict[str, Any]:
    """Return the protected header of a compact ``dir`` + ``A256GCM`` JWE, without opening it.

    Raises:
        MalformedMessage: it is not of that form, or its header holds a refused parameter.
    """
    protected, dots, _ = compact.partition("..")
    if not dots or "." in protected:
        raise MalformedMessage("is not a compact JWE with a direct key", field=field)
    header = _read_header(protected, field)
    if header.get("alg") != DIRECT or header.get("enc") != A256GCM:
        raise MalformedMessage("must use dir and A256GCM", field=field)
    return header


def decrypt_direct(compact: str, key: bytes, *, field: str) -> bytes:
    """Open a compact ``dir`` + ``A256GCM`` JWE.

    Raises:
        MalformedMessage: it is not of that form.
        DecryptionFailed: it does not open.
    """
    read_direct_header(compact, field=field)
    parts = compact.split(".")
    if len(parts) != 5:
        raise MalformedMessage("is not a compact JWE", field=field)
    iv, ciphertext, tag = (decode_base64url(part, field=field) for part in parts[2:])
    return open_content(A256GCM, key, iv, (ciphertext, tag), parts[0].encode("ascii"))


def encrypt_hpke(
    plaintext: bytes, recipient_jwk: Mapping[str, Any], kid: str, header: Mapping[str, Any], *, rng: RandomBytes
) -> dict[str, str]:
    """Encrypt to one recipient as a flattened JWE, ``HPKE-9-KE`` + ``A256GCM``, with ``header`` added to the protected header.

    Raises:
        MalformedMessage: the recipient's key is not an HPKE-9-KE key.
    """
    cek = rng(KEY_BYTES[A256GCM])
    sealed_key = _suite().encrypt(cek, load_hybrid_public_key(recipient_jwk), _recipient_structure(A256GCM))
    enc_length = KEM.MLKEM768_X25519.enc_length()
    protected = encode_base64url(
        canonical_bytes(
            {**header, "alg": HPKE_9_KE, "enc": A256GCM, "kid": kid, "ek": encode_base64url(sealed_key[:enc_length])}
        )
    )
    iv = rng(GCM_IV_BYTES)
    sealed = AESGCM(cek).encrypt(iv, plaintext, protected.encode("ascii"))
    return {
        "protected": protected,
        "encrypted_key": encode_base64url(sealed_key[enc_length:]),
        "iv": encode_base64url(iv),
        "ciphertext": encode_base64url(sealed[:-GCM_TAG_BYTES]),
        "tag": encode_base64url(sealed[-GCM_TAG_BYTES:]),
    }


def jwe_decrypt(jwe: Mapping[str, Any], private_jwk: Mapping[str, Any]) -> bytes:
    """Open an HPKE-9-KE flattened JWE (JWE AAD and unprotected headers allowed) and return its plaintext.

    Raises:
        MalformedMessage: the JWE or the key is not of the form.
        DecryptionFailed: it does not open with this key.
    """
    header = read_jose_header(jwe)
    enc = str(header.get("enc"))
    if header.get("alg") != HPKE_9_KE or enc not in KEY_BYTES:
        raise MalformedMessage("must use HPKE-9-KE and a registered content cipher", field="protected")
    ek = decode_base64url(_text(header, "ek"), field="ek")
    if len(ek) != KEM.MLKEM768_X25519.enc_length():
        raise MalformedMessage("is not an encapsulated secret of this suite", field="ek")
    private_key = load_hybrid_private_key(private_jwk)
    encrypted_key = decode_base64url(_text(jwe, "encrypted_key"), field="encrypted_key")
    try:
        cek = _suite().decrypt(ek + encrypted_key, private_key, _recipient_structure(enc))
    except (InvalidTag, ValueError):
        raise DecryptionFailed from None
    aad = str(jwe.get("protected", "")).encode("ascii")
    if "aad" in jwe:
        aad += b"." + encode_base64url(decode_base64url(_text(jwe, "aad"), field="aad")).encode("ascii")
    iv, ciphertext, tag = (decode_base64url(_text(jwe, name), field=name) for name in ("iv", "ciphertext", "tag"))
    return open_content(enc, cek, iv, (ciphertext, tag), aad)


def read_jose_header(jwe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JOSE header of a flattened JWE: protected, shared and per-recipient parameters, which must not overlap (RFC 7516 section 4).

    Raises:
        MalformedMessage: a member is missing or foreign, a parameter is repeated or refused.
    """
    required = _MEMBERS - {"protected"}
    if not required <= jwe.keys() or not jwe.keys() <= _MEMBERS | _OPTIONAL_MEMBERS:
        raise MalformedMessage("is not a flattened JWE", field="jwe")
    header = _read_header(_text(jwe, "protected"), "protected") if "protected" in jwe else {}
    for name in ("unprotected", "header"):
        extra = jwe.get(name, {})
        if not isinstance(extra, dict) or header.keys() & extra.keys():
            raise MalformedMessage("repeats a header parameter", field=name)
        header |= extra
    if header.keys() & _REFUSED_PARAMETERS:
        raise MalformedMessage("holds a header parameter that is refused", field="protected")
    return header


def compact_form(jwe: Mapping[str, Any]) -> bytes:
    """Return the compact serialization of a flattened JWE without AAD and unprotected headers: what its digest is taken over.

    Raises:
        MalformedMessage: it has them, or lacks a member.
    """
    if jwe.keys() != _MEMBERS:
        raise MalformedMessage("is not a flattened JWE with protected headers only", field="jwe")
    try:
        return ".".join(
            (jwe["protected"], jwe["encrypted_key"], jwe["iv"], jwe["ciphertext"], jwe["tag"]),
        ).encode("ascii")
    except UnicodeEncodeError:
        raise MalformedMessage("is not base64url", field="jwe") from None
    except TypeError:
        raise MalformedMessage("must be a string", field="jwe") from None


def _read_header(protected: str, field: str) -> dict[str, Any]:
    header = parse_object(
        decode_base64url(protected, field=field), max_bytes=_MAX_HEADER_BYTES, max_depth=4, field=field
    )
    if header.keys() & _REFUSED_PARAMETERS:
        raise MalformedMessage("holds a header parameter that is refused", field=field)
    return header


def _suite() -> Suite:
    return Suite(KEM.MLKEM768_X25519, KDF.SHAKE256, AEAD.AES_256_GCM)


def _recipient_structure(enc: str) -> bytes:
    # draft-ietf-jose-hpke-encrypt section 6.1, with empty recipient_extra_info.
    return b"JOSE-HPKE rcpt\xff" + enc.encode("ascii") + b"\xff"


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise MalformedMessage("must be a string", field=name)
    return value
