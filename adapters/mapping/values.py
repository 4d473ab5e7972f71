"""Reading values by field spec: text, codes, dates, moments and conditions, each with its path for the error."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple

from adapters.mapping.model import Mapping
from adapters.mapping.nodes import Node, split_expression
from adapters.mapping.specs import Condition, FieldSpec
from schemas.directory import Directory
from schemas.errors import Rejected
from schemas.identifiers import parse_identifier
from schemas.local_time import join_wall_time, local_date, parse_date, parse_moment, parse_wall_time


class Found(NamedTuple):
    """A text and the path it was found at (the first of several for a joined one)."""

    text: str
    path: str


@dataclass(slots=True)
class RecordContext:
    """One record while it is mapped: its root node, what surrounds it, and the quality flags found on the way."""

    node: Node
    mapping: Mapping
    directory: Directory
    received_at: datetime
    sender: str | None
    flags: set[str] = field(default_factory=set)

    @property
    def test_mode(self) -> bool:
        """Whether synthetic identifiers are accepted (FORMATS CH-1)."""
        return self.directory.partnership.test_mode

    def read_moment(self, node: Node, spec: FieldSpec | None) -> datetime | None:
        """Return the instant of a field; a wall time in doubt raises the flag ``time_ambiguous`` (FORMATS CH-2)."""
        if spec is not None and len(spec.join) == 2 and (clock := read_field(node, spec.join[1])) is not None:
            day = read_field(node, spec.join[0])
            if day is None:
                return None
            moment = join_wall_time(parse_date(day.text, field=day.path), parse_wall_time(clock.text, field=clock.path))
        else:
            found = read_field(node, spec)
            if found is None:
                return None
            return self.note_moment(found.text, found.path)
        if moment.ambiguous:
            self.flags.add("time_ambiguous")
        return moment.at

    def note_moment(self, text: str, path: str) -> datetime:
        """Return the instant that a text writes, raising the flag when its wall time is in doubt."""
        moment = parse_moment(text, field=path)
        if moment.ambiguous:
            self.flags.add("time_ambiguous")
        return moment.at

    def read_identifier(self, node: Node, spec: FieldSpec | None, scheme: str) -> Found | None:
        """Return an identifier in canonical form.

        Raises:
            Rejected: it is malformed.
        """
        found = read_field(node, spec)
        if found is None:
            return None
        return Found(parse_identifier(scheme, found.text, test_mode=self.test_mode, field=found.path), found.path)


def read_field(node: Node, spec: FieldSpec | None) -> Found | None:
    """Return what a spec finds at ``node``, with its codes translated, or none.

    Raises:
        Rejected: an unknown code, an object where a value belongs, or nothing where something is required.
    """
    if spec is None:
        return None
    if spec.join:
        parts = [part for one in spec.join if (part := read_field(node, one)) is not None]
        return Found(spec.separator.join(part.text for part in parts), parts[0].path) if parts else None
    for path in spec.path:
        found = node.first(path)
        if found is not None and has_text(found) and (text := _translate(found, spec)) is not None:
            return Found(text, found.path)
        if found is not None and len(spec.path) == 1 and _is_object(found):
            raise Rejected("a single value is expected here", field=found.path)
    if spec.required:
        raise Rejected("it must be there", field=name_missing(node, spec))
    return Found(spec.const, node.path) if spec.const is not None else None


def read_text(node: Node, spec: FieldSpec | None) -> str | None:
    """Return the text that a spec finds, or none."""
    found = read_field(node, spec)
    return None if found is None else found.text


def read_all(node: Node, spec: FieldSpec | None) -> list[Found]:
    """Return every value of the first path that finds any, with codes translated; ``split`` makes several values of one text."""
    if spec is None:
        return []
    for path in spec.path:
        found = [one for one in node.select(path) if has_text(one)]
        if found:
            values = [Found(text, one.path) for one in found if (text := _translate(one, spec)) is not None]
            return _split_values(values, spec.split)
    return [Found(spec.const, node.path)] if spec.const is not None else []


def _split_values(values: list[Found], characters: str | None) -> list[Found]:
    if characters is None:
        return values
    pieces = [(piece.strip(), one.path) for one in values for piece in re.split(f"[{re.escape(characters)}]", one.text)]
    return [Found(text, path) for text, path in pieces if text]


def read_date(node: Node, spec: FieldSpec | None) -> date | None:
    """Return the date of a field, or none.

    Raises:
        Rejected: it is no date.
    """
    found = read_field(node, spec)
    return None if found is None else parse_date(found.text, field=found.path)


def read_day(node: Node, spec: FieldSpec | None) -> date | None:
    """Return the local day of a field that holds a date or an instant, or none: a review or a change may be written with its time.

    Raises:
        Rejected: it is neither.
    """
    found = read_field(node, spec)
    return None if found is None else local_date(parse_moment(found.text, field=found.path).at)


def read_yes(node: Node, spec: FieldSpec | None) -> bool | None:
    """Return whether a field whose codes become ``yes`` and ``no`` says yes; none when it is not there."""
    found = read_field(node, spec)
    return None if found is None else found.text == "yes"


def meets(node: Node, condition: Condition | None) -> bool:
    """Return whether a record meets a condition; no condition is met."""
    if condition is None:
        return True
    found = [one for one in node.select(condition.path) if isinstance(one.value, dict) or has_text(one)]
    if condition.absent:
        return not found
    if condition.not_equals is not None:
        barred = {one.casefold() for one in condition.not_equals}
        return not any(one.text().casefold() in barred for one in found if has_text(one))
    if condition.equals is None and condition.begins is None and condition.matches is None:
        return bool(found)
    if condition.known is not None:
        _check_known(found, (*(condition.equals or ()), *condition.known))
    return any(_fits(one, condition) for one in found if has_text(one))


def has_text(node: Node) -> bool:
    """Return whether a node holds a value rather than only members."""
    return not isinstance(node.value, dict) or "#text" in node.value


def _is_object(node: Node) -> bool:
    """Return whether a node is an object with members, which stands for no value; an XML element may have attributes alone."""
    return (
        isinstance(node.value, dict)
        and bool(node.value)
        and not any(name.startswith(("@", "#")) for name in node.value)
    )


def require(node: Node, path: str) -> None:
    """Check that a path finds something, in every item of a list on the way.

    Raises:
        Rejected: it does not; the field is the first member that is not there, in the record system's terms.
    """
    present = [node]
    for step in split_expression(path):
        following = []
        for one in present:
            found = one.select(step)
            if not found:
                raise Rejected("it must be there", field=name_missing(one, step))
            following += found
        present = following


def _check_known(found: Sequence[Node], codes: Iterable[str]) -> None:
    known = {one.casefold() for one in codes}
    for one in found:
        if not has_text(one) or one.text().casefold() not in known:
            raise Rejected("a code that the mapping does not know", field=one.path)


def _fits(node: Node, condition: Condition) -> bool:
    text = node.text().casefold()
    if condition.matches is not None and re.search(condition.matches, text, re.IGNORECASE) is None:
        return False
    if condition.equals is not None and text not in {one.casefold() for one in condition.equals}:
        return False
    return condition.begins is None or text.startswith(condition.begins.casefold())


def _translate(found: Node, spec: FieldSpec) -> str | None:
    text = found.text()
    if spec.pattern is not None:
        match = re.search(spec.pattern, text)
        if match is None:
            return None
        text = match[match.lastindex or 0]
    if spec.begins is not None:
        for beginning, value in spec.begins.items():
            if text.casefold().startswith(beginning.casefold()):
                return value
    if spec.table is None:
        if spec.begins is None and (spec.pattern is None or spec.other is None):
            return text
    elif text in spec.table:
        return spec.table[text]
    elif spec.any_case:
        folded = {key.casefold(): value for key, value in spec.table.items()}
        if text.casefold() in folded:
            return folded[text.casefold()]
    if spec.other is not None:
        return text if spec.other == "=" else spec.other
    raise Rejected("a code that the mapping does not know", field=found.path)


def name_found(node: Node, spec: FieldSpec | None) -> str | None:
    """Return the path at which a spec finds its value (the first of several for a joined one), or none."""
    found = read_field(node, spec)
    return None if found is None else found.path


def name_missing(node: Node, wanted: FieldSpec | str | None) -> str:
    """Return the path of something that is not there: what is there of it, then the first member that is not."""
    expression = wanted if isinstance(wanted, str) else wanted.path[0] if wanted is not None and wanted.path else ""
    base = node.root if expression.startswith("/") else node
    for step in split_expression(expression.removeprefix("/")):
        found = base.first(step)
        if found is None:
            name = step.split("[")[0]
            return (base.path + name if name.startswith("@") else f"{base.path}.{name}").strip(".")
        base = found
    return base.path
