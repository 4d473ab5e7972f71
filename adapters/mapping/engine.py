"""The mapping engine: bytes of a record system in, referrals out. A fault of the document stops it all, a fault of a record that record alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from adapters.mapping.addressing import Addresses, read_conflicts, read_tokens
from adapters.mapping.content import ContentBuilder
from adapters.mapping.facts import (
    Assessment,
    choose_assessment,
    find_provision,
    make_risk,
    read_assessments,
    read_basis,
    read_clocks,
    read_confidence,
    read_consent,
    read_hold,
    read_may_know,
    read_tell,
)
from adapters.mapping.limits import check_text
from adapters.mapping.model import Mapping
from adapters.mapping.origin import Origin, check_times, find_area, find_sender, read_origin
from adapters.mapping.people import Person, check_births, read_people
from adapters.mapping.quality import flag_people, flag_record, flag_risk, flag_voice
from adapters.mapping.records import split_records
from adapters.mapping.redaction import Redactor, list_phrases
from adapters.mapping.subjects import make_subjects
from adapters.mapping.unread import list_unread
from adapters.mapping.values import RecordContext, meets, read_text, require
from adapters.mapping.wording import say_always, say_decision, word_decision_summary, word_risk_summary
from schemas.codes import Compartment, Kind, RiskGrade
from schemas.directory import Agency, Directory
from schemas.errors import Rejected
from schemas.header import LawfulBasis
from schemas.identifiers import parse_identifier
from schemas.referral import CirculationEntry, Consent, Hold, Part, Referral, StatedRisk, Tell

_POLICE = "police"


@dataclass(frozen=True, slots=True)
class MappingContext:
    """What surrounds a document: the signed directory, the agency that handed it over (none: the record says), and when (the business clock)."""

    directory: Directory
    sender: str | None
    received_at: datetime


@dataclass(frozen=True, slots=True)
class RecordOutcome:
    """What became of one record: a referral, or the error with which it is rejected. ``number`` counts from 1."""

    number: int
    native_ref: str | None
    referral: Referral | None
    error: Rejected | None


def read_records(data: bytes, mapping: Mapping, context: MappingContext) -> list[RecordOutcome]:
    """Map every record of a document.

    Args:
        data: the document as received.
        mapping: its format.
        context: directory, sender and time of receipt.

    Returns:
        One outcome a record, in document order; good records go on beside rejected ones.

    Raises:
        Rejected: the document as a whole is faulty (FORMATS CH-25); nothing of it may be sent.
    """
    outcomes = []
    for number, record in enumerate(split_records(data, mapping), 1):
        native_ref: str | None = None
        try:
            node = record.open()
            surroundings = RecordContext(node, mapping, context.directory, context.received_at, context.sender)
            check_text(node, mapping.reader.binary)
            native_ref = read_text(node, mapping.record.native_ref)
            referral = _map_record(surroundings, number, record.digest)
            outcomes.append(RecordOutcome(number, native_ref, referral, None))
        except Rejected as error:
            outcomes.append(RecordOutcome(number, native_ref, None, error))
        except (
            ValueError,
            OverflowError,
            RecursionError,
        ):  # a rule of the contract's own types: no value may reach a trace
            outcomes.append(
                RecordOutcome(number, native_ref, None, Rejected("the record breaks a rule of the contract"))
            )
    return outcomes


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a record states, read before anything is written of it."""

    origin: Origin
    people: Sequence[Person]
    sender: Agency
    area: str
    addresses: Addresses
    hold: Hold | None
    circulation: tuple[CirculationEntry, ...]
    consent: Consent
    tell: Tell
    assessment: Assessment | None
    risk: StatedRisk
    task: str | None


def _map_record(context: RecordContext, number: int, digest: str) -> Referral:
    for one in context.mapping.required:
        if meets(context.node, one.when):
            require(context.node, one.path)
    _check_content(context)
    reading = _read_record(context)
    builder = _gather_content(context, reading.people)
    basis, words = read_basis(
        context,
        context.mapping.basis,
        reading.origin.decision_kind,
        art10=builder.holds(Compartment.C09),
        police=reading.sender.kind == _POLICE,
    )
    say_always(builder, reading.tell)
    say_decision(builder, basis, words, consent=reading.consent, tell=reading.tell, hold=reading.hold)
    parts = _finish_content(builder, reading.people, _word_summaries(context, reading, builder, basis))
    _flag(context, reading, parts)
    return _make_referral(context, reading, basis, parts, number=number, digest=digest)


def _read_record(context: RecordContext) -> _Reading:
    """Read what the record is, whom it is about and for, and what is said of telling them.

    Raises:
        Rejected: something of it is missing or contradicts itself.
    """
    origin = read_origin(context)
    people = read_people(context)
    sender = find_sender(context)
    area = find_area(context, sender)
    check_times(context, origin)
    check_births(context, people, origin.reported_at or origin.incident_at)
    addresses = Addresses(context, people, area=area, kind=origin.decision_kind)
    hold_spec = context.mapping.hold
    hold = read_hold(context, hold_spec, addresses) if hold_spec is not None else None
    may_know = frozenset(read_may_know(context, hold_spec)) if hold_spec and hold and hold.facts.active else frozenset()
    circulation = addresses.list_entries(may_know)
    consent = read_consent(context, context.mapping.consent, people, addresses)
    tell = read_tell(context, people, addresses)
    assessment = choose_assessment(read_assessments(context, _name_area(context.directory, sender.area)))
    return _Reading(
        origin=origin,
        people=people,
        sender=sender,
        area=area,
        addresses=addresses,
        hold=hold,
        circulation=circulation,
        consent=consent,
        tell=tell,
        assessment=assessment,
        risk=make_risk(assessment, danger=origin.danger),
        task=_read_task(context, origin.kind),
    )


