"""The routing header: what the hub may read, signed by the sender (DESIGN, Routing header).

Codes, ids and instants only: never a name, date of birth, address or free text. Reasons are codes and people are ids; the words are in
compartment C17. The header travels as separately openable entries: who may open which is decided in ``schemas.envelope.redaction``.
"""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from schemas.codes import AgeBand, Art6, Compartment, ConsentGiver, ConsentState, RiskGrade, SubjectType, TellValue
from schemas.errors import MalformedMessage
from schemas.validation import name_first_fault

Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/+()#, -]{0,79}$")]
"""A code or id: short, no line breaks, no free prose."""
AgencyId = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9._:-]{1,79}$|^unresolved:[a-z_]+:[A-Za-z0-9._ -]{0,60}$")
]
OpaqueId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
"""A random id that says nothing of what it names."""


class HeaderModel(BaseModel):
    """Base of every header part: frozen, and closed to unknown members."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RiskFacts(HeaderModel):
    """The entry ``risk``: the live grade (FORMATS CH-22), for the hub and whoever gets compartment C05. Instants are aware."""

    grade: RiskGrade = RiskGrade.NOT_ASSESSED
    immediate_danger: bool = False
    tool: Code | None = None
    tool_version: Code | None = None
    assessed_at: AwareDatetime | None = None
    next_review_due_at: AwareDatetime | None = None


class LawfulBasis(HeaderModel):
    """The entry ``basis``: what the sender claims (UK GDPR Art 6, 9 and 10; DPA 2018 Sch 1 and s.36; FORMATS CH-26), for the hub alone.

    ``art10`` would tell a recipient that there is data on offences (C09).
    """

    art6: Art6
    provision: Code | None = None
    art9: Code | None = None
    art10: bool = False
    part3_s36: bool = False


class ConsentScope(HeaderModel):
    """What a consent covers; an absent list means everything of its sort."""

    recipients: tuple[AgencyId, ...] | None = None
    compartments: tuple[Compartment, ...] | None = None
    purposes: tuple[Code, ...] | None = None
    kinds: tuple[Code, ...] | None = None


class ConsentFacts(HeaderModel):
    """The sender's record of consent (FORMATS CH-18). ``assessor_named`` says that C17 names who assessed competence."""

    state: ConsentState = ConsentState.NOT_RECORDED
    giver: ConsentGiver | None = None
    giver_age: int | None = None
    given_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    withdrawn_at: AwareDatetime | None = None
    gillick_competent: bool | None = None
    assessor_named: bool = False
    giver_suspected: bool = False
    child_competent_refusal: bool = False
    scope: ConsentScope = ConsentScope()
    method: Code | None = None
    wording_version: Code | None = None
    interpreter: bool | None = None
    reason_code: Code | None = None


class TellStatus(HeaderModel):
    """Whether the family is told, and which agencies must not be (FORMATS CH-27, CH-15)."""

    value: TellValue
    reason_code: Code | None = None
    review_on: date | None = None
    parties: tuple[AgencyId, ...] = ()


class Embargo(HeaderModel):
    """An embargo (FORMATS CH-16): active until its owner lifts it. ``named`` holds ``agency#contact``."""

    active: bool
    named: tuple[Code, ...] = ()
    set_at: AwareDatetime | None = None
    last_review_at: AwareDatetime | None = None
    review_due_at: AwareDatetime | None = None
    lifted_at: AwareDatetime | None = None


class ConflictOfInterest(HeaderModel):
    """This agency, or only this contact of it, must not see the referral (FORMATS CH-15)."""

    agency: AgencyId
    contact: Code | None = None


class DisclosureToken(HeaderModel):
    """A disclosure authorised outside Safelane (MAPPA, DVDS, CSODS), for one recipient, until it expires."""

    scheme: Code
    ref: Code
    recipient: AgencyId
    expires_at: AwareDatetime | None = None
    authorised_by: Code | None = None


