"""Facts for the routing header: risk, ground, consent, telling, embargo, clocks and clinical confidence (FORMATS CH-16 to CH-27)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import TypeAdapter

from adapters.mapping.addressing import Addresses, make_clear
from adapters.mapping.defaults import load_defaults
from adapters.mapping.model import BasisSpec, ConsentSpec, HoldSpec
from adapters.mapping.nodes import Node
from adapters.mapping.people import SUBJECT, Person
from adapters.mapping.specs import AssessmentSpec
from adapters.mapping.values import (
    Found,
    RecordContext,
    meets,
    name_found,
    name_missing,
    read_all,
    read_day,
    read_field,
    read_text,
    read_yes,
)
from schemas.clear_codes import Reason
from schemas.clear_forms import ReasonCode, WordingVersion, fit
from schemas.codes import RISK_ORDER, Art6, Compartment, ConsentGiver, ConsentState, RiskGrade, TellValue
from schemas.errors import Rejected
from schemas.header import (
    ClinicalConfidence,
    ClockStarts,
    ConsentFacts,
    ConsentScope,
    Embargo,
    LawfulBasis,
    TellStatus,
)
from schemas.local_time import latest_acceptable
from schemas.referral import Consent, Hold, StatedRisk, Tell

_SECTION = re.compile(r"s(?:ection|\.)\s?(\d{1,3}[A-Z]{0,4})", re.IGNORECASE)
_SECTION_GAP = 3
_OF_THE = re.compile(r"[, ]*(?:of )?(?:the )?", re.IGNORECASE)
_GIVERS = frozenset(ConsentGiver)
_REASON: TypeAdapter[str] = TypeAdapter(ReasonCode)
_WORDING_VERSION: TypeAdapter[str] = TypeAdapter(WordingVersion)
_DEFAULT_EMBARGO_HOURS = 24
_PRESUMED_COMPETENT = 16


@dataclass(frozen=True, slots=True)
class Assessment:
    """A graded assessment of the record."""

    grade: RiskGrade
    grade_before: RiskGrade | None
    tool: str
    version: str | None
    done_at: datetime | None
    review_at: datetime | None
    has_rationale: bool
    alone: bool

    def rank(self) -> tuple[int, float]:
        """Return the order: by grade, then by time (FORMATS CH-22)."""
        return RISK_ORDER.index(self.grade), self.done_at.timestamp() if self.done_at else float("-inf")


def read_assessments(context: RecordContext, area_name: str) -> list[Assessment]:
    """Return the assessments that are live and graded; others are content and no more (FORMATS CH-6, CH-22)."""
    found = []
    for spec in context.mapping.assessments:
        for node in context.node.select(spec.each):
            live = meets(node, spec.when) and (spec.replaced is None or not meets(node, spec.replaced))
            if live and (assessment := _read_assessment(context, spec, node, area_name)) is not None:
                found.append(assessment)
    return found


def choose_assessment(assessments: Sequence[Assessment]) -> Assessment | None:
    """Return the one that grades the referral: the highest, on a tie the latest; THRIVE only when there is no other (FORMATS CH-22)."""
    graded = [a for a in assessments if not a.alone] or list(assessments)
    return max(graded, key=Assessment.rank, default=None)


def make_risk(assessment: Assessment | None, *, danger: bool) -> StatedRisk:
    """Return the risk as the record states it."""
    if assessment is None:
        return StatedRisk(immediate_danger=danger)
    return StatedRisk(
        grade=assessment.grade,
        immediate_danger=danger,
        tool=assessment.tool or None,
        tool_version=assessment.version,
        assessed_at=assessment.done_at,
        next_review_due_at=assessment.review_at,
    )


def read_basis(
    context: RecordContext, spec: BasisSpec, kind: str, *, art10: bool, police: bool
) -> tuple[LawfulBasis, str | None]:
    """Return the lawful basis and the words in which it is claimed (FORMATS CH-26).

    The provision is the first Act and section that the words name, else the mapping's for the kind.
    """
    ground = read_field(context.node, spec.ground)
    if ground is None:
        raise Rejected("a ground must be claimed", field=name_missing(context.node, spec.ground))
    words = read_text(context.node, spec.text)
    defaults = load_defaults()
    basis = LawfulBasis(
        art6=Art6(ground.text),
        provision=find_provision(words) or spec.provision.get(kind) or spec.provision.get("otherwise"),
        art9=defaults.art9.get(kind, defaults.art9_otherwise),
        art10=art10,
        part3_s36=police,
    )
    return basis, words


def find_provision(words: str | None) -> str | None:
    """Return the first Act and section that a text names, abbreviated (``CA 1989 s.47``), or none."""
    if words is None:
        return None
    acts = load_defaults().acts
    found = [
        (place, f"{short} s.{section[1]}")
        for act, short in [*acts.items(), *((short, short) for short in acts.values())]
        if (place := words.casefold().replace("’", "'").find(act.casefold())) >= 0
        and (section := _find_section(words, place, place + len(act))) is not None
    ]
    return min(found)[1] if found else None


def _find_section(words: str, start: int, end: int) -> re.Match[str] | None:
    """Return the section beside an Act that is named from ``start`` to ``end``: after it ("Act 1989 s.47") or before it ("s.47 of the Act")."""
    after = _SECTION.search(words, end)
    if after is not None and after.start() - end <= _SECTION_GAP:
        return after
    before = [one for one in _SECTION.finditer(words, 0, start) if _OF_THE.fullmatch(words, one.end(), start)]
    return before[-1] if before else None


def read_consent(context: RecordContext, spec: ConsentSpec, people: Sequence[Person], addresses: Addresses) -> Consent:
    """Return the consent record (FORMATS CH-18).

    Raises:
        Rejected: consent was not asked and no reason says why.
    """
    node = context.node
    status = read_field(node, spec.status)
    if status is None:
        raise Rejected("it must be there", field=name_missing(node, spec.status))
    state = ConsentState(status.text)
    reason = read_field(node, spec.reason)
    if state is ConsentState.NOT_SOUGHT and reason is None:
        raise Rejected("say why consent was not asked", field=name_missing(node, spec.reason))
    answered = state is not ConsentState.NOT_SOUGHT
    giver = _name_giver(read_text(node, spec.giver), context, people) if answered else None
    person = _find_giver(context, spec, people, giver) if answered else None
    suspected = answered and (
        (person is not None and person.is_suspect) or (spec.suspected is not None and meets(node, spec.suspected))
    )
    expires_at, withdrawn_at = context.read_moment(node, spec.expires), context.read_moment(node, spec.withdrawn)
    if state is ConsentState.GIVEN:
        state = _judge_given(context, suspected=suspected, withdrawn_at=withdrawn_at, expires_at=expires_at)
    if suspected:
        context.flags.add("consent_giver_suspected")
    facts = ConsentFacts(
        state=state,
        giver=ConsentGiver(giver) if giver in _GIVERS else None,
        giver_age=person.age(context.received_at) if person is not None else None,
        given_at=context.read_moment(node, spec.given) if answered else None,
        expires_at=expires_at,
        withdrawn_at=withdrawn_at,
        gillick_competent=read_yes(node, spec.competent) if answered else None,
        assessor_named=read_text(node, spec.assessor) is not None,
        giver_suspected=suspected,
        scope=_read_scope(context, spec, addresses) if answered else ConsentScope(),
        wording_version=fit(_WORDING_VERSION, read_text(node, spec.wording)),
        reason_code=_name_reason(reason),
    )
    return Consent(facts=facts, reason=reason.text if reason else None)


def read_tell(context: RecordContext, people: Sequence[Person], addresses: Addresses) -> Tell:
    """Return whether the family is told (FORMATS CH-27), and the agencies among those whom a person says not to tell (CH-15).

    Raises:
        Rejected: "do not tell" without a reason.
    """
    spec, node = context.mapping.tell, context.node
    value = read_field(node, spec.value)
    if value is None:
        raise Rejected("it must be there", field=name_missing(node, spec.value))
    reason = read_field(node, spec.reason)
    if value.text == TellValue.DO_NOT_TELL and reason is None:
        raise Rejected("say why the family is not told", field=name_missing(node, spec.reason))
    facts = TellStatus(
        value=TellValue(value.text),
        reason_code=_name_reason(reason),
        review_on=read_day(node, spec.review),
        parties=addresses.find_parties(
            found.text for person in people for found in read_all(person.node, person.spec.do_not_tell)
        ),
    )
    return Tell(facts=facts, reason=reason.text if reason else None, reviewer=read_text(node, spec.reviewer))


def read_hold(context: RecordContext, spec: HoldSpec, addresses: Addresses) -> Hold | None:
    """Return the embargo, if the record sets one: on until lifted, however overdue its review (FORMATS CH-16)."""
    node = context.node
    if not meets(node, spec.on):
        return None
    set_at, reviewed_at = context.read_moment(node, spec.set_at), context.read_moment(node, spec.reviewed)
    lifted_at = context.read_moment(node, spec.lifted)
    since = reviewed_at or set_at or context.received_at
    facts = Embargo(
        active=lifted_at is None or lifted_at > context.received_at,
        named=tuple(dict.fromkeys(name for code in read_may_know(context, spec) for name in addresses.name_post(code))),
        set_at=set_at,
        last_review_at=reviewed_at,
        review_due_at=since + timedelta(hours=_embargo_hours(context)),
        lifted_at=lifted_at,
    )
    return Hold(facts=facts, until=read_text(node, spec.until))


def read_may_know(context: RecordContext, spec: HoldSpec) -> list[str]:
    """Return the circulation codes that an embargo lets know."""
    return [] if spec.may_know is None else [node.text() for node in context.node.select(spec.may_know)]


def read_clocks(context: RecordContext) -> ClockStarts:
    """Return the instants and dates from which statutory clocks run (FORMATS CH-20).

    Raises:
        Rejected: one of the instants lies after receipt: nobody has been found, detained or protected tomorrow.
    """
    values: dict[str, object] = {}
    for name, spec in context.mapping.clocks.items():
        if name.endswith("_on"):
            values[name] = read_day(context.node, spec)
            continue
        moment = context.read_moment(context.node, spec)
        if moment is not None and moment > latest_acceptable(context.received_at):
            raise Rejected("it lies after receipt", field=name_found(context.node, spec))
        values[name] = moment
    return ClockStarts.model_validate(values)


def read_confidence(
    context: RecordContext, subjects: Sequence[Person], consent: ConsentFacts
) -> ClinicalConfidence | None:
    """Return the facts of a disclosure in clinical confidence (FORMATS CH-19), for the first child that it is about.

    Only the child's own refusal counts, and competence that nobody wrote down is presumed from 16 (DOMAIN section 5, consent record).
    """
    spec, node = context.mapping.confidence, context.node
    if spec is None or not meets(node, spec.on):
        return None
    children = [s for s in subjects if s.is_living_child(context.received_at)]
    age = next((age for s in (children or subjects) if (age := s.age(context.received_at)) is not None), None)
    if age is None:
        return None
    presumed = age >= _PRESUMED_COMPETENT and node.first(spec.competent.path) is None
    return ClinicalConfidence(
        age=age,
        competent=meets(node, spec.competent) or presumed,
        refused=consent.state is ConsentState.REFUSED and consent.giver in {None, ConsentGiver.CHILD},
        sexual_activity=meets(node, spec.sexual_activity),
        harm_indicators=meets(node, spec.harm),
    )


def _read_assessment(context: RecordContext, spec: AssessmentSpec, node: Node, area_name: str) -> Assessment | None:
    grade = read_field(node, spec.grade)
    if grade is None:
        return None
    before = read_text(node, spec.grade_before)
    tool = read_text(node, spec.tool)
    return Assessment(
        grade=RiskGrade(grade.text),
        grade_before=RiskGrade(before) if before else None,
        tool=tool if tool is not None else (spec.area_tool or "").replace("{area}", area_name).strip(),
        version=read_text(node, spec.version),
        done_at=context.read_moment(node, spec.done),
        review_at=context.read_moment(node, spec.review),
        has_rationale=read_text(node, spec.rationale) is not None,
        alone=spec.alone or (spec.alone_when is not None and meets(node, spec.alone_when)),
    )


def _judge_given(
    context: RecordContext, *, suspected: bool, withdrawn_at: datetime | None, expires_at: datetime | None
) -> ConsentState:
    """Return the state of consent that was given: a suspect's is invalid, and what was taken back or has ended is over now (CH-18)."""
    if suspected:
        return ConsentState.INVALID
    if withdrawn_at is not None and withdrawn_at <= context.received_at:
        return ConsentState.WITHDRAWN
    if expires_at is not None and expires_at <= context.received_at:
        return ConsentState.EXPIRED
    return ConsentState.GIVEN


