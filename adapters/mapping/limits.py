"""Limits on what a gateway will read, and the checks that every record passes before any meaning is read (FORMATS CH-3 and CH-25)."""

import unicodedata
from collections.abc import Iterator
from typing import Any

from adapters.mapping.nodes import ElementList, Node
from schemas.errors import Rejected, TooLarge

MAX_DOCUMENT_BYTES = 32 * 1024 * 1024
MAX_DEPTH = 64
MAX_TEXT_CHARACTERS = 262_144
MAX_BINARY_CHARACTERS = 24 * 1024 * 1024
"""Base64 of an attachment is no text field."""
MAX_RECORDS = 10_000
DOCUMENT = "(document)"


def decode_document(data: bytes, *, allow_mark: bool = False) -> str:
    """Return the text of a document.

    Args:
        data: as received.
        allow_mark: whether a byte-order mark may lead (FORMATS part 1: on CSV only).

    Raises:
        Rejected: too large, empty, not UTF-8, or a byte-order mark where there may be none.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise TooLarge(f"the document is over {MAX_DOCUMENT_BYTES} bytes", field=DOCUMENT)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Rejected("the document is not UTF-8: export it in that encoding", field=DOCUMENT) from None
    if text.startswith("\ufeff"):
        if not allow_mark:
            raise Rejected("a byte-order mark is not allowed in this format", field=DOCUMENT)
        text = text[1:]
    if not text.strip():
        raise Rejected("the document is empty", field=DOCUMENT)
    return text


def check_text(node: Node, binary_members: frozenset[str]) -> None:
    """Check every text of a record: not blank, not over the limit, no character that cannot be written on.

    Raises:
        Rejected: with the path of the first text that breaks a rule.
    """
    for path, name, text in _walk_text(node.value, node.path, ""):
        if is_blank(text):
            raise Rejected("empty is not a value: leave it out, or give the reason why there is none", field=path)
        if len(text) > (MAX_BINARY_CHARACTERS if name in binary_members else MAX_TEXT_CHARACTERS):
            raise TooLarge(f"the text is over the limit of {MAX_TEXT_CHARACTERS} characters", field=path)
        if "\x00" in text or not _is_writable(text):
            raise Rejected("the text holds a character that cannot be kept", field=path)


def is_blank(text: str) -> bool:
    """Return whether a text shows nothing: it is empty, or all of it is space, control or format characters (FORMATS CH-3)."""
    return not any(unicodedata.category(character)[0] not in "ZC" for character in text)


def _is_writable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _walk_text(value: Any, path: str, name: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, Node):
        yield from _walk_text(value.value, value.path, name)
    elif isinstance(value, str):
        yield path, name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "#text":
                yield from _walk_text(item, path, name)
            elif key.startswith("@"):
                yield from _walk_text(item, path + key, key)
            elif not key.startswith("~"):
                yield from _walk_text(item, f"{path}.{key}" if path else key, key)
    elif isinstance(value, list):
        indexed = not isinstance(value, ElementList)
        for number, item in enumerate(value):
            yield from _walk_text(item, f"{path}[{number}]" if indexed else path, name)
