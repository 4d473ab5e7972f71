"""Content: every piece of a record into the compartment where it belongs, for a subject or for the incident as a whole (FORMATS CH-6).

A compartment is present when something is in it, so the rule of presence and the rule of place are one.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from adapters.mapping.facts import find_heading
from adapters.mapping.model import AttachmentSpec, ContentSpec
from adapters.mapping.nodes import Node
from adapters.mapping.people import FAMILY, INFORMANT, SUBJECT, SUSPECT, WITNESS, Person
from adapters.mapping.redaction import Redactor
from adapters.mapping.specs import AttributeSpec
from adapters.mapping.values import Found, RecordContext, has_text, meets, read_all
from schemas.codes import Compartment, SubjectType
from schemas.errors import Rejected
from schemas.ethnicity import EthnicityRecord
from schemas.local_time import parse_date
from schemas.referral import Attachment, Handling, Part, PersonCategory, Statement, StatementBasis

C = Compartment
OF_SUBJECT = frozenset({C.C01, C.C02, C.C03, C.C06, C.C07, C.C08, C.C11, C.C12, C.C13, C.C14})
"""Compartments that are cut by subject: a school sees its own child's alone. The others tell of the incident as a whole."""

_SUBJECT_ROUTES = {
    "identity": C.C01,
    "contact": C.C02,
    "sealed": C.C12,
    "family": C.C03,
    "health": C.C07,
    "education": C.C08,
    "offender": C.C09,
    "immigration": C.C11,
    "culture": C.C13,
    "access": C.C14,
    "scene": C.C04,
}
_FAMILY_ROUTES = {**_SUBJECT_ROUTES, "identity": C.C03, "education": C.C03}
_ALL_TO: dict[str, Compartment] = {SUSPECT: C.C09, INFORMANT: C.C10, WITNESS: C.C04}
_KEPT_APART = {"sealed": C.C12, "immigration": C.C11}
"""Sealed and immigration data of anybody go nowhere else (FORMATS CH-6: any nationality; a sealed address)."""
_ROLE_ROUTES = {("scene", "contact"): C.C04, ("sibling", "contact"): C.C03}
"""FORMATS CH-6: the scene is C04; C02 is of a subject, parent or household member."""


