"""Strict JSON in, canonical JSON out: the one reader and the one writer of the contract.

Reading refuses what readers disagree on: duplicate keys, NaN, fractions, integers that a double cannot hold, lone surrogates, deep nesting.
Writing is RFC 8785 (JCS) for the subset that the contract uses: objects, arrays, strings, integers, booleans and null. A decimal is a string.
Base64url is RFC 4648 section 5 without padding, and each value has exactly one spelling.
"""

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from string import ascii_letters, digits
from typing import Any, NoReturn

import orjson
import pybase64

from schemas.errors import MalformedMessage, TooLarge

JsonValue = Any
"""Any JSON value of the subset; ``Any`` because a recursive alias would make each reader narrow it again."""

MAX_DEPTH = 64
MAX_INTEGER = 2**53 - 1

_DUMP_OPTIONS = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_DATACLASS
)
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
"""A string, or one that is never closed, to the end. Possessive, so that quotes which close nothing cost linear time."""
_BRACKET = re.compile(rb"[\[\]{}]")
_URL_SAFE = b"-_"
_MANY = 12
_SCALARS = frozenset({str, int, bool, type(None)})
_PADDING = ("", "", "==", "=")
_LAST = (frozenset(ascii_letters + digits + "-_"), frozenset[str](), frozenset("AQgw"), frozenset("AEIMQUYcgkosw048"))
"""What the last character may be, by how many there are beyond groups of four: its unused bits are zero."""


def parse_json(data: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH, field: str = "body") -> JsonValue:
    """Read strict JSON from UTF-8 bytes. ``field`` names the input in errors; no error repeats a value of it.

    Bytes that are already canonical are recognised by writing them again, which also proves that no key was repeated.

    Raises:
        TooLarge: more bytes than ``max_bytes`` (checked before anything is read) or deeper than ``max_depth``.
        MalformedMessage: not JSON, a repeated key, a fraction, NaN, or an integer beyond 2**53 - 1.
    """
    if len(data) > max_bytes:
        raise TooLarge(f"more than {max_bytes} bytes", field=field)
    if _has_more_brackets(data, max_depth):
        _check_depth(data, max_depth, field)
    try:
        value = orjson.loads(data)
        canonical = orjson.dumps(value, option=_DUMP_OPTIONS) == data
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        canonical = False  # the careful reader finds the reason
    if canonical and not _holds_fraction(value):
        return value
    return _parse_slowly(data, field)


def parse_object(
    data: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH, field: str = "body"
) -> dict[str, JsonValue]:
    """Read strict JSON that must be an object.

    Raises:
        TooLarge: over a limit.
        MalformedMessage: not strict JSON, or not an object.
    """
    value = parse_json(data, max_bytes=max_bytes, max_depth=max_depth, field=field)
    if type(value) is not dict:
        raise MalformedMessage("must be a JSON object", field=field)
    return value


def canonical_bytes(value: JsonValue) -> bytes:
    """Write ``value`` as RFC 8785 canonical JSON.

    Raises:
        MalformedMessage: it holds something outside the subset (a fraction, a date object, an integer beyond 2**53 - 1, a lone surrogate).
    """
    try:
        data = orjson.dumps(value, option=_DUMP_OPTIONS)
    except (orjson.JSONEncodeError, RecursionError):
        raise MalformedMessage("holds a value that canonical JSON cannot express") from None
    if _holds_fraction(value):
        raise MalformedMessage("numbers must be integers: write a decimal as a string")
    if not data.isascii():
        # orjson sorts keys by UTF-8, RFC 8785 by UTF-16: they differ only above the basic plane.
        return json.dumps(_sorted_by_utf16(value), ensure_ascii=False, separators=(",", ":")).encode()
    return data


def encode_base64url(data: bytes) -> str:
    """Return base64url without padding."""
    return pybase64.b64encode_as_string(data, _URL_SAFE).rstrip("=")


