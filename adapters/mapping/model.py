"""The mapping file: one record system's format as data. A new force writes a YAML file of this form, and no code.

Every place that reads a value takes a ``FieldSpec``: a path, a list of paths (the first that is there counts), or the long form.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from schemas.codes import Compartment


class MappingModel(BaseModel):
    """Base of the mapping's parts: frozen, and closed to unknown members, so that a slip in a file is found when it is loaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldSpec(MappingModel):
    """Where a value comes from.

    Attributes:
        path: path expressions; the first that finds something counts.
        table: the format's codes to Safelane's; an unknown code is rejected.
        other: what an unknown code becomes instead of being rejected (``=``: itself).
        any_case: match codes without regard to case.
        const: the value when no path finds anything.
        join: further specs whose values are joined by ``separator`` (then ``path`` is not used).
        begins: beginnings of text to values, tried in order, for formats that hide a code in prose.
        pattern: regular expression; a text without a match is as if it were not there, one with a match counts by its first group.
        required: reject the record, at the first path, when nothing is found.
    """

    path: tuple[str, ...] = ()
    table: dict[str, str] | None = None
    other: str | None = None
    any_case: bool = False
    const: str | None = None
    join: tuple["FieldSpec", ...] = ()
    separator: str = " "
    begins: dict[str, str] | None = None
    pattern: str | None = None
    required: bool = False

    @model_validator(mode="before")
    @classmethod
    def _accept_short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"path": (value,)}
        if isinstance(value, list):
            return {"path": tuple(value)}
        if isinstance(value, dict) and isinstance(value.get("path"), str):
            return {**value, "path": (value["path"],)}
        return value


class Condition(MappingModel):
    """A test: the path finds something, with one of the values or beginning where they are given.

    ``absent``: it finds nothing. ``not_equals``: nothing that it finds has one of these values (nothing at all will do).
    """

    path: str
    equals: tuple[str, ...] | None = None
    not_equals: tuple[str, ...] | None = None
    begins: str | None = None
    absent: bool = False

    @model_validator(mode="before")
    @classmethod
    def _accept_short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"path": value}
        if isinstance(value, dict):
            return {k: (v,) if k in {"equals", "not_equals"} and isinstance(v, str) else v for k, v in value.items()}
        return value


class ReaderSpec(MappingModel):
    """How bytes become records. ``links`` names the XML link element and its ends; ``columns`` are CSV's, in any order."""

    format: Literal["json", "fhir", "csv", "xml"]
    binary: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ()
    root: str = ""
    record: str = ""
    record_where: dict[str, str] = {}
    id_attribute: str = "@id"
    link: str = "Link"
    link_ends: tuple[str, str, str] = ("@from", "@to", "@as")


class RecogniseSpec(MappingModel):
    """Marks by which a document of this format is known, even one that is broken: texts that it holds."""

    marks: tuple[str, ...]


class RequiredSpec(MappingModel):
    """A path that must be there (✱ in FORMATS), always or under a condition."""

    path: str
    when: Condition | None = None

    @model_validator(mode="before")
    @classmethod
    def _accept_short_forms(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class KindRule(MappingModel):
    """A rule of a format whose category is not one code: the first whose condition holds gives the kind."""

    when: Condition | None = None
    kind: str


class OrganisationSpec(MappingModel):
    """An organisation named by an identifier; the first spec that finds a value counts.

    ``scheme`` is the directory's; several with ``|`` between when the format does not say which.
    """

    path: str
    scheme: str


class RecordSpec(MappingModel):
    """What the record is: references, kind, place and times."""

    native_ref: FieldSpec
    function: FieldSpec | None = None
    relates_to: FieldSpec | None = None
    category: FieldSpec | None = None
    kind_rules: tuple[KindRule, ...] = ()
    missing_event: FieldSpec | None = None
    area: FieldSpec | None = None
    area_scheme: Literal["gss", "sender"] = "gss"
    occurrence_ref: FieldSpec | None = None
    reported: FieldSpec | None = None
    occurred: FieldSpec | None = None
    danger: FieldSpec | None = None
    sender: tuple[OrganisationSpec, ...] = ()
    sender_role: str = ""


class AttributeSpec(MappingModel):
    """A labelled value of a person or thing; ``fields`` picks and labels members of an object; ``when`` is asked of the person."""

    path: tuple[str, ...]
    fields: dict[str, str] | None = None
    table: dict[str, str] | None = None
    when: Condition | None = None

    @model_validator(mode="before")
    @classmethod
    def _accept_short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"path": (value,)}
        if isinstance(value, list):
            return {"path": tuple(value)}
        if isinstance(value, dict) and isinstance(value.get("path"), str):
            return {**value, "path": (value["path"],)}
        return value


