"""A copy of the signed directory, from wherever somebody has one: believed by the pinned authority's signature alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from schemas.canonical import canonical_bytes, encode_base64url, parse_object
from schemas.directory import Directory
from schemas.errors import MalformedMessage
from schemas.keys import VerifyingKeys
from schemas.signed_directory import verify_directory

MAX_COPY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DirectoryCopy:
    """A verified version, and the digest of its signed bytes by which the log names it."""

    directory: Directory
    digest: str
    signed: dict[str, Any] = field(repr=False)


def read_directory_copy(data: bytes, authority: Sequence[VerifyingKeys]) -> DirectoryCopy:
    """Return the newest version in ``data``: the authority's own file, a gateway's ``directory.json``, a pack's, or the hub's answer.

    Raises:
        SignatureInvalid: the pinned authority did not sign it.
        MalformedMessage, TooLarge: it is none of these.
    """
    held = parse_object(data, max_bytes=MAX_COPY_BYTES, field="directory")
    found = held["versions"] if "versions" in held else [held.get("directory", held)]
    if not isinstance(found, list) or not found or not all(isinstance(signed, dict) for signed in found):
        raise MalformedMessage("is not a signed directory", field="directory")
    return max((_verify(signed, authority) for signed in found), key=lambda copy: copy.directory.version)


def _verify(signed: dict[str, Any], authority: Sequence[VerifyingKeys]) -> DirectoryCopy:
    body = canonical_bytes(signed)
    return DirectoryCopy(verify_directory(body, authority), encode_base64url(sha256(body).digest()), signed)
