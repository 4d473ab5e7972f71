"""Quality flags (FORMATS CH-23): what was left out or does not fit. A flag never blocks."""

from collections.abc import Sequence

from adapters.mapping.defaults import load_defaults
from adapters.mapping.facts import Assessment
from adapters.mapping.people import FAMILY, Person
from adapters.mapping.values import RecordContext, meets, read_all, read_yes
from schemas.codes import RISK_ORDER, Kind, RiskGrade, TellValue
from schemas.referral import NhsNumberState, Tell

_LOW_GRADES = frozenset({RiskGrade.LOW, RiskGrade.NO_APPARENT_RISK})


def flag_people(context: RecordContext, people: Sequence[Person]) -> None:
    """Raise flags on NHS numbers and interpreters."""
    for person in people:
        if person.is_subject and person.is_person and not person.unborn:
            _flag_nhs_number(context, person)
        if person.is_person and (person.is_subject or FAMILY & set(person.roles)):
            _flag_interpreter(context, person)
    consent = context.mapping.consent
    if consent.interpreter_relative is not None and meets(context.node, consent.interpreter_relative):
        context.flags.add("interpreter_was_relative")


def flag_voice(context: RecordContext, people: Sequence[Person], *, heard: bool) -> None:
    """Raise ``voice_absent`` when a living child is concerned and no child is heard."""
    if not heard and any(person.is_subject and person.is_living_child(context.received_at) for person in people):
        context.flags.add("voice_absent")


def flag_risk(
    context: RecordContext,
    people: Sequence[Person],
    assessment: Assessment | None,
    *,
    kind: str,
    missing_event: str | None,
) -> None:
    """Raise flags on the assessment that grades the referral, or on its absence; ``kind`` is the original one."""
    flags = context.flags
    if assessment is None:
        if kind in load_defaults().risk_expected:
            flags.add("risk_assessment_absent")
        return
    if assessment.review_at is not None and assessment.review_at < context.received_at and missing_event != "found":
        flags.add("risk_assessment_stale")
    if not assessment.has_rationale:
        flags.add("risk_rationale_missing")
    before = assessment.grade_before
    if before is not None and RISK_ORDER.index(before) > RISK_ORDER.index(assessment.grade):
        flags.add("risk_downgraded")
    children = any(person.is_subject and person.is_living_child(context.received_at) for person in people)
    if kind == Kind.MISSING and assessment.grade in _LOW_GRADES and children:
        flags.add("missing_low_risk_under_18")


def flag_record(context: RecordContext, tell: Tell, kind: str) -> None:
    """Raise flags on the supervisor's check, on telling against the preset, and on a declined prevention interview."""
    mapping, flags = context.mapping, context.flags
    if mapping.supervisor is not None and context.node.first(mapping.supervisor) is None:
        flags.add("supervisor_check_absent")
    if kind in load_defaults().tell_preset_no and tell.facts.value is TellValue.TELL:
        flags.add("tell_status_against_preset")
    for flag, condition in mapping.flags.items():
        if meets(context.node, condition):
            flags.add(flag)


def _flag_nhs_number(context: RecordContext, person: Person) -> None:
    if person.nhs_number is NhsNumberState.UNVERIFIED:
        context.flags.add("nhs_number_unverified")
    elif person.nhs_number is NhsNumberState.ABSENT:
        context.flags.add("nhs_number_absent" if person.nhs_absent_reason else "nhs_number_absent_no_reason")


def _flag_interpreter(context: RecordContext, person: Person) -> None:
    spec = person.spec.interpreter
    if spec is None:
        return
    needed = read_yes(person.node, spec.needed)
    if needed and spec.used is not None and not read_yes(person.node, spec.used):
        context.flags.add("interpreter_needed_not_used")
    if any(found.text == "yes" for found in read_all(person.node, spec.relative)):
        context.flags.add("interpreter_was_relative")
