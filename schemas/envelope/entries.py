"""Openable entries in the manner of SD-JWT (RFC 9901): the manifest signs the digest, whoever may know the entry gets its opening.

An opening is base64url of the JSON array ``[salt, name, value]``; its digest is SHA-256 over the opening's ASCII bytes.
"""

from collections.abc import Collection, Iterable
from typing import Any, Protocol

import orjson

from schemas.canonical import (
    canonical_bytes,
    decode_base64url,
    encode_base64url,
    parse_json,
    sha256_base64url,
    sha256_base64url_all,
)
from schemas.envelope.errors import UndeclaredEntry
from schemas.envelope.model import DIGEST_COUNTS, MAX_OPENING_BYTES
from schemas.errors import MalformedMessage, TooLarge

_SALT_BYTES = 16
_DIGEST_BYTES = 32


class RandomBytes(Protocol):
    """A source of random bytes."""

    def __call__(self, count: int, /) -> bytes:
        """Return ``count`` random bytes."""


def write_openings(entries: Iterable[tuple[str, Any]], *, rng: RandomBytes) -> dict[str, str]:
    """Return digest to opening for each entry, in the order of the digests, which says nothing of the entries."""
    openings = [encode_base64url(canonical_bytes([encode_base64url(rng(_SALT_BYTES)), *entry])) for entry in entries]
    return dict(sorted((sha256_base64url(opening.encode("ascii")), opening) for opening in openings))


def add_decoys(digests: Collection[str], *, rng: RandomBytes) -> list[str]:
    """Return the digests and decoys, sorted, as many as the smallest size of ``DIGEST_COUNTS`` that holds them.

    Raises:
        TooLarge: there are more entries than the largest size.
    """
    size = next((count for count in DIGEST_COUNTS if count >= len(digests)), None)
    if size is None:
        raise TooLarge(f"more than {DIGEST_COUNTS[-1]} entries", field="openings")
    decoys = [encode_base64url(rng(_DIGEST_BYTES)) for _ in range(size - len(digests))]
    return sorted([*digests, *decoys])


def check_digests(digests: tuple[str, ...]) -> frozenset[str]:
    """Return the manifest's digests as a set.

    Raises:
        MalformedMessage: their number is not one of ``DIGEST_COUNTS``, or they are not sorted, or one is repeated.
    """
    found = frozenset(digests)
    if len(digests) not in DIGEST_COUNTS or len(found) != len(digests) or list(digests) != sorted(digests):
        raise MalformedMessage("must be sorted, distinct and filled up with decoys", field="manifest.digests")
    return found


def read_openings(openings: Iterable[str], declared: frozenset[str]) -> dict[str, tuple[str, Any]]:
    """Open entries whose digests the manifest declares. Returns name to (opening, value).

    Raises:
        UndeclaredEntry: an opening is not declared, or two openings have one name.
        MalformedMessage: an opening is not of its form.
    """
    opened = list(openings)
    try:
        digests = sha256_base64url_all([opening.encode("ascii") for opening in opened])
    except UnicodeEncodeError:
        raise MalformedMessage("is not base64url", field="openings") from None
    if not declared.issuperset(digests):
        raise UndeclaredEntry("an opening is not in the manifest", field="openings")
    datas = [decode_base64url(opening, field="openings") for opening in opened]
    found: dict[str, tuple[str, Any]] = {}
    for opening, triple in zip(opened, _parse_all(datas), strict=True):
        if type(triple) is not list or len(triple) != 3 or type(triple[0]) is not str or type(triple[1]) is not str:
            raise MalformedMessage("an opening must be [salt, name, value]", field="openings")
        _, name, value = triple
        if name in found:
            raise UndeclaredEntry("an entry is opened twice", field="openings")
        found[name] = (opening, value)
    return found


def _parse_all(datas: list[bytes]) -> list[Any]:
    if any(len(data) > MAX_OPENING_BYTES for data in datas):
        raise TooLarge(f"more than {MAX_OPENING_BYTES} bytes", field="openings")
    # Written again together, canonical entries are the same bytes, which shows that none repeats a key: one check for all of them.
    try:
        values = [orjson.loads(data) for data in datas]
        if canonical_bytes(values) == b"[" + b",".join(datas) + b"]":
            return values
    except (orjson.JSONDecodeError, MalformedMessage):
        values = []  # the careful reader below gives the reason
    return [parse_json(data, max_bytes=MAX_OPENING_BYTES, max_depth=16, field="openings") for data in datas]
