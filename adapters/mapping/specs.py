"""The parts of a mapping file that read values, people and assessments. Every place that reads a value takes a ``FieldSpec``."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class MappingModel(BaseModel):
    """Base of the mapping's parts: frozen, and closed to unknown members, so that a slip in a file is found when it is loaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _expand_paths(value: Any) -> Any:
    """Return the long form of a path, a list of paths, or a mapping with one path."""
    if isinstance(value, str):
        return {"path": (value,)}
    if isinstance(value, list):
        return {"path": tuple(value)}
    if isinstance(value, dict) and isinstance(value.get("path"), str):
        return {**value, "path": (value["path"],)}
    return value


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
        pattern: regular expression; a text without a match is as if it were not there, one with a match counts by its first group,
            which ``table``, ``begins`` and ``other`` then translate where they are given.
        split: characters at which one text is several values, where several are read.
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
    split: str | None = None
    required: bool = False

    @model_validator(mode="before")
    @classmethod
    def _accept_short_forms(cls, value: Any) -> Any:
        return _expand_paths(value)


class Condition(MappingModel):
    """A test: the path finds something, with one of the values or beginning where they are given.

    ``absent``: it finds nothing. ``not_equals``: nothing that it finds has one of these values (nothing at all will do). ``known``: the
    values beside ``equals`` that the format has; any other rejects the record, because what it means might be the contrary.
    ``matches``: a regular expression that is found in the text, in any case.
    """

    path: str
    equals: tuple[str, ...] | None = None
    known: tuple[str, ...] | None = None
    matches: str | None = None
    not_equals: tuple[str, ...] | None = None
    begins: str | None = None
    absent: bool = False

    @model_validator(mode="before")
    @classmethod
    def _accept_short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"path": value}
        if isinstance(value, dict):
            return {
                k: (v,) if k in {"equals", "known", "not_equals"} and isinstance(v, str) else v
                for k, v in value.items()
            }
        return value


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
    occurrence_ref: FieldSpec | None = None
    reported: FieldSpec | None = None
    occurred: FieldSpec | None = None
    danger: FieldSpec | None = None
    sender: tuple[OrganisationSpec, ...] = ()
    sender_role: str = ""


class AttributeSpec(MappingModel):
    """A labelled value of a person or thing; ``fields`` picks and labels members of an object; ``when`` is asked of the person;
    ``date`` writes a date as ISO 8601."""

    path: tuple[str, ...]
    fields: dict[str, str] | None = None
    table: dict[str, str] | None = None
    when: Condition | None = None
    date: bool = False

    @model_validator(mode="before")
    @classmethod
    def _accept_short_forms(cls, value: Any) -> Any:
        return _expand_paths(value)


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
    deceased: FieldSpec | None = None
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
