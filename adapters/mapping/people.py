"""People, places and groups of a record: who they are to it, when they were born, their identifiers, ethnicity and interpreter."""

from dataclasses import dataclass, field
from datetime import date, datetime

from adapters.mapping.ethnic import read_ethnicity
from adapters.mapping.nodes import Node
from adapters.mapping.specs import PeopleSpec
from adapters.mapping.values import RecordContext, meets, read_all, read_date, read_field, read_text, read_yes
from schemas.codes import SubjectType
from schemas.errors import Rejected
from schemas.ethnicity import EthnicityRecord
from schemas.local_time import age_on, is_child, local_date
from schemas.referral import NhsNumberState, SubjectIdentifier

SUBJECT, SUSPECT, INFORMANT, WITNESS = "subject", "suspect", "informant", "witness"
FAMILY = frozenset({"parent", "sibling", "household"})
ROLES = FAMILY | {SUBJECT, SUSPECT, INFORMANT, WITNESS, "address", "scene"}
_SCHEMES = {
    "nhs": "nhs",
    "upn": "upn",
    "pnc": "pnc",
    "school": "urn",
    "practice": "ods",
    "carer": "ofsted_urn",
    "placing": "gss",
}
"""Identifiers of a person by their use in a mapping, with the scheme that checks them."""


@dataclass(slots=True)
class Person:
    """Somebody or something in a record. ``roles`` are to the record as a whole."""

    ref: str
    roles: tuple[str, ...]
    type: SubjectType
    node: Node
    spec: PeopleSpec
    convicted: bool = False
    born: date | None = None
    due: date | None = None
    deceased: bool = False
    surname: str | None = None
    forenames: str | None = None
    full_name: str | None = None
    relations: dict[str, str] = field(default_factory=dict)
    identifiers: dict[str, str] = field(default_factory=dict)
    nhs_number: NhsNumberState | None = None
    nhs_absent_reason: str | None = None
    ethnicity: EthnicityRecord | None = None
    restricted_words: tuple[str, ...] = ()

    @property
    def is_subject(self) -> bool:
        """Whether the referral is about them."""
        return SUBJECT in self.roles

    @property
    def is_person(self) -> bool:
        """Whether this is a human being."""
        return self.type is SubjectType.PERSON

    @property
    def is_suspect(self) -> bool:
        """Whether they are suspected."""
        return SUSPECT in self.roles

    @property
    def unborn(self) -> bool:
        """Whether they are expected and not born."""
        return self.born is None and self.due is not None

    def name(self) -> str | None:
        """Return the full name as the record gives it, forenames first."""
        return self.full_name or " ".join(part for part in (self.forenames, self.surname) if part) or None

    def age(self, received_at: datetime) -> int | None:
        """Return the age in years on the local date of receipt."""
        return None if self.born is None else age_on(self.born, local_date(received_at))

    def is_living_child(self, received_at: datetime) -> bool:
        """Return whether they are born, have not died, and are under 18 on the local date of receipt."""
        return self.is_person and not self.deceased and is_child(self.born, local_date(received_at))

    def subject_identifiers(self) -> tuple[SubjectIdentifier, ...]:
        """Return the identifiers from which tokens are made: NHS number (by its state), UPN, and name with date of birth."""
        found = []
        if "nhs" in self.identifiers:
            scheme = "nhs" if self.nhs_number is NhsNumberState.VERIFIED else "nhs_unverified"
            found.append(SubjectIdentifier(scheme=scheme, value=self.identifiers["nhs"]))
        if "upn" in self.identifiers:
            found.append(SubjectIdentifier(scheme="upn", value=self.identifiers["upn"]))
        if self.born and self.surname and self.forenames:
            name = write_name_born(self.surname, self.forenames, self.born)
            found.append(SubjectIdentifier(scheme="name_born", value=name))
        return tuple(found)


def write_name_born(surname: str, forenames: str, born: date) -> str:
    """Return the value of the identifier ``name_born``: surname, first forename and date of birth. ``forenames`` is not blank."""
    return f"{surname}|{forenames.split(maxsplit=1)[0]}|{born.isoformat()}".casefold()


