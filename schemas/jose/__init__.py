"""The narrow JOSE profile: JWS with two signatures, JWE for sections and keyrings, JWT for the API. Built on ``cryptography`` alone."""

from schemas.jose.content_encryption import DecryptionFailed
from schemas.jose.jwe import (
    compact_form,
    decrypt_direct,
    encode_direct_header,
    encrypt_direct,
    encrypt_hpke,
    jwe_decrypt,
    read_direct_header,
    read_jose_header,
)
from schemas.jose.jws import encode_jws, peek_payload, sign_jws, verify_jws
from schemas.jose.jwt import peek_issuer, sign_jwt, verify_jwt

__all__ = [
    "DecryptionFailed",
    "compact_form",
    "decrypt_direct",
    "encode_direct_header",
    "encode_jws",
    "encrypt_direct",
    "encrypt_hpke",
    "jwe_decrypt",
    "peek_issuer",
    "peek_payload",
    "read_direct_header",
    "read_jose_header",
    "sign_jws",
    "sign_jwt",
    "verify_jws",
    "verify_jwt",
]