class ContentBuilder:
    """Gathers statements by compartment and subject."""

    def __init__(self, context: RecordContext, people: Sequence[Person]) -> None:
        self._context = context
        self._people = {person.ref: person for person in people}
        self._subjects = [person for person in people if person.is_subject]
        self._only_subject = self._subjects[0].ref if len(self._subjects) == 1 else None
        self._statements: dict[tuple[Compartment, str | None], list[Statement]] = {}
        self._attachments: dict[tuple[Compartment, str | None], list[Attachment]] = {}
        self._quiet: list[tuple[Compartment, Compartment, str | None, Statement]] = []

    def add(self, compartment: Compartment, subject: str | None, statement: Statement) -> None:
        """Add a statement; content of compartments that tell of the whole incident is never cut by subject."""
        key = (compartment, subject if compartment in OF_SUBJECT else None)
        self._statements.setdefault(key, []).append(statement)

    def holds(self, compartment: Compartment) -> bool:
        """Return whether the compartment is present so far."""
        return any(key[0] is compartment for key in (*self._attachments, *self._statements))

    def list_values(self, compartment: Compartment) -> list[JsonValue]:
        """Return the values of a compartment's statements."""
        return [s.value for key, found in self._statements.items() if key[0] is compartment for s in found]

    def add_person(self, person: Person) -> None:
        """Add all attributes of a person, place or group under each of its roles."""
        groups = {sort: self._read_group(person, group) for sort, group in person.spec.attributes.items()}
        for role in person.roles:
            if role == SUBJECT:
                self._add_subject(person, groups)
            elif role in _ALL_TO:
                self._add_outsider(person, role, groups)
            else:
                self._add_family(person, role, groups)

    def add_ethnicity(self, person: Person) -> None:
        """Add the ethnicity record: of subjects always, of relatives where something was recorded, of suspects in C09 (FORMATS CH-6)."""
        record = person.ethnicity
        if not person.is_person or record is None:
            record = EthnicityRecord(reason_absent="not_recorded") if person.is_person else None
        if record is None or (not person.is_subject and record.source_value is None):
            return
        value = record.model_dump(mode="json", exclude_none=True)
        if person.is_subject:
            self.add(C.C13, person.ref, _say("Ethnicity", value, person, PersonCategory.VICTIM))
        elif FAMILY & set(person.roles):
            for subject in self._find_relatives(person):
                self.add(C.C13, subject, _say("Ethnicity of a relative", value, person, PersonCategory.OTHER))
        else:
            place = _ALL_TO.get(person.roles[0])
            if place is not None:
                self.add(place, None, _say("Ethnicity", value, person, PersonCategory.OTHER))

    def add_do_not_tell(self, person: Person) -> None:
        """Add to C14 who must not be told: by reference and relation, never by name, because C14 goes to everybody."""
        parties: list[JsonValue] = []
        for found in read_all(person.node, person.spec.do_not_tell):
            other = self._people.get(found.text)
            words = [r for r in other.relations.values() if r] if other is not None else []
            parties.append({"Reference": found.text, **({"Relation": "; ".join(words)} if words else {})})
        if parties:
            self.add(C.C14, person.ref if person.is_subject else None, _say("Do not tell", parties, person, None))

    def add_content(self, spec: ContentSpec) -> None:
        """Add what a content spec finds."""
        if not meets(self._context.node, spec.when):
            return
        for path in spec.path:
            found = self._context.node.select(path)
            for node in found:
                self._add_found(spec, node)
            if found:
                return

    def add_attachments(self, spec: AttachmentSpec) -> None:
        """Add the files, each with its heading's compartment.

        Raises:
            Rejected: the data is no Base64, or its size or SHA-256 is not what was declared.
        """
        for node in self._context.node.select(spec.each):
            heading = node.first(spec.heading)
            place = find_heading(self._context, Found(heading.text(), heading.path)) if heading else C.C04
            subject = self._only_subject if place in OF_SUBJECT else None
            self._attachments.setdefault((place, subject), []).append(_read_attachment(spec, node))

    def settle_quiet(self) -> None:
        """Put quiet content where its compartment is present, else where the mapping says."""
        for wanted, otherwise, subject, statement in self._quiet:
            self.add(wanted if self.holds(wanted) else otherwise, subject, statement)
        self._quiet.clear()

    def rewrite(self, redactor: Redactor) -> None:
        """Take out of every compartment what may only stand in another, and keep what was written in that other one."""
        kept: list[tuple[Compartment, Statement]] = []
        for (place, _), statements in self._statements.items():
            for number, statement in enumerate(statements):
                value, homes = redactor.redact(statement.value, place)
                if homes:
                    for home in sorted(
                        homes
                    ):  # each keeps what was written, without what may only stand in yet another
                        update = {
                            "label": f"As written: {statement.label}",
                            "value": redactor.redact(statement.value, home)[0],
                        }
                        kept.append((home, statement.model_copy(update=update)))
                    statements[number] = statement.model_copy(update={"value": value})
        for home, original in kept:
            self.add(home, None, original)
        for (place, _), attachments in self._attachments.items():
            attachments[:] = [_redact_labels(one, redactor, place) for one in attachments]

    def build(self, summaries: dict[Compartment, str]) -> list[Part]:
        """Return the parts in order; a summary belongs to the part of the incident as a whole, where there is one."""
        keys = set(self._statements) | set(self._attachments)
        parts = []
        for compartment, subject in sorted(keys, key=lambda key: (key[0], key[1] is not None, key[1] or "")):
            whole = subject is None or (compartment, None) not in keys
            parts.append(
                Part(
                    compartment=compartment,
                    subject_ref=subject,
                    statements=tuple(self._statements.get((compartment, subject), ())),
                    summary=summaries.get(compartment) if whole else None,
                    attachments=tuple(self._attachments.get((compartment, subject), ())),
                )
            )
        return parts

    def _read_group(self, person: Person, group: dict[str, AttributeSpec]) -> dict[str, JsonValue]:
        return {
            label: value for label, spec in group.items() if (value := _read_attribute(person.node, spec)) is not None
        }

    def _add_subject(self, person: Person, groups: dict[str, dict[str, JsonValue]]) -> None:
        category = PersonCategory.VICTIM if person.is_person else None
        for sort, group in groups.items():
            place = C.C01 if sort == "contact" and person.type is SubjectType.PLACE else _SUBJECT_ROUTES[sort]
            for label, value in group.items():
                self.add(place, person.ref, _say(label, value, person, category))
        if not self._statements.get((C.C01, person.ref)):  # FORMATS CH-6: always there
            self.add(C.C01, person.ref, _say("Reference", person.ref, person, category))
        if person.is_suspect:
            self.add(C.C09, None, _say("Recorded as a suspect as well", True, person, PersonCategory.SUSPECT))

    def _add_outsider(self, person: Person, role: str, groups: dict[str, dict[str, JsonValue]]) -> None:
        category = {SUSPECT: PersonCategory.SUSPECT, WITNESS: PersonCategory.WITNESS}.get(role, PersonCategory.OTHER)
        if person.convicted:
            category = PersonCategory.CONVICTED
        if role == SUSPECT and person.is_subject:
            return
        value: dict[str, JsonValue] = {**_describe(person)}
        for sort, group in groups.items():
            if sort in _KEPT_APART and role != INFORMANT and group:
                self.add(
                    _KEPT_APART[sort], None, _say(f"{role.title()} {person.ref}: {sort}", dict(group), person, category)
                )
            else:
                value.update(group)
        self.add(_ALL_TO[role], None, _say(role.title(), value, person, category))

    def _add_family(self, person: Person, role: str, groups: dict[str, dict[str, JsonValue]]) -> None:
        """Say of each subject who is family to them: once a subject, because a school may know of its own pupil alone."""
        for subject in self._find_relatives(person):
            relations = self._describe_relations(person, subject)
            if role in FAMILY:
                identity = {**_describe_reference(person), **relations, **groups.get("identity", {})}
                self.add(C.C03, subject, _say(role.title(), identity, person, PersonCategory.OTHER))
            for sort, group in groups.items():
                if not group or sort == "identity":
                    continue
                if (
                    sort == "contact" and person.is_suspect
                ):  # FORMATS CH-6: not of a suspect, whose contact details are in C09
                    continue
                place = _ROLE_ROUTES.get((role, sort), _FAMILY_ROUTES[sort])
                relation = {} if role not in FAMILY else relations
                title = f"{role.title()} {person.ref}" if person.spec.ref is not None else role.title()
                self.add(place, subject, _say(title, {**relation, **group}, person, PersonCategory.OTHER))

    def _find_relatives(self, person: Person) -> list[str | None]:
        """Return the subjects to whom a relative belongs; the only subject, or none, when it is not said."""
        related: list[str | None] = [
            ref for ref in person.relations if ref in self._people and self._people[ref].is_subject
        ]
        return related or [self._only_subject]

    def _describe_relations(self, person: Person, subject: str | None) -> dict[str, JsonValue]:
        """Say how a relative is related to ``subject`` and to people who are no subjects: never to another subject."""
        other_subjects = {ref for ref, other in self._people.items() if other.is_subject} - {subject}
        told = {ref: words for ref, words in person.relations.items() if ref not in other_subjects}
        return _write_relations(told)

    def _add_found(self, spec: ContentSpec, node: Node) -> None:
        value = _pick_fields(node, spec.fields)
        if value is None:
            return
        ref = _read_ref(node, spec.person)
        person = self._people.get(ref) if ref is not None else None
        subject = person.ref if person is not None and person.is_subject else None
        if subject is None and spec.scope == "subject":
            subject = self._only_subject
        handling = None
        if spec.grading is not None or spec.handling is not None:
            handling = Handling(grading=_read_ref(node, spec.grading), code=_read_ref(node, spec.handling))
        statement = Statement(
            label=spec.label,
            value=value,
            basis=StatementBasis(spec.basis),
            person_category=PersonCategory(spec.category) if spec.category else None,
            person_ref=ref,
            handling=handling,
        )
        if spec.quiet:
            self._quiet.append((spec.to, spec.else_to or C.C04, subject, statement))
        else:
            self.add(spec.to, subject, statement)


