"""The referral: one record of one agency, in Safelane's own terms, before it is sealed (DOMAIN sections 1 to 3, FORMATS part 3).

It lives only inside a gateway, in clear. Content is cut into parts, one per compartment and subject (or the incident as a whole); what the
hub may read is drafted from it as a routing header (``schemas.header``): codes, ids and instants, while the words stay in the parts.
"""

from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from schemas.clear_forms import FlagCode, GssCode, KindCode, MissingEventCode
from schemas.codes import AgeBand, Compartment, RiskGrade, SubjectType
from schemas.ethnicity import EthnicityRecord
from schemas.header import (
    BreakGlassClaim,
    ClinicalConfidence,
    ClockStarts,
    ConflictOfInterest,
    ConsentFacts,
    DetrimentDecision,
    Embargo,
    LawfulBasis,
    StatutoryBar,
    TellStatus,
)


class ReferralModel(BaseModel):
    """Base of the referral's parts: frozen, and closed to unknown members."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StatementBasis(StrEnum):
    """What a statement rests on (DOMAIN section 2)."""

    FACT = "fact"
    ASSESSMENT = "assessment"
    HEARSAY = "hearsay"
    INTELLIGENCE = "intelligence"


class PersonCategory(StrEnum):
    """Category of the person a statement is about (DPA 2018 Part 3 s.38)."""

    VICTIM = "victim"
    WITNESS = "witness"
    SUSPECT = "suspect"
    CONVICTED = "convicted"
    OTHER = "other"


class NhsNumberState(StrEnum):
    """Whether a subject has an NHS number that was traced (DOMAIN section 4)."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    ABSENT = "absent"


class Handling(ReferralModel):
    """How intelligence was graded and may be handled."""

    grading: str | None = None
    code: str | None = None


class StatedRisk(ReferralModel):
    """The live grade (FORMATS CH-22), with the tool's own name and version as the record has them. The header has codes for both."""

    grade: RiskGrade = RiskGrade.NOT_ASSESSED
    immediate_danger: bool = False
    tool: str | None = None
    tool_version: str | None = None
    assessed_at: AwareDatetime | None = None
    next_review_due_at: AwareDatetime | None = None


class StatedToken(ReferralModel):
    """A disclosure authorised outside Safelane, with the reference as the record has it. The header has its digest."""

    scheme: str
    ref: str
    recipient: str
    expires_at: AwareDatetime | None = None
    authorised_by: str | None = None


class Statement(ReferralModel):
    """One thing that the sender says. ``label`` is for people, ``value`` any JSON without floats."""

    label: str
    value: JsonValue
    basis: StatementBasis = StatementBasis.FACT
    person_category: PersonCategory | None = None
    person_ref: str | None = None
    handling: Handling | None = None


class Attachment(ReferralModel):
    """A file that travels with its compartment. Size and SHA-256 were checked against what the sender declared."""

    name: str
    media_type: str
    size: int = Field(ge=0)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    description: str | None = None
    data_b64: str = Field(repr=False)


class Part(ReferralModel):
    """The content of one compartment, for one subject or (``subject_ref`` none) the incident as a whole.

    ``summary`` is the short version that may go where the matrix says S; with none, the pointer goes (FORMATS CH-28).
    """

    compartment: Compartment
    subject_ref: str | None = None
    statements: tuple[Statement, ...] = ()
    summary: str | None = None
    attachments: tuple[Attachment, ...] = ()


class SubjectIdentifier(ReferralModel):
    """An identifier from which a pseudonymous token is made (``schemas.header.SubjectToken``). Never leaves the gateway as it is."""

    scheme: str
    value: str = Field(repr=False)


class Subject(ReferralModel):
    """Whom or what the referral is about. ``ref`` is the record system's own; ``age`` in whole years on the day of receipt."""

    ref: str
    type: SubjectType
    age_band: AgeBand | None = None
    age: int | None = None
    born: date | None = Field(default=None, repr=False)
    expected_delivery: date | None = Field(default=None, repr=False)
    nhs_number: NhsNumberState | None = None
    ethnicity: EthnicityRecord | None = None
    tied_agencies: tuple[str, ...] = ()
    identifiers: tuple[SubjectIdentifier, ...] = ()


class Consent(ReferralModel):
    """Consent: the facts for the header, and the words for C17."""

    facts: ConsentFacts = ConsentFacts()
    reason: str | None = None


class Tell(ReferralModel):
    """Whether the family is told: the facts for the header, and the words for C17."""

    facts: TellStatus
    reason: str | None = None
    reviewer: str | None = None


class Hold(ReferralModel):
    """An embargo: the facts for the header, and the event that is waited for."""

    facts: Embargo
    until: str | None = None


class CirculationEntry(ReferralModel):
    """One addressee of the record's own circulation, resolved: ``agency`` may be ``unresolved:<type>:<value>`` (FORMATS CH-5)."""

    code: str
    agency: str
    role: str
    purpose: str
    contact: str | None = None


class Referral(ReferralModel):
    """One referral, complete. Parts come in the order of compartments, incident-wide before subjects."""

    mapping: str
    record_number: int = Field(ge=1)
    sender: str
    native_ref: str
    native_digest: str
    """Hexadecimal SHA-256 of the record as the record system wrote it: the same again has one effect (FORMATS CH-24)."""
    kind: KindCode
    original_kind: KindCode | None = None
    relates_to: str | None = None
    """The sender's own reference of the message that this one corrects or adds to."""
    missing_event: MissingEventCode | None = None
    area: GssCode
    occurrence_ref: str | None = None
    reported_at: AwareDatetime | None = None
    received_at: AwareDatetime
    subjects: tuple[Subject, ...]
    parts: tuple[Part, ...]
    risk: StatedRisk = StatedRisk()
    lawful_basis: LawfulBasis
    consent: Consent = Consent()
    tell_status: Tell
    embargo: Hold | None = None
    conflicts: tuple[ConflictOfInterest, ...] = ()
    tokens: tuple[StatedToken, ...] = ()
    bars: tuple[StatutoryBar, ...] = ()
    clinical_confidence: ClinicalConfidence | None = None
    break_glass: BreakGlassClaim | None = None
    detriment: DetrimentDecision | None = None
    statutory_task: str | None = None
    clocks: ClockStarts = ClockStarts()
    circulation: tuple[CirculationEntry, ...]
    quality_flags: tuple[FlagCode, ...] = ()
    urgent: bool = False
    unmapped: tuple[str, ...] = ()
    """Field paths (never values) of the record that the mapping does not read: for the sender's own diagnostics."""

    @property
    def compartments(self) -> tuple[Compartment, ...]:
        """Return the compartments that are present (FORMATS CH-6), in order."""
        return tuple(sorted({part.compartment for part in self.parts}))

    @property
    def decision_kind(self) -> str:
        """Return the kind whose rules apply: the original one of an update or correction (FORMATS CH-7)."""
        return self.original_kind or self.kind