def _word_summaries(
    context: RecordContext, reading: _Reading, builder: ContentBuilder, basis: LawfulBasis
) -> dict[Compartment, str]:
    """Return what goes where a compartment goes as a summary: the record's words, else words made of codes."""
    summaries = {
        compartment: text
        for compartment, spec in context.mapping.summaries.items()
        if (text := read_text(context.node, spec)) is not None
    }
    summaries[Compartment.C17] = word_decision_summary(
        basis, reading.consent, reading.tell, reading.origin.kind, reading.task
    )
    if builder.holds(Compartment.C05):
        summaries.setdefault(Compartment.C05, word_risk_summary(reading.risk))
    return summaries


def _flag(context: RecordContext, reading: _Reading, parts: Sequence[Part]) -> None:
    origin, people = reading.origin, reading.people
    flag_people(context, people)
    flag_voice(context, people, heard=any(part.compartment is Compartment.C06 for part in parts))
    flag_risk(context, people, reading.assessment, kind=origin.decision_kind, missing_event=origin.missing_event)
    flag_record(context, reading.tell, origin.decision_kind)


def _make_referral(
    context: RecordContext, reading: _Reading, basis: LawfulBasis, parts: tuple[Part, ...], *, number: int, digest: str
) -> Referral:
    mapping, origin, addresses = context.mapping, reading.origin, reading.addresses
    subjects = [person for person in reading.people if person.is_subject]
    return Referral(
        mapping=mapping.id,
        record_number=number,
        sender=reading.sender.id,
        native_ref=origin.native_ref,
        native_digest=digest,
        kind=origin.kind,
        original_kind=origin.original_kind,
        relates_to=origin.relates_to,
        missing_event=origin.missing_event,
        area=reading.area,
        occurrence_ref=origin.occurrence_ref,
        reported_at=origin.reported_at,
        received_at=context.received_at,
        subjects=make_subjects(context, subjects),
        parts=parts,
        risk=reading.risk,
        lawful_basis=basis,
        consent=reading.consent,
        tell_status=reading.tell,
        embargo=reading.hold,
        conflicts=tuple(dict.fromkeys(c for spec in mapping.conflicts for c in read_conflicts(context, spec))),
        tokens=tuple(read_tokens(context, mapping.tokens, addresses)) if mapping.tokens is not None else (),
        clinical_confidence=read_confidence(context, subjects, reading.consent.facts),
        statutory_task=reading.task,
        clocks=read_clocks(context),
        circulation=reading.circulation,
        quality_flags=tuple(sorted(context.flags)),
        urgent=origin.danger or reading.risk.grade is RiskGrade.HIGH or origin.decision_kind == Kind.POLICE_PROTECTION,
        unmapped=list_unread(context.node, mapping),
    )


def _check_content(context: RecordContext) -> None:
    """Check identifiers and times that no rule reads, because a recipient will.

    Raises:
        Rejected: one is malformed.
    """
    for identifier in context.mapping.identifiers:
        for found in context.node.select(identifier.path):
            parse_identifier(identifier.scheme, found.text(), test_mode=context.test_mode, field=found.path)
    for path in context.mapping.times:
        for found in context.node.select(path):
            context.note_moment(found.text(), found.path)


def _gather_content(context: RecordContext, people: Sequence[Person]) -> ContentBuilder:
    builder = ContentBuilder(context, people)
    for person in people:
        builder.add_person(person)
        builder.add_ethnicity(person)
        builder.add_do_not_tell(person)
    for spec in context.mapping.content:
        builder.add_content(spec)
    if context.mapping.attachments is not None:
        builder.add_attachments(context.mapping.attachments)
    builder.settle_quiet()
    return builder


def _finish_content(
    builder: ContentBuilder, people: Sequence[Person], summaries: dict[Compartment, str]
) -> tuple[Part, ...]:
    own = [*builder.list_values(Compartment.C02), *builder.list_values(Compartment.C03)]
    sealed, sources = builder.list_values(Compartment.C12), builder.list_values(Compartment.C10)
    redactor = Redactor(list_phrases(people, sealed, sources, own))
    builder.rewrite(redactor)
    fit = {place: str(redactor.redact(text, place)[0]) for place, text in summaries.items()}
    return tuple(builder.build(fit))


def _read_task(context: RecordContext, kind: str) -> str | None:
    """Return the statutory task of a request as a code: the Act and section it names, else that one is stated."""
    words = read_text(context.node, context.mapping.statutory_task)
    if words is None or kind != Kind.REQUEST:
        return None
    return find_provision(words) or "stated"


def _name_area(directory: Directory, gss: str) -> str:
    return next((area.name for area in directory.partnership.areas if area.gss == gss), "")
