"""The routing header: what the hub may read, signed by the sender (DESIGN, Routing header).

Codes, ids and instants only: never a name, date of birth, address or free text. Reasons are codes and people are ids; the words are in
compartment C17. The header travels as separately openable entries: who may open which is decided in ``schemas.envelope.redaction``.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.clear_forms import (
    AgencyId,
    Art9Code,
    ContactId,
    Day,
    DisclosureSchemeCode,
    FlagCode,
    GssCode,
    Instant,
    KindCode,
    LawCode,
    MethodCode,
    MissingEventCode,
    NamedContact,
    OpaqueId,
    PepperId,
    PersonId,
    Provision,
    PurposeCode,
    ReasonCode,
    RiskToolCode,
    RoleCode,
    StatutoryTask,
    TokenDigest,
    TokenRef,
    TokenSchemeCode,
    ToolVersion,
    WordingVersion,
)
from schemas.codes import AgeBand, Art6, Compartment, ConsentGiver, ConsentState, RiskGrade, SubjectType, TellValue
from schemas.errors import MalformedMessage
from schemas.validation import name_first_fault

Age = Annotated[int, Field(ge=0, le=150)]
"""In whole years."""


class HeaderModel(BaseModel):
    """Base of every header part: frozen, and closed to unknown members."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RiskFacts(HeaderModel):
    """The entry ``risk``: the live grade (FORMATS CH-22), for the hub and whoever gets compartment C05. Instants are aware."""

    grade: RiskGrade = RiskGrade.NOT_ASSESSED
    immediate_danger: bool = False
    tool: RiskToolCode | None = None
    tool_version: ToolVersion | None = None
    assessed_at: Instant | None = None
    next_review_due_at: Instant | None = None


class LawfulBasis(HeaderModel):
    """The entry ``basis``: what the sender claims (UK GDPR Art 6, 9 and 10; DPA 2018 Sch 1 and s.36; FORMATS CH-26), for the hub alone.

    ``art10`` would tell a recipient that there is data on offences (C09).
    """

    art6: Art6
    provision: Provision | None = None
    art9: Art9Code | None = None
    art10: bool = False
    part3_s36: bool = False


class ConsentScope(HeaderModel):
    """What a consent covers; an absent list means everything of its sort."""

    recipients: tuple[AgencyId, ...] | None = None
    compartments: tuple[Compartment, ...] | None = None
    purposes: tuple[PurposeCode, ...] | None = None
    kinds: tuple[KindCode, ...] | None = None


class ConsentFacts(HeaderModel):
    """The sender's record of consent (FORMATS CH-18). ``assessor_named`` says that C17 names who assessed competence."""

    state: ConsentState = ConsentState.NOT_RECORDED
    giver: ConsentGiver | None = None
    giver_age: Age | None = None
    given_at: Instant | None = None
    expires_at: Instant | None = None
    withdrawn_at: Instant | None = None
    gillick_competent: bool | None = None
    assessor_named: bool = False
    giver_suspected: bool = False
    child_competent_refusal: bool = False
    scope: ConsentScope = ConsentScope()
    method: MethodCode | None = None
    wording_version: WordingVersion | None = None
    interpreter: bool | None = None
    reason_code: ReasonCode | None = None


class TellStatus(HeaderModel):
    """Whether the family is told, and which agencies must not be (FORMATS CH-27, CH-15)."""

    value: TellValue
    reason_code: ReasonCode | None = None
    review_on: Day | None = None
    parties: tuple[AgencyId, ...] = ()


class Embargo(HeaderModel):
    """An embargo (FORMATS CH-16): active until its owner lifts it. ``named`` holds ``agency#contact``."""

    active: bool
    named: tuple[NamedContact, ...] = ()
    set_at: Instant | None = None
    last_review_at: Instant | None = None
    review_due_at: Instant | None = None
    lifted_at: Instant | None = None


class ConflictOfInterest(HeaderModel):
    """This agency, or only this contact of it, must not see the referral (FORMATS CH-15)."""

    agency: AgencyId
    contact: ContactId | None = None


class DisclosureToken(HeaderModel):
    """A disclosure authorised outside Safelane (MAPPA, DVDS, CSODS), for one recipient, until it expires."""

    scheme: DisclosureSchemeCode
    ref: TokenRef
    recipient: AgencyId
    expires_at: Instant | None = None
    authorised_by: PersonId | None = None


class StatutoryBar(HeaderModel):
    """A statute or court bars compartments from recipients (none listed: from all). FORMATS CH-11, row for sealed data."""

    law_code: LawCode
    compartments: tuple[Compartment, ...]
    recipients: tuple[AgencyId, ...] = ()


class ClinicalConfidence(HeaderModel):
    """Facts on a disclosure made in clinical confidence (FORMATS CH-19). ``age`` in years."""

    age: Age
    competent: bool
    refused: bool
    sexual_activity: bool
    harm_indicators: bool


class BreakGlassClaim(HeaderModel):
    """A claim of immediate danger (FORMATS CH-14): valid with a named person and a reason, both in C17."""

    by: PersonId | None = None
    reason_given: bool = False
    at: Instant | None = None


class DetrimentDecision(HeaderModel):
    """Children Act 2004 s.16LA: sharing would be more detrimental than not. Void without decider and reason."""

    recipients: tuple[AgencyId, ...]
    decided_by: PersonId | None = None
    role: RoleCode | None = None
    reason_given: bool = False


class ClockStarts(HeaderModel):
    """Instants and dates from which statutory clocks run (FORMATS CH-20)."""

    incident_at: Instant | None = None
    police_protection_at: Instant | None = None
    place_of_safety_at: Instant | None = None
    found_at: Instant | None = None
    discovered_at: Instant | None = None
    offender_change_on: Day | None = None


class CaseFacts(HeaderModel):
    """The entry ``case``: what every recipient of the referral may know of it as a whole. Nothing of a compartment belongs here."""

    kind: KindCode
    original_kind: KindCode | None = None
    missing_event: MissingEventCode | None = None
    area: GssCode
    reported_at: Instant | None = None


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
    statutory_task: StatutoryTask | None = None
    clocks: ClockStarts = ClockStarts()
    native_ref_digest: TokenDigest | None = None
    """HMAC of the sender's own reference, so that its sender can ask by it."""
    corrects_ref_digest: TokenDigest | None = None
    occurrence_token: TokenDigest | None = None


class SubjectFacts(HeaderModel):
    """The entry ``subject:<id>``: what a recipient of this subject's sections may know."""

    subject_id: OpaqueId
    type: SubjectType
    age_band: AgeBand | None = None


class SubjectToken(HeaderModel):
    """A pseudonym of the child: HMAC under the partnership's pepper, which the hub lacks. Never forwarded."""

    scheme: TokenSchemeCode
    pepper_id: PepperId
    value: TokenDigest


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
    role: RoleCode
    purpose: PurposeCode
    contact: ContactId | None = None
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
    flags: tuple[FlagCode, ...] = ()

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