def _say(label: str, value: JsonValue, person: Person, category: PersonCategory | None) -> Statement:
    return Statement(label=label, value=value, person_ref=person.ref, person_category=category)


def _describe(person: Person) -> dict[str, JsonValue]:
    return {**_describe_reference(person), **_write_relations(person.relations)}


def _describe_reference(person: Person) -> dict[str, JsonValue]:
    return {"Reference": person.ref} if person.spec.ref is not None else {}


def _write_relations(relations: Mapping[str, str]) -> dict[str, JsonValue]:
    if not relations:
        return {}
    return {"Relation": "; ".join(f"{words} of {ref}" if ref else words for ref, words in relations.items())}


def _read_ref(node: Node, path: str | None) -> str | None:
    found = node.first(path) if path is not None else None
    return found.text() if found is not None and has_text(found) else None


def _read_attribute(node: Node, spec: AttributeSpec) -> JsonValue:
    if not meets(node, spec.when):
        return None
    values: list[JsonValue] = []
    for path in spec.path:
        for found in node.select(path):
            value = _pick_fields(found, spec.fields)
            if isinstance(value, str):
                value = spec.table.get(value, value) if spec.table is not None else value
                value = parse_date(value, field=found.path).isoformat() if spec.date else value
            if value is not None:
                values.append(value)
    return None if not values else values[0] if len(values) == 1 else values


