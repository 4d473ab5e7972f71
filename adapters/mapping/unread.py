"""What of a record nobody read: field paths for the sender's diagnostics, so that a mapping that forgets a field is noticed."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from adapters.mapping.model import Mapping
from adapters.mapping.nodes import ElementList, Node

_MOST_LISTED = 50


def list_unread(node: Node, mapping: Mapping) -> tuple[str, ...]:
    """Return the paths of values that the mapping read neither themselves nor as part of something; sorted, at most 50, indexes removed.

    A pattern of the mapping's ``ignore`` covers the paths that it matches and all below them.
    """
    patterns = [form for one in mapping.ignore for form in (one, f"{one}.*", f"{one}@*")]
    unread = {_strip_indexes(path) for path in _walk(node.value, node.path, node.seen)}
    return tuple(sorted(path for path in unread if not any(fnmatchcase(path, form) for form in patterns)))[
        :_MOST_LISTED
    ]


def _walk(value: Any, path: str, seen: set[str]) -> Iterator[str]:
    if path in seen or value is None:
        return
    if isinstance(value, Node):
        yield from _walk(value.value, value.path, seen)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "#text":
                yield path
            elif not key.startswith("~") or key == "~linked":
                yield from _walk(item, path + key if key.startswith("@") else f"{path}.{key}" if path else key, seen)
    elif isinstance(value, list):
        indexed = not isinstance(value, ElementList)
        for number, item in enumerate(value):
            yield from _walk(item, f"{path}[{number}]" if indexed else path, seen)
    else:
        yield path


def _strip_indexes(path: str) -> str:
    pieces = []
    depth = 0
    for character in path:
        depth += character == "["
        if depth == 0:
            pieces.append(character)
        depth -= character == "]"
    return "".join(pieces)