class StatutoryBar(HeaderModel):
    """A statute or court bars compartments from recipients (none listed: from all). FORMATS CH-11, row for sealed data."""

    law_code: Code
    compartments: tuple[Compartment, ...]
    recipients: tuple[AgencyId, ...] = ()


class ClinicalConfidence(HeaderModel):
    """Facts on a disclosure made in clinical confidence (FORMATS CH-19). ``age`` in years."""

    age: int
    competent: bool
    refused: bool
    sexual_activity: bool
    harm_indicators: bool


class BreakGlassClaim(HeaderModel):
    """A claim of immediate danger (FORMATS CH-14): valid with a named person and a reason, both in C17."""

    by: Code | None = None
    reason_given: bool = False
    at: AwareDatetime | None = None


class DetrimentDecision(HeaderModel):
    """Children Act 2004 s.16LA: sharing would be more detrimental than not. Void without decider and reason."""

    recipients: tuple[AgencyId, ...]
    decided_by: Code | None = None
    role: Code | None = None
    reason_given: bool = False


class ClockStarts(HeaderModel):
    """Instants and dates from which statutory clocks run (FORMATS CH-20)."""

    incident_at: AwareDatetime | None = None
    police_protection_at: AwareDatetime | None = None
    place_of_safety_at: AwareDatetime | None = None
    found_at: AwareDatetime | None = None
    discovered_at: AwareDatetime | None = None
    offender_change_on: date | None = None


class CaseFacts(HeaderModel):
    """The entry ``case``: what every recipient of the referral may know of it as a whole. Nothing of a compartment belongs here."""

    kind: Code
    original_kind: Code | None = None
    missing_event: Code | None = None
    area: Code
    reported_at: AwareDatetime | None = None


class PolicyFacts(HeaderModel):
    """The entry ``policy``: what decides who may know, for the hub alone."""

    consent: ConsentFacts = ConsentFacts()
    tell_status: TellStatus
    compartments: tuple[Compartment, ...]
    embargo: Embargo | None = None
    conflicts: tuple[ConflictOfInterest, ...] = ()
    tokens: tuple[DisclosureToken, ...] = ()
    bars: tuple[StatutoryBar, ...] = ()
    clinical_confidence: ClinicalConfidence | None = None
    break_glass: BreakGlassClaim | None = None
    detriment: DetrimentDecision | None = None
    statutory_task: Code | None = None
    clocks: ClockStarts = ClockStarts()
    native_ref_digest: Code | None = None
    """Base64url HMAC of the sender's own reference, so that its sender can ask by it."""
    corrects_ref_digest: Code | None = None
    occurrence_token: Code | None = None


class SubjectFacts(HeaderModel):
    """The entry ``subject:<id>``: what a recipient of this subject's sections may know."""

    subject_id: OpaqueId
    type: SubjectType
    age_band: AgeBand | None = None


class SubjectToken(HeaderModel):
    """A pseudonym of the child: HMAC under the partnership's pepper, which the hub lacks. Never forwarded."""

    scheme: Code
    pepper_id: Code
    value: Code


class SubjectRouting(HeaderModel):
    """The entry ``subject-routing:<id>``: agencies tied to that child (own school, own practice) and tokens, for the hub alone."""

    subject_id: OpaqueId
    tied_agencies: tuple[AgencyId, ...] = ()
    tokens: tuple[SubjectToken, ...] = ()


class DeliveryRequest(HeaderModel):
    """The entry ``delivery:<id>``: one requested delivery (message, agency, role, purpose, named contact or none).

    ``granted_sections`` are the sections whose keys are in this delivery's keyring: the hub can release no other.
    """

    delivery_id: OpaqueId
    agency: AgencyId
    role: Code
    purpose: Code
    contact: Code | None = None
    granted_sections: tuple[OpaqueId, ...] = ()


_SINGLE_ENTRIES = {"case": "case", "risk": "risk", "basis": "lawful_basis", "policy": "policy"}
"""Name of each entry that a header has once, to its field."""


