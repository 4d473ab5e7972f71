"""Nodes: one view of JSON, XML and CSV, in which every value knows its path in the record system's own terms.

A path expression is member names joined by dots. A list met on the way is walked through. ``name[key=value]`` keeps the items whose member
``key`` has that value; ``!=`` (not), ``$=`` (ends with), ``[key]`` (is there) and ``[!key]`` (is not there) also exist. ``.`` is the node
itself, a leading ``/`` starts at the root of the record.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import JsonValue

from schemas.errors import ConfigInvalid, Rejected

_LARGEST_SAFE_INTEGER = 2**53 - 1
_OPERATORS = ("!=", "$=", "=")


class ElementList(list[Any]):
    """Child elements of one name: their paths carry no index, because XML has none."""


class Node:
    """A value with its path, the root of its record, and the record's set of paths that were read."""

    __slots__ = ("path", "root", "seen", "value")

    def __init__(self, value: Any, path: str = "", root: "Node | None" = None, seen: set[str] | None = None) -> None:
        self.value = value
        self.path = path
        self.root: Node = root or self
        self.seen: set[str] = root.seen if root is not None else (seen if seen is not None else set())

    def items(self) -> Iterator["Node"]:
        """Yield the node itself, or each item of a list; nothing for null."""
        if isinstance(self.value, list):
            indexed = not isinstance(self.value, ElementList)
            for number, item in enumerate(self.value):
                yield from self._wrap(item, f"{self.path}[{number}]" if indexed else self.path).items()
        elif self.value is not None:
            yield self

    def _open(self) -> list["Node"]:
        """Return what ``items`` yields; nearly every node is one value, and this is asked hundreds of times a record."""
        if isinstance(self.value, list):
            return list(self.items())
        return [] if self.value is None else [self]

    def member(self, name: str) -> "Node | None":
        """Return the member of that name, or none; ``~self`` is the node itself, so that it can be filtered."""
        if name == "~self":
            return self
        value = self.value.get(name) if isinstance(self.value, dict) else None
        if value is None:
            return None
        if name[:1] == "@":
            return self._wrap(value, self.path + name)
        return self._wrap(value, f"{self.path}.{name}" if self.path else name)

    def select(self, expression: str) -> list["Node"]:
        """Return the nodes that a path expression finds, in order; lists are opened, nulls are not there."""
        absolute, steps = _compile(expression)
        found = (self.root if absolute else self)._open()
        for step in steps:
            if not found:
                break
            name, filters = step.name, step.filters
            members = [child for node in found if (child := node.member(name)) is not None]
            found = [item for child in members for item in child._open() if not filters or step.accepts(item)]
        return found

    def first(self, expression: str) -> "Node | None":
        """Return the first node that a path expression finds, or none."""
        found = self.select(expression)
        return found[0] if found else None

    def text(self) -> str:
        """Return the value as text and count it as read.

        Raises:
            Rejected: it is an object, not a value.
        """
        self.seen.add(self.path)
        value = self.value
        if isinstance(value, dict):
            value = value.get("#text")
            if value is None:
                raise Rejected("a single value is expected here", field=self.path)
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value).strip()

    def plain(self) -> JsonValue:
        """Return the value as JSON without floats, and count it and all below it as read."""
        self.seen.add(self.path)
        return make_plain(self.value)

    def _wrap(self, value: Any, path: str) -> "Node":
        if isinstance(value, Node):
            return Node(value.value, value.path, self.root)
        return Node(value, path, self.root)


def make_plain(value: Any) -> JsonValue:
    """Return a parsed value as JSON without floats: decimals and integers beyond 2**53 become text (JCS, RFC 8785, needs it)."""
    if isinstance(value, Node):
        value = value.value
    if isinstance(value, dict):
        if set(value) == {"#text"}:
            return make_plain(value["#text"])
        members: dict[str, JsonValue] = {}
        for key, item in value.items():
            name = key.lstrip("@").replace("#text", "text")
            # An attribute and an element of one name are two facts: neither may hide the other.
            members[name if name not in members and (name == key or name not in value) else key] = make_plain(item)
        return members
    if isinstance(value, list):
        return [make_plain(item) for item in value]
    return _make_plain_scalar(value)


def _make_plain_scalar(value: Any) -> str | int | bool | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= _LARGEST_SAFE_INTEGER:
        return value
    return str(value).strip()


@dataclass(frozen=True, slots=True)
class _Filter:
    name: str
    operator: str
    value: str

    def accepts(self, node: Node) -> bool:
        member = node.member(self.name)
        if self.operator in {"has", "lacks"}:
            return (member is not None) is (self.operator == "has")
        text = member.text().casefold() if member is not None and not isinstance(member.value, list) else None
        if self.operator == "!=":
            return text != self.value.casefold()
        if text is None:
            return False
        return text.endswith(self.value.casefold()) if self.operator == "$=" else text == self.value.casefold()


@dataclass(frozen=True, slots=True)
class _Step:
    name: str
    filters: tuple[_Filter, ...]

    def accepts(self, node: Node) -> bool:
        return all(one.accepts(node) for one in self.filters)


def split_expression(expression: str) -> list[str]:
    """Return the steps of a path expression; dots inside brackets divide nothing.

    Raises:
        ConfigInvalid: a step is empty or a bracket is never closed.
    """
    if expression in {"", "."}:
        return []
    steps: list[str] = [""]
    depth = 0
    for character in expression:
        depth += (character == "[") - (character == "]")
        if character == "." and depth == 0:
            steps.append("")
        else:
            steps[-1] += character
    if depth != 0 or not all(steps):
        raise ConfigInvalid("a path expression of the mapping is malformed", field=expression)
    return steps


@lru_cache(maxsize=4096)
def _compile(expression: str) -> tuple[bool, tuple[_Step, ...]]:
    return expression.startswith("/"), tuple(
        _compile_step(step) for step in split_expression(expression.removeprefix("/"))
    )


def _compile_step(text: str) -> _Step:
    name, *conditions = text.split("[")
    return _Step(name, tuple(_compile_filter(condition.removesuffix("]")) for condition in conditions))


def _compile_filter(text: str) -> _Filter:
    for operator in _OPERATORS:
        name, found, value = text.partition(operator)
        if found:
            return _Filter(name, operator, value)
    return _Filter(text.removeprefix("!"), "lacks" if text.startswith("!") else "has", "")