def _name_giver(giver: str | None, context: RecordContext, people: Sequence[Person]) -> str | None:
    """Return the giver; ``subject`` is the first of those born whom the record is about: the adult concerned, or the child."""
    if giver != SUBJECT:
        return giver
    person = next((p for p in people if p.is_subject and p.is_person and p.born is not None), None)
    if person is None:
        return None
    child = person.is_living_child(context.received_at)
    return (ConsentGiver.CHILD if child else ConsentGiver.ADULT_SUBJECT).value


def _find_giver(
    context: RecordContext, spec: ConsentSpec, people: Sequence[Person], giver: str | None
) -> Person | None:
    ref = read_field(context.node, spec.giver_ref)
    if ref is not None:
        person = next((p for p in people if p.ref == ref.text), None)
        if (
            person is None and context.mapping.reader.format != "xml"
        ):  # an extract may name a party without linking it to the event
            raise Rejected("nobody in the record has this reference", field=ref.path)
        return person
    subjects = [p for p in people if p.is_subject and p.is_person]
    if giver == ConsentGiver.CHILD:
        return next((p for p in subjects if p.is_living_child(context.received_at)), None)
    return None


def _read_scope(context: RecordContext, spec: ConsentSpec, addresses: Addresses) -> ConsentScope:
    codes = [code for found in read_all(context.node, spec.recipients) for code in _split_codes(context, found.text)]
    recipients = tuple(
        dict.fromkeys(make_clear(agency) for code in codes for agency, _ in addresses.resolve_code(code))
    )
    headings = tuple(find_heading(context, heading) for heading in read_all(context.node, spec.headings))
    return ConsentScope(recipients=recipients or None, compartments=tuple(sorted(set(headings))) or None)


