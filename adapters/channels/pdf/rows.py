"""Sealed content of any shape as printable rows: label, text, note and depth. Nothing is dropped, whatever its shape.

A statement is an object with a label and a value beside metadata (basis, category of person, handling …); the metadata becomes a note under
the text. Everything else is printed by its own field names.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any

from adapters.channels.pdf.dates import write_if_date
from adapters.channels.pdf.words import Words

_LABELS = ("label", "heading", "item", "field", "what", "name", "type")
_VALUES = ("value", "text", "words", "said", "statement", "content")
_DEEPEST = 6
_LONGEST_LIST_LINE = 90


@dataclass(frozen=True, slots=True)
class Row:
    """One printed row. ``depth`` counts the headings above it; a row without text is itself a heading."""

    label: str
    text: str
    note: str = ""
    depth: int = 0


def list_rows(content: Any, words: Words, *, depth: int = 0) -> list[Row]:
    """Return the rows of one section's content, in the sender's order."""
    return list(_walk("", content, words, depth))


def write_scalar(value: Any) -> str:
    """Return one JSON scalar as people read it."""
    if value is True:
        return "Yes"
    if value is False:
        return "No"
    return write_if_date(value.strip()) if isinstance(value, str) else str(value)


def _walk(label: str, value: Any, words: Words, depth: int) -> Iterator[Row]:
    if value is None:
        return
    if isinstance(value, dict):
        yield from _walk_object(label, value, words, depth)
    elif isinstance(value, list):
        yield from _walk_list(label, value, words, depth)
    else:
        yield Row(label, write_scalar(value), depth=depth)


def _walk_object(label: str, value: dict[str, Any], words: Words, depth: int) -> Iterator[Row]:
    named = next((k for k in _LABELS if isinstance(value.get(k), str)), None)
    valued = next((k for k in _VALUES if value.get(k) is not None), None)
    if valued is not None and (named or valued in {"value", "text"}):
        yield from _walk_statement(label, value, (named, valued), words, depth)
        return
    items = [(k, v) for k, v in value.items() if v is not None]
    if label and len(items) == 1 and not isinstance(items[0][1], dict | list):
        yield Row(label, f"{words.label_field(items[0][0]).lower()}: {write_scalar(items[0][1])}", depth=depth)
        return
    inside = depth
    if label and items:
        yield Row(label, "", depth=depth)
        inside = min(depth + 1, _DEEPEST)
    for key, item in items:
        yield from _walk(words.label_field(key), item, words, inside)


def _walk_statement(
    label: str, value: dict[str, Any], keys: tuple[str | None, str], words: Words, depth: int
) -> Iterator[Row]:
    named, valued = keys
    own_label = words.label_field(str(value[named])) if named else label
    inner = list(_walk(own_label, value[valued], words, depth))
    if inner:
        yield Row(inner[0].label, inner[0].text, write_note(value, words, besides={named, valued}), inner[0].depth)
        yield from inner[1:]
    for key, item in value.items():
        if key != valued and isinstance(item, dict | list) and item:
            yield from _walk(words.label_field(key), item, words, min(depth + 1, _DEEPEST))


def _walk_list(label: str, value: list[Any], words: Words, depth: int) -> Iterator[Row]:
    scalars = [write_scalar(v) for v in value if v is not None and not isinstance(v, dict | list)]
    if len(scalars) == len(value):
        joiner = "; " if sum(map(len, scalars)) <= _LONGEST_LIST_LINE else "\n"
        if scalars:
            yield Row(label, joiner.join(scalars), depth=depth)
        return
    for number, item in enumerate(value, start=1):
        numbered = f"{label} {number}" if label and len(value) > 1 else label
        yield from _walk(numbered, item, words, depth)


def write_note(value: dict[str, Any], words: Words, *, besides: Container[str | None] = ()) -> str:
    """Return a statement's scalar metadata as one line: "told by someone else · witness · handling: C"."""
    parts = []
    for key, item in value.items():
        if item is None or key in besides or isinstance(item, dict | list):
            continue
        if key == "basis":
            parts.append(words.basis.get(str(item), str(item)))
        elif key == "person_category":
            parts.append(words.person_category.get(str(item), str(item)))
        else:
            parts.append(f"{words.label_field(key).lower()}: {write_scalar(item)}")
    return " · ".join(parts)