def _pick_fields(node: Node, fields: dict[str, str] | None) -> JsonValue:
    """Return a node's value: whole, or the members that ``fields`` labels."""
    if fields is None:
        return _read_value(node)
    if not isinstance(node.value, dict):
        return node.plain()
    picked: dict[str, JsonValue] = {}
    for label, path in fields.items():
        values: list[JsonValue] = [
            value
            for one in node.select(path)
            if (value := _read_value(one)) is not None and one.value is not node.value
        ]
        if path == "." and has_text(node):
            values = [node.text()]
        if values:
            picked[label] = values[0] if len(values) == 1 else values
    return picked or None


def _read_value(node: Node) -> JsonValue:
    """Return a value: of an element with text that text, else the whole, and none for an object or list with nothing in it."""
    if isinstance(node.value, dict) and has_text(node):
        return node.text()
    value = node.plain()
    return None if value in ({}, []) else value


def _redact_labels(attachment: Attachment, redactor: Redactor, place: Compartment) -> Attachment:
    """Return a file whose name and description are fit for its compartment; its own content is its sender's to choose."""
    texts = {"name": attachment.name, "description": attachment.description}
    return attachment.model_copy(update={name: redactor.redact(text, place)[0] for name, text in texts.items()})


def _read_attachment(spec: AttachmentSpec, node: Node) -> Attachment:
    data = node.first(spec.data)
    if data is None:
        raise Rejected("a file without its data", field=f"{node.path}.{spec.data}")
    try:
        content = base64.b64decode(data.text().encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError):
        raise Rejected("the data is not Base64", field=data.path) from None
    size, digest = node.first(spec.size), node.first(spec.sha256)
    if size is not None and size.text() != str(len(content)):
        raise Rejected("the file has another size than was declared", field=size.path)
    actual = hashlib.sha256(content).hexdigest()
    if digest is not None and digest.text().lower() != actual:
        raise Rejected("the file has another SHA-256 than was declared", field=digest.path)
    return Attachment(
        name=_read_ref(node, spec.name) or "unnamed",
        media_type=_read_ref(node, spec.media_type) or "application/octet-stream",
        size=len(content),
        sha256=actual,
        description=_read_ref(node, spec.description),
        data_b64=base64.b64encode(content).decode("ascii"),
    )