class EthnicitySpec(MappingModel):
    """Where a person's ethnicity is: the code and its scheme, who stated it, the reason for NS, what was perceived, and free text."""

    code: FieldSpec | None = None
    scheme: FieldSpec
    sub: FieldSpec | None = None
    ns_reason: FieldSpec | None = None
    stated_by: FieldSpec | None = None
    stated_on: FieldSpec | None = None
    perceived: FieldSpec | None = None
    text: FieldSpec | None = None
    heritage: FieldSpec | None = None


class NamesSpec(MappingModel):
    """A person's names, for identity, for tokens and for keeping an informant's name out of everything else."""

    surname: FieldSpec | None = None
    forenames: FieldSpec | None = None
    full: FieldSpec | None = None


class InterpreterSpec(MappingModel):
    """Whether an interpreter was needed, was used, and was a relative (FORMATS CH-23): each ``yes`` or ``no``."""

    needed: FieldSpec | None = None
    used: FieldSpec | None = None
    relative: FieldSpec | None = None


class PeopleSpec(MappingModel):
    """Persons, places and groups of one sort.

    ``role`` gives one or more of subject, parent, sibling, household, suspect, informant, witness. ``identifiers`` are by scheme: nhs, upn,
    pnc, and ``school`` (URN), ``practice`` (ODS), ``carer`` (Ofsted URN), ``placing`` (GSS). ``attributes`` are grouped by sort.
    """

    each: str
    when: Condition | None = None
    ref: FieldSpec | None = None
    type: FieldSpec | None = None
    role: FieldSpec
    suspected: Condition | None = None
    convicted: Condition | None = None
    born: FieldSpec | None = None
    due: FieldSpec | None = None
    names: NamesSpec = NamesSpec()
    relations: str | None = None
    relation: FieldSpec | None = None
    identifiers: dict[str, FieldSpec] = {}
    nhs_state: FieldSpec | None = None
    nhs_absent: FieldSpec | None = None
    ethnicity: EthnicitySpec | None = None
    interpreter: InterpreterSpec | None = None
    restricted_words: FieldSpec | None = None
    do_not_tell: FieldSpec | None = None
    attributes: dict[str, dict[str, AttributeSpec]] = {}


class AssessmentSpec(MappingModel):
    """Graded assessments. ``alone`` marks one that counts only when there is no other (THRIVE, FORMATS CH-22)."""

    each: str
    when: Condition | None = None
    tool: FieldSpec
    area_tool: str | None = None
    version: FieldSpec | None = None
    grade: FieldSpec
    grade_before: FieldSpec | None = None
    done: FieldSpec | None = None
    review: FieldSpec | None = None
    rationale: FieldSpec | None = None
    replaced: Condition | None = None
    alone: bool = False
    alone_when: Condition | None = None


class BasisSpec(MappingModel):
    """The ground claimed, the provision it rests on, and what stands where the text names none."""

    ground: FieldSpec
    text: FieldSpec | None = None
    provision: dict[str, str]


class ConsentSpec(MappingModel):
    """The consent record. ``giver`` gives adult_subject, parent_pr_holder or child; ``giver_ref`` a person of the record."""

    status: FieldSpec
    reason: FieldSpec | None = None
    giver: FieldSpec | None = None
    giver_ref: FieldSpec | None = None
    suspected: Condition | None = None
    competent: FieldSpec | None = None
    assessor: FieldSpec | None = None
    given: FieldSpec | None = None
    expires: FieldSpec | None = None
    withdrawn: FieldSpec | None = None
    recipients: FieldSpec | None = None
    headings: FieldSpec | None = None
    wording: FieldSpec | None = None
    interpreter_relative: Condition | None = None


class TellSpec(MappingModel):
    """Whether the family is told: value (tell, told, do_not_tell), reason, reviewer, review date."""

    value: FieldSpec
    reason: FieldSpec | None = None
    reviewer: FieldSpec | None = None
    review: FieldSpec | None = None


class AddresseeSpec(MappingModel):
    """What a circulation code means.

    ``find``: ``area`` (the agency with that role in the record's area), ``role`` (the same, else the only one of the partnership),
    ``placing`` (the role in the placing authority's area), ``school``, ``practice`` or ``carer`` (by the subject's identifier).
    """

    role: str
    find: Literal["area", "role", "placing", "school", "practice", "carer"]
    named: bool = False
    named_post: str | None = None


