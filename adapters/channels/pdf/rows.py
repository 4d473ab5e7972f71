"""Sealed content of any shape as printable rows: label, text, note and depth. Nothing is dropped, whatever its shape.

The contract's parts hold statements (``schemas.referral.Statement``): a label and a value, beside metadata of which only what a reader must
weigh is printed (hearsay, intelligence, a suspect, handling). Content of any other shape is printed by its own field names.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from adapters.channels.pdf.dates import write_if_date
from adapters.channels.pdf.words import Words

_LABELS = ("label", "heading", "item", "field", "what", "name")
_VALUES = ("value", "text", "words", "said", "statement")
_SILENT = frozenset({"heading", "compartment", "subject_ref", "attachments"})
_CODE_FIELDS = frozenset({"code", "source_value", "sub_code"})
_PRINCIPAL = frozenset({"Said", "Done", "Account", "said", "text"})
"""Fields whose value speaks for itself and is printed without its name."""
_CODE_WORDS = re.compile(r"^[a-z]+(_[a-z]+)+$")
_DEEPEST = 6
_SHORT_VALUE = 48
_LONGEST_NAME = 200
_MOST_MENTIONS = 200


@dataclass(frozen=True, slots=True)
class Row:
    """One printed row. ``depth`` counts the headings above it; a row without text is itself a heading."""

    label: str
    text: str
    note: str = ""
    depth: int = 0


def list_rows(content: Any, words: Words, *, names: dict[str, str] | None = None) -> list[Row]:
    """Return the rows of one section's content, in the sender's order. ``names``: a person's reference to the name, from the same delivery."""
    rows = list(_list_part(content, words)) if _is_part(content) else list(_walk("", content, words, 0))
    known = {ref: name for ref, name in (names or {}).items() if ref and len(name) <= _LONGEST_NAME}
    if not known:
        return rows
    mention = re.compile("|".join(re.escape(ref) for ref in sorted(known, key=len, reverse=True)))
    return [Row(_resolve(r.label, mention, known), _resolve(r.text, mention, known), r.note, r.depth) for r in rows]


def read_summary(content: Any) -> str | None:
    """Return the sender's own short version, if the content has one."""
    summary = content.get("summary") if isinstance(content, dict) else None
    return summary if isinstance(summary, str) and summary.strip() else None


def index_names(contents: Iterator[Any]) -> dict[str, str]:
    """Return reference to name for every person whom these contents name: nobody else's."""
    names: dict[str, dict[str, str]] = {}
    for content in contents:
        for statement in content.get("statements") or () if _is_part(content) else ():
            if not isinstance(statement, dict):
                continue
            label, value, ref = statement.get("label"), statement.get("value"), statement.get("person_ref")
            if isinstance(value, str) and isinstance(ref, str):
                names.setdefault(ref, {})[str(label)] = value
            elif isinstance(value, dict) and isinstance(value.get("Reference"), str):
                named = {k: v for k, v in value.items() if isinstance(v, str)}
                names.setdefault(value["Reference"], {}).update(named)
    found = {ref: _join_name(parts) for ref, parts in names.items()}
    return {ref: name for ref, name in found.items() if name}


def _join_name(parts: dict[str, str]) -> str:
    first = parts.get("Forenames") or parts.get("Forename") or ""
    return f"{first} {parts.get('Surname') or parts.get('Name') or ''}".strip()


