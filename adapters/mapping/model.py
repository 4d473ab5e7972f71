"""The mapping file: one record system's format as data. A new force writes a YAML file of this form, and no code.

Every place that reads a value takes a ``FieldSpec``: a path, a list of paths (the first that is there counts), or the long form.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from adapters.mapping.specs import (
    AssessmentSpec,
    Condition,
    FieldSpec,
    MappingModel,
    OrganisationSpec,
    PeopleSpec,
    RecordSpec,
    RequiredSpec,
)
from schemas.clear_forms import FlagCode, Provision
from schemas.codes import Compartment


class ReaderSpec(MappingModel):
    """How bytes become records. ``links`` names the XML link element and its ends; ``columns`` are CSV's, in any order, and ``delimiter``
    stands between them."""

    format: Literal["json", "fhir", "csv", "xml"]
    binary: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ()
    delimiter: Literal[",", ";", "|", "\t"] = ","
    root: str = ""
    record: str = ""
    record_where: dict[str, str] = Field(default_factory=dict)
    id_attribute: str = "@id"
    link: str = "Link"
    link_ends: tuple[str, str, str] = ("@from", "@to", "@as")


class RecogniseSpec(MappingModel):
    """Marks by which a document of this format is known, even one that is broken: texts that it holds."""

    marks: tuple[str, ...]


class BasisSpec(MappingModel):
    """The ground claimed, the provision it rests on, and what stands where the text names none."""

    ground: FieldSpec
    text: FieldSpec | None = None
    provision: dict[str, Provision]


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
    named_post: str | None = None


class CirculationChoice(MappingModel):
    """A rule that picks a code for a record without circulation; the first that fits counts. ``found``: the identifier is in the directory."""

    when: Condition | None = None
    found: OrganisationSpec | None = None
    code: str
    flag: FlagCode | None = None


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
    codes: dict[str, AddresseeSpec] = Field(default_factory=dict)
    aliases: dict[str, str] = Field(default_factory=dict)


class ConflictSpec(MappingModel):
    """Who must not see it: an organisation by identifiers (first found counts), and a post (with its holder's name), or the whole body.

    ``sort`` gives the scheme of an organisation whose own ``scheme`` is empty. The scheme ``name`` beside others takes a body's name.
    """

    each: str
    sort: FieldSpec | None = None
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
    times: tuple[str, ...] = ()
    """Times that are only content, and must be in an accepted form all the same (FORMATS part 1)."""
    identifiers: tuple[OrganisationSpec, ...] = ()
    """Identifiers that are only content, and must be well formed all the same (FORMATS CH-25)."""
    clocks: dict[str, FieldSpec] = Field(default_factory=dict)
    supervisor: str | None = None
    flags: dict[FlagCode, Condition] = Field(default_factory=dict)
    content: tuple[ContentSpec, ...] = ()
    summaries: dict[Compartment, FieldSpec] = Field(default_factory=dict)
    attachments: AttachmentSpec | None = None
    headings: dict[str, Compartment] = Field(default_factory=dict)
    ask_nhs_number: bool = True
    ignore: tuple[str, ...] = ()
    """Patterns of paths that nobody reads on purpose (layout, repeats), so that they are not reported as unmapped."""