class CirculationChoice(MappingModel):
    """A rule that picks a code for a record without circulation; the first that fits counts. ``found``: the identifier is in the directory."""

    when: Condition | None = None
    found: OrganisationSpec | None = None
    code: str
    flag: str | None = None


class PerformerSpec(MappingModel):
    """An addressee named as an organisation: identifier system to directory scheme and role; ``area`` finds the role by GSS code."""

    system: str
    scheme: str
    role: str
    find: Literal["identifier", "area"] = "identifier"


class CirculationSpec(MappingModel):
    """To whom the record system sends."""

    path: str | None = None
    split: str | None = None
    choices: tuple[CirculationChoice, ...] = ()
    performers: str | None = None
    performer_systems: tuple[PerformerSpec, ...] = ()
    carer: str | None = None
    codes: dict[str, AddresseeSpec] = {}
    aliases: dict[str, str] = {}


class ConflictSpec(MappingModel):
    """Who must not see it: an organisation by identifiers (first found counts), and a post or name, or neither for the whole body."""

    each: str
    organisation: tuple[OrganisationSpec, ...]
    post: FieldSpec | None = None
    name: FieldSpec | None = None


class TokenSpec(MappingModel):
    """Disclosure tokens: for an organisation by identifier or circulation code."""

    each: str
    scheme: FieldSpec
    ref: FieldSpec
    organisation: tuple[OrganisationSpec, ...] = ()
    code: FieldSpec | None = None
    expires: FieldSpec | None = None
    authorised_by: FieldSpec | None = None


class HoldSpec(MappingModel):
    """An embargo."""

    on: Condition
    until: FieldSpec | None = None
    set_at: FieldSpec | None = None
    reviewed: FieldSpec | None = None
    lifted: FieldSpec | None = None
    may_know: str | None = None


class ConfidenceSpec(MappingModel):
    """A disclosure in clinical confidence (FORMATS CH-19)."""

    on: Condition
    harm: Condition
    sexual_activity: Condition
    competent: Condition
    refused: Condition


class ContentSpec(MappingModel):
    """Content that is no person's attribute.

    ``fields`` labels members of each object found. ``person`` names the member that refers to a person. ``scope: subject`` gives it to the
    only subject where there is one. ``quiet`` content does not make its compartment present: it goes to ``else_to`` where that is absent.
    """

    to: Compartment
    label: str
    path: tuple[str, ...]
    fields: dict[str, str] | None = None
    person: str | None = None
    when: Condition | None = None
    scope: Literal["incident", "subject"] = "incident"
    basis: Literal["fact", "assessment", "hearsay", "intelligence"] = "fact"
    category: Literal["victim", "witness", "suspect", "convicted", "other"] | None = None
    grading: str | None = None
    handling: str | None = None
    quiet: bool = False
    else_to: Compartment | None = None

    @model_validator(mode="before")
    @classmethod
    def _accept_short_forms(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("path"), str):
            return {**value, "path": (value["path"],)}
        return value


class AttachmentSpec(MappingModel):
    """Files: name, media type, declared size and digest, the heading they belong to, and the Base64 data."""

    each: str
    name: str
    media_type: str
    size: str
    sha256: str
    heading: str
    data: str
    description: str | None = None


class Mapping(MappingModel):
    """One format, whole."""

    id: str
    title: str
    reader: ReaderSpec
    recognise: RecogniseSpec
    required: tuple[RequiredSpec, ...] = ()
    record: RecordSpec
    people: tuple[PeopleSpec, ...]
    assessments: tuple[AssessmentSpec, ...] = ()
    basis: BasisSpec
    consent: ConsentSpec
    tell: TellSpec
    circulation: CirculationSpec
    conflicts: tuple[ConflictSpec, ...] = ()
    tokens: TokenSpec | None = None
    hold: HoldSpec | None = None
    confidence: ConfidenceSpec | None = None
    statutory_task: FieldSpec | None = None
    clocks: dict[str, FieldSpec] = {}
    supervisor: str | None = None
    flags: dict[str, Condition] = {}
    content: tuple[ContentSpec, ...] = ()
    summaries: dict[Compartment, FieldSpec] = {}
    attachments: AttachmentSpec | None = None
    headings: dict[str, Compartment] = {}
    always_present: tuple[Compartment, ...] = ()
    ask_nhs_number: bool = True
    ignore: tuple[str, ...] = ()
    """Patterns of paths that nobody reads on purpose (layout, repeats), so that they are not reported as unmapped."""