def decode_base64url(text: str, *, field: str = "") -> bytes:
    """Decode base64url, refusing padding, foreign characters and stray trailing bits, so that each value has one spelling.

    Raises:
        MalformedMessage: it is not that one spelling.
    """
    try:
        spare = len(text) & 3
        # The library takes padding, and the characters of plain base64 beside ours.
        if (text and text[-1] not in _LAST[spare]) or "+" in text or "/" in text:
            raise MalformedMessage("is not unpadded base64url", field=field or None)
        return pybase64.b64decode(text + _PADDING[spare], _URL_SAFE, validate=True)
    except (ValueError, TypeError):
        raise MalformedMessage("is not unpadded base64url", field=field or None) from None


def sha256_base64url(data: bytes) -> str:
    """Return the base64url SHA-256 of ``data`` (43 characters)."""
    return encode_base64url(hashlib.sha256(data).digest())


def sha256_base64url_all(datas: Sequence[bytes]) -> list[str]:
    """Return ``sha256_base64url`` of each of ``datas``, spelled in one pass: a message has dozens of small digests."""
    # A digest of 32 bytes and a zero byte are eleven groups of three: the first 43 characters spell the digest as it is spelled alone.
    joined = b"".join([hashlib.sha256(data).digest() + b"\0" for data in datas])
    text = pybase64.b64encode_as_string(joined, _URL_SAFE)
    return [text[start : start + 43] for start in range(0, 44 * len(datas), 44)]


def _has_more_brackets(data: bytes, most: int) -> bool:
    """Tell whether ``data`` opens more than ``most`` objects and arrays. ``find`` skips what lies between far faster than ``count`` counts."""
    found = 0
    for bracket in (b"[", b"{"):
        at = data.find(bracket)
        while at >= 0:
            found += 1
            if found > most:
                return True
            at = data.find(bracket, at + 1)
    return False


def _check_depth(data: bytes, max_depth: int, field: str) -> None:
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", data)):
        depth += 1 if bracket in b"[{" else -1
        if depth > max_depth:
            raise TooLarge(f"nested deeper than {max_depth}", field=field)


def _parse_slowly(data: bytes, field: str) -> JsonValue:
    def refuse_number(_text: str) -> NoReturn:
        raise MalformedMessage("numbers must be integers: write a decimal as a string", field=field)

    def read_integer(text: str) -> int:
        # 2**53 - 1 has 16 digits; the length test keeps a huge literal from costing quadratic time.
        if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
            raise MalformedMessage("an integer is beyond 2**53 - 1", field=field)
        return int(text)

    def read_object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise MalformedMessage("a key is repeated", field=field)
        return found

    try:
        text = data.decode("utf-8")
        value = json.loads(
            text,
            parse_float=refuse_number,
            parse_constant=refuse_number,
            parse_int=read_integer,
            object_pairs_hook=read_object,
        )
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate cannot be encoded
    except (ValueError, RecursionError):
        raise MalformedMessage("is not strict JSON in UTF-8", field=field) from None
    return value


def _holds_fraction(value: JsonValue) -> bool:
    # This runs on every message, so it is a flat loop over exact types, spared where the set of types shows that a long list holds scalars alone.
    # orjson writes NaN as null: the value is walked, not the text.
    stack: list[Collection[JsonValue]] = [(value,)]
    for members in stack:  # grows while it is walked
        if len(members) > _MANY and _SCALARS.issuperset(map(type, members)):
            continue
        for member in members:
            kind = type(member)
            if kind is str or kind is int:
                continue
            if kind is dict:
                stack.append(member.values())
            elif kind is list or kind is tuple:
                stack.append(member)
            elif isinstance(member, float):
                return True
    return False


def _sorted_by_utf16(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _sorted_by_utf16(value[key]) for key in sorted(value, key=lambda k: k.encode("utf-16-be"))}
    if isinstance(value, list | tuple):
        return [_sorted_by_utf16(member) for member in value]
    return value