def write_scalar(value: Any, *, is_code: bool = False) -> str:
    """Return one JSON scalar as people read it."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if not isinstance(value, str):
        return str(value)
    if not is_code and value in {"Y", "N"}:
        return "Yes" if value == "Y" else "No"
    if _CODE_WORDS.match(value):
        return value.replace("_", " ")  # a code of the contract, such as parent_carer
    return write_if_date(value.strip())


def write_note(statement: dict[str, Any], words: Words) -> str:
    """Return what a reader must weigh: "told by someone else · suspect · handling code C". A plain fact about the child has no note."""
    parts = []
    basis, person = statement.get("basis"), statement.get("person_category")
    if isinstance(basis, str) and basis != "fact":
        parts.append(words.basis.get(basis, basis))
    if isinstance(person, str) and person not in {"victim", "other"}:
        parts.append(words.person_category.get(person, person))
    handling = statement.get("handling")
    if isinstance(handling, dict):
        parts += [f"{words.label_field(f'handling_{k}').lower()} {v}" for k, v in handling.items() if v is not None]
    elif isinstance(handling, str):
        parts.append(f"handling {handling}")
    return " · ".join(parts)


def _is_part(content: Any) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("summary"), str | None):
        return False  # a sender may seal any shape: what is not quite a part is printed by its own field names
    statements = content.get("statements")
    return isinstance(statements, list) or (statements is None and "summary" in content)


def _list_part(content: dict[str, Any], words: Words) -> Iterator[Row]:
    summary = read_summary(content)
    if summary:
        yield Row("In short" if content.get("statements") else "", summary)
    before: Row | None = None
    for statement in content.get("statements") or ():
        if not isinstance(statement, dict):
            yield from _walk("", statement, words, 0)
            continue
        if statement.get("value") == summary:
            continue  # the same words again
        for row in _list_statement(statement, words):
            if before and (before.label, before.note) == (row.label, row.note) and len(before.text) < _SHORT_VALUE:
                before = Row(before.label, f"{before.text}; {row.text}", before.note, before.depth)
                continue
            if before:
                yield before
            before = row
    if before:
        yield before
    for key, value in content.items():
        if key not in {"statements", "summary", *_SILENT}:
            yield from _walk(words.label_field(key), value, words, 0)


def _list_statement(statement: dict[str, Any], words: Words) -> Iterator[Row]:
    label = str(statement.get("label", ""))
    value = statement.get("value")
    note = write_note(statement, words)
    if value is None:
        return
    is_code = "thnic" in label
    if isinstance(value, dict | list):
        yield Row(label, "\n".join(_write_lines(value, words, is_code=is_code)), note)
    else:
        yield Row(label, write_scalar(value, is_code=is_code), note)


def _write_lines(value: Any, words: Words, *, is_code: bool = False, level: int = 0) -> list[str]:
    """Return a structured value as lines: short fields side by side, long ones each on a line, lists one entry a line."""
    if isinstance(value, list):
        if all(not isinstance(v, dict | list) for v in value):
            joined = "; ".join(write_scalar(v, is_code=is_code) for v in value if v is not None)
            return [joined] if joined else []
        return [f"• {'; '.join(_write_lines(v, words, is_code=is_code, level=level + 1))}" for v in value]
    if not isinstance(value, dict):
        return [write_scalar(value, is_code=is_code)]
    lines: list[str] = []
    side: list[str] = []
    for key, item in value.items():
        if item is None or item == []:
            continue
        text = "; ".join(_write_lines(item, words, is_code=is_code or key in _CODE_FIELDS, level=level + 1))
        if isinstance(item, dict):
            text = f"({text})"
        if key in _PRINCIPAL:
            lines.append(text)
        elif len(text) <= _SHORT_VALUE and "\n" not in text and not text.endswith((".", "!", "?")):
            side.append(f"{words.label_field(key)}: {text}")
        else:
            lines.append(f"{words.label_field(key)}: {text}")
    return [*lines, "; ".join(side)] if side else lines


def _walk(label: str, value: Any, words: Words, depth: int) -> Iterator[Row]:
    if value is None:
        return
    if isinstance(value, dict):
        yield from _walk_object(label, value, words, depth)
    elif isinstance(value, list):
        if all(not isinstance(v, dict | list) for v in value):
            text = "\n".join(_write_lines(value, words))
            yield from [Row(label, text, depth=depth)] if text else []
            return
        for number, item in enumerate(value, start=1):
            yield from _walk(f"{label} {number}" if label and len(value) > 1 else label, item, words, depth)
    else:
        yield Row(label, write_scalar(value), depth=depth)


def _walk_object(label: str, value: dict[str, Any], words: Words, depth: int) -> Iterator[Row]:
    named = next((k for k in _LABELS if isinstance(value.get(k), str)), None)
    valued = next((k for k in _VALUES if value.get(k) is not None), None)
    if valued is not None and (named or valued in {"value", "text"}):
        own_label = words.label_field(str(value[named])) if named else label
        rest = {k: v for k, v in value.items() if k not in {named, valued, "basis", "person_category", "handling"}}
        text = "\n".join([*_write_lines(value[valued], words), *_write_lines(rest, words)])
        yield Row(own_label, text, write_note(value, words), depth)
        return
    items = [(k, v) for k, v in value.items() if v is not None and k != "heading"]
    if label and len(items) == 1 and not isinstance(items[0][1], dict | list):
        yield Row(label, f"{words.label_field(items[0][0]).lower()}: {write_scalar(items[0][1])}", depth=depth)
        return
    inside = depth
    if label and items:
        yield Row(label, "", depth=depth)
        inside = min(depth + 1, _DEEPEST)
    for key, item in items:
        yield from _walk(words.label_field(key), item, words, inside)


def _resolve(text: str, mention: re.Pattern[str], names: dict[str, str]) -> str:
    """Write names beside references in one pass: a name that holds another's reference is not expanded again, so text cannot swell."""
    return mention.sub(lambda found: f"{names[found[0]]} ({found[0]})", text, count=_MOST_MENTIONS)