class RoutingHeader(HeaderModel):
    """All entries together, as the sender writes them and the hub reads them."""

    case: CaseFacts
    risk: RiskFacts = RiskFacts()
    lawful_basis: LawfulBasis
    policy: PolicyFacts
    subjects: tuple[SubjectFacts, ...]
    routing: tuple[SubjectRouting, ...] = ()
    deliveries: Annotated[tuple[DeliveryRequest, ...], Field(min_length=0)]
    flags: tuple[Code, ...] = ()

    @property
    def decision_kind(self) -> str:
        """The kind whose matrix rows and purposes apply: the original one for UPDATE and CORRECTION (FORMATS CH-7)."""
        return self.case.original_kind or self.case.kind

    def to_entries(self) -> list[tuple[str, Any]]:
        """Return the openable entries ``(name, JSON value)`` in a fixed order."""
        entries: list[tuple[str, Any]] = [
            ("case", _dump(self.case)),
            ("risk", _dump(self.risk)),
            ("basis", _dump(self.lawful_basis)),
            ("policy", _dump(self.policy)),
        ]
        entries += [(f"subject:{s.subject_id}", _dump(s)) for s in self.subjects]
        entries += [(f"subject-routing:{r.subject_id}", _dump(r)) for r in self.routing]
        entries += [(f"delivery:{d.delivery_id}", _dump(d)) for d in self.deliveries]
        entries += [(f"flag:{number}", flag) for number, flag in enumerate(self.flags)]
        return entries

    def entry_names(self) -> set[str]:
        """Return the names that ``to_entries`` gives its entries, without writing their values."""
        names = {*_SINGLE_ENTRIES}
        names.update(f"subject:{s.subject_id}" for s in self.subjects)
        names.update(f"subject-routing:{r.subject_id}" for r in self.routing)
        names.update(f"delivery:{d.delivery_id}" for d in self.deliveries)
        names.update(f"flag:{number}" for number in range(len(self.flags)))
        return names

    @classmethod
    def from_entries(cls, entries: Iterable[tuple[str, Any]]) -> "RoutingHeader":
        """Rebuild the header from opened entries; entries of other names (``section:…``) are passed over.

        Raises:
            MalformedMessage: an entry is missing, repeated, mislabelled or not of its form.
        """
        parts: dict[str, list[Any]] = {}
        seen: set[str] = set()
        for name, value in entries:
            if name in seen:
                raise MalformedMessage("an entry is opened twice", field="openings")
            seen.add(name)
            parts.setdefault(name.partition(":")[0], []).append((name, value))
        if any(len(parts.get(name, ())) != 1 for name in _SINGLE_ENTRIES):
            raise MalformedMessage("case, risk, basis and policy must be opened exactly once", field="openings")
        try:
            header = cls.model_validate(
                {
                    **{field: parts[name][0][1] for name, field in _SINGLE_ENTRIES.items()},
                    "subjects": [value for _, value in parts.get("subject", ())],
                    "routing": [value for _, value in parts.get("subject-routing", ())],
                    "deliveries": [value for _, value in parts.get("delivery", ())],
                    "flags": [value for _, value in parts.get("flag", ())],
                }
            )
        except ValidationError as error:
            raise MalformedMessage("a header entry is not of its form", field=name_first_fault(error)) from None
        names = header.entry_names()
        if any(name not in names for name in seen if not name.startswith("section:")):
            raise MalformedMessage("an entry's name and content disagree", field="openings")
        return header


def _dump(model: HeaderModel) -> Any:
    return model.model_dump(mode="json", exclude_none=True)


def aware(moment: datetime) -> datetime:
    """Return ``moment`` unchanged if it has an offset.

    Raises:
        MalformedMessage: it has none, so that it names no instant.
    """
    if moment.tzinfo is None:
        raise MalformedMessage("an instant without an offset")
    return moment