def read_people(context: RecordContext) -> list[Person]:
    """Return everybody and everything that the record names, in its order.

    Raises:
        Rejected: a malformed field, a reference used twice, two subjects with one NHS number, or no subject at all.
    """
    people: list[Person] = []
    for spec in context.mapping.people:
        for node in context.node.select(spec.each):
            if meets(node, spec.when) and (person := _read_person(context, spec, node, len(people))) is not None:
                people.append(person)
    _check_unique(people)
    if not any(person.is_subject for person in people):
        reader = context.mapping.reader
        place = reader.link if reader.format == "xml" else context.mapping.people[0].each.split("[")[0]
        raise Rejected("there is nobody whom the record is about", field=place)
    return people


def _read_person(context: RecordContext, spec: PeopleSpec, node: Node, number: int) -> Person | None:
    roles = tuple(dict.fromkeys(found.text for found in read_all(node, spec.role) if found.text in ROLES))
    if not roles:
        return None
    if spec.suspected is not None and meets(node, spec.suspected):
        roles = (*roles, SUSPECT) if SUSPECT not in roles else roles
    ref = read_text(node, spec.ref) or (roles[0] if spec.ref is None or number == 0 else f"{roles[0]}-{number + 1}")
    person = Person(
        ref=ref,
        roles=roles,
        type=SubjectType(read_text(node, spec.type) or SubjectType.PERSON),
        node=node,
        spec=spec,
        convicted=spec.convicted is not None and meets(node, spec.convicted),
        born=read_date(node, spec.born),
        due=read_date(node, spec.due),
        deceased=bool(read_yes(node, spec.deceased)),
        surname=read_text(node, spec.names.surname),
        forenames=read_text(node, spec.names.forenames),
        full_name=read_text(node, spec.names.full),
        relations=_read_relations(node, spec),
        restricted_words=tuple(found.text for found in read_all(node, spec.restricted_words)),
    )
    for use, field_spec in spec.identifiers.items():
        found = context.read_identifier(node, field_spec, _SCHEMES[use])
        if found is not None:
            person.identifiers[use] = found.text
    if person.is_person:
        _read_nhs_number(context, person)
        person.ethnicity = read_ethnicity(
            context, node, spec.ethnicity, unborn=person.unborn, flagged=person.is_subject
        )
    return person


def _read_relations(node: Node, spec: PeopleSpec) -> dict[str, str]:
    relations = {}
    if (
        spec.relations is not None
        and (found := node.first(spec.relations)) is not None
        and isinstance(found.value, dict)
    ):
        found.plain()
        relations = {key: str(value) for key, value in found.value.items() if isinstance(value, str)}
    single = read_text(node, spec.relation)
    if single is not None:
        relations[""] = single
    return relations


def _read_nhs_number(context: RecordContext, person: Person) -> None:
    person.nhs_absent_reason = read_text(person.node, person.spec.nhs_absent)
    if "nhs" not in person.identifiers:
        person.nhs_number = NhsNumberState.ABSENT if context.mapping.ask_nhs_number else None
        return
    state = read_text(person.node, person.spec.nhs_state)
    person.nhs_number = NhsNumberState.VERIFIED if state == "verified" else NhsNumberState.UNVERIFIED


def _check_unique(people: list[Person]) -> None:
    refs: dict[str, Person] = {}
    numbers: dict[str, Person] = {}
    for person in people:
        same = refs.setdefault(person.ref, person)
        if same is not person and person.spec.ref is not None and same.spec.ref is not None:
            raise Rejected("two people with one reference", field=_locate(person, person.spec.ref.path))
        number = person.identifiers.get("nhs")
        if number is None or not person.is_subject:
            continue
        if numbers.setdefault(number, person) is not person:
            raise Rejected(
                "two subjects with the same NHS number", field=_locate(person, person.spec.identifiers["nhs"].path)
            )


def _locate(person: Person, paths: tuple[str, ...]) -> str:
    found = next((node for path in paths if (node := person.node.first(path)) is not None), person.node)
    return found.path


def check_births(context: RecordContext, people: list[Person], incident: datetime | None) -> None:
    """Check that nobody whom the record is about was born after the incident was reported, or after receipt.

    What happened may have begun before a child was born, so the report's day is what counts.

    Raises:
        Rejected: at the date of birth.
    """
    limit = local_date(min(incident, context.received_at) if incident is not None else context.received_at)
    for person in people:
        if person.is_subject and person.born is not None and person.born > limit and person.due is None:
            found = read_field(person.node, person.spec.born)
            raise Rejected(
                "born after the incident, with no expected date of delivery", field=found.path if found else None
            )
