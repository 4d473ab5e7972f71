"""Strict JSON: UTF-8 without a mark, no repeated member, no NaN, at most 64 levels; every fault names its path (FORMATS CH-25)."""

import json
import re
from decimal import Decimal, DecimalException
from typing import Any

from adapters.mapping.limits import DOCUMENT, MAX_DEPTH, decode_document
from schemas.errors import Rejected, TooLarge

_TOKENS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""A bracket, a string, or one that is never closed, to the end. Possessive, so that quotes which close nothing cost linear time."""
_MAX_NUMBER_CHARACTERS = 64


class _Fault:
    """Stands in the parsed tree where something is wrong, so that its path can be found."""

    __slots__ = ("member", "rule")

    def __init__(self, rule: str, member: str | None = None) -> None:
        self.rule = rule
        self.member = member


def parse_json(data: bytes) -> Any:
    """Return the parsed document; numbers with a fraction are ``Decimal``.

    Raises:
        Rejected: it breaks a rule of the class above; the field is the path, or ``(document)`` when it is no JSON at all.
    """
    text = decode_document(data)
    _check_depth(text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_build_object,
            parse_constant=lambda _: _Fault("NaN and Infinity are not JSON"),
            parse_float=_parse_decimal,
            parse_int=_parse_integer,
        )
    except (ValueError, RecursionError):
        raise Rejected("the document is not complete, well-formed JSON", field=DOCUMENT) from None
    _raise_first_fault(value, "")
    return value


def _check_depth(text: str) -> None:
    depth = 0
    for token in _TOKENS.finditer(text):
        mark = token[0]
        if mark in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise TooLarge(f"the document is nested more than {MAX_DEPTH} levels deep", field=DOCUMENT)
        elif mark in "]}":
            depth -= 1


def _build_object(pairs: list[tuple[str, Any]]) -> Any:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return _Fault("the same member twice in one object", name)
        seen.add(name)
    return members


def _parse_decimal(text: str) -> Any:
    if len(text) > _MAX_NUMBER_CHARACTERS:
        return _Fault("the number has too many digits")
    try:
        return Decimal(text)
    except DecimalException:
        return _Fault("the number cannot be read")


def _parse_integer(text: str) -> Any:
    if len(text) > _MAX_NUMBER_CHARACTERS:
        return _Fault("the number has too many digits")
    return int(text)


def _raise_first_fault(value: Any, path: str) -> None:
    if isinstance(value, _Fault):
        field = f"{path}.{value.member}".lstrip(".") if value.member is not None else path
        raise Rejected(value.rule, field=_make_printable(field) or DOCUMENT)
    if isinstance(value, dict):
        for name, item in value.items():
            _raise_first_fault(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _raise_first_fault(item, f"{path}[{number}]")


def _make_printable(path: str) -> str:
    """Cut what could be content: a member's name belongs to the format, unless it is long or strange."""
    return path if re.fullmatch(r"[A-Za-z0-9_.\[\]@:/-]{1,200}", path) else DOCUMENT