def _split_codes(context: RecordContext, text: str) -> list[str]:
    """Return circulation codes from one text: one code or service name, or several with commas, semicolons or spaces between."""
    if text.casefold() in context.mapping.circulation.aliases:
        return [text]
    return [part for part in re.split(r"[;, ]+", text) if part]


def find_heading(context: RecordContext, heading: Found) -> Compartment:
    """Return the compartment of a heading.

    Raises:
        Rejected: neither the mapping nor the shared list knows it.
    """
    name = heading.text.casefold()
    known = {key.casefold(): value for key, value in context.mapping.headings.items()}
    found = known.get(name) or load_defaults().headings.get(name)
    if found is None and heading.text in Compartment.__members__:
        found = Compartment(heading.text)
    if found is None:
        raise Rejected("a heading that the mapping does not know", field=heading.path)
    return found


def _embargo_hours(context: RecordContext) -> float:
    clocks = context.directory.local_policy.get("clocks", {})
    hours = clocks.get("embargo_review", {}).get("hours", _DEFAULT_EMBARGO_HOURS)
    return float(hours)


def _name_reason(reason: Found | None) -> str | None:
    """Return the reason itself when it is a code of the list, else that one was given: the words are in C17."""
    if reason is None:
        return None
    return fit(_REASON, reason.text) or Reason.REASON_GIVEN.value
