"""Timestamps of checkpoints by an authority outside (RFC 3161): the request, and the check of what comes back. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cryptography import x509
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, VerifierBuilder, decode_timestamp_response
from rfc3161_client.errors import VerificationError

from schemas.errors import MalformedMessage, SignatureInvalid, TooLarge

MAX_TOKEN_BYTES: Final = 64 * 1024


def write_request(note: str) -> tuple[bytes, int | None]:
    """Return the request (DER) for a timestamp of a signed checkpoint, over SHA-512 of its text, and its nonce."""
    request = TimestampRequestBuilder().data(note.encode()).hash_algorithm(HashAlgorithm.SHA512).build()
    return request.as_bytes(), request.nonce


def read_roots(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a PEM file.

    Raises:
        MalformedMessage: it holds none.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError:
        raise MalformedMessage("holds no certificate", field="timestamp_ca") from None


def verify_timestamp(
    token: bytes, note: str, roots: Sequence[x509.Certificate], *, nonce: int | None = None
) -> datetime:
    """Verify a timestamp response of a checkpoint against pinned certificates and return its time.

    ``nonce`` is that of the request, where it is at hand; a stored response is checked without it.

    Raises:
        TooLarge: it is over ``MAX_TOKEN_BYTES``.
        MalformedMessage: it is no timestamp response.
        SignatureInvalid: no authority under these certificates signed it, it is of another text, or answers another request.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise TooLarge(f"more than {MAX_TOKEN_BYTES} bytes", field="timestamp")
    try:
        response = decode_timestamp_response(token)
        moment = response.tst_info.gen_time
    except ValueError:
        raise MalformedMessage("is not a timestamp response", field="timestamp") from None
    try:
        VerifierBuilder(roots=list(roots), nonce=nonce).build().verify_message(response, note.encode())
    except (VerificationError, ValueError):
        raise SignatureInvalid(field="timestamp") from None
    return moment
