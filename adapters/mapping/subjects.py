"""Subjects: whom and what the referral is about, as the routing header will name them, and the agencies tied to each."""

from collections.abc import Sequence

from adapters.mapping.addressing import find_by_identifier
from adapters.mapping.people import Person
from adapters.mapping.values import RecordContext
from schemas.local_time import find_age_band, local_date
from schemas.referral import Subject

_TIED = {"school": "urn", "practice": "ods", "carer": "ofsted_urn"}
"""Own school, own practice, own home: the identifier's use, and its scheme in the directory."""


def make_subjects(context: RecordContext, people: Sequence[Person]) -> tuple[Subject, ...]:
    """Return the subjects in the record's order."""
    return tuple(_make_subject(context, person) for person in people)


def _make_subject(context: RecordContext, person: Person) -> Subject:
    if not person.is_person:
        return Subject(ref=person.ref, type=person.type)
    day = local_date(context.received_at)
    return Subject(
        ref=person.ref,
        type=person.type,
        age_band=find_age_band(person.born, person.due, day),
        age=person.age(context.received_at),
        born=person.born,
        expected_delivery=person.due if person.born is None else None,
        nhs_number=person.nhs_number,
        ethnicity=person.ethnicity,
        tied_agencies=_find_tied(context, person),
        identifiers=person.subject_identifiers(),
    )


def _find_tied(context: RecordContext, person: Person) -> tuple[str, ...]:
    found = []
    for use, scheme in _TIED.items():
        if use in person.identifiers:
            agency = find_by_identifier(context.directory, scheme, person.identifiers[use])
            if agency is not None:
                found.append(agency.id)
    return tuple(dict.fromkeys(found))
