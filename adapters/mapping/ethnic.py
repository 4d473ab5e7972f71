"""Ethnicity as a record system gives it: self-defined code, officer's perception, or free text, never one made of another."""

from adapters.mapping.nodes import Node
from adapters.mapping.specs import EthnicitySpec
from adapters.mapping.values import RecordContext, read_field, read_text
from schemas.errors import Rejected
from schemas.ethnicity import (
    DefinedBy,
    EthnicityRecord,
    EthnicityScheme,
    MatchQuality,
    name_ns_reason,
    parse_ethnic_code,
)
from schemas.ethnicity_codes import ABSENT_CODE_REASONS, AVOIDABLE_NS_REASONS, POLICE_NS_REASONS

_W4_FEATURE = "local_ethnicity_W4"


def read_ethnicity(
    context: RecordContext, node: Node, spec: EthnicitySpec | None, *, unborn: bool, flagged: bool
) -> EthnicityRecord | None:
    """Return the person's ethnicity record, or none when the format has no place for it.

    Args:
        context: the record being mapped; quality flags are added to it (FORMATS CH-23).
        node: the person.
        spec: where to look.
        unborn: nobody asks the unborn.
        flagged: whether flags are raised: only for those whom the record is about.

    Raises:
        Rejected: a code that its scheme does not have.
    """
    if spec is None:
        return None
    code, perceived, text = read_field(node, spec.code), read_field(node, spec.perceived), read_text(node, spec.text)
    stated_by = read_text(node, spec.stated_by)
    common = {
        "sub_code": read_text(node, spec.sub),
        "recorded_at": context.read_moment(node, spec.stated_on),
        "heritage": read_text(node, spec.heritage),
        "defined_by": DefinedBy(stated_by) if stated_by else None,
    }
    if code is not None:
        scheme = EthnicityScheme(read_text(node, spec.scheme) or EthnicityScheme.POLICE_18_1)
        features = context.directory.local_policy.get("feature_flags", {})
        value = parse_ethnic_code(scheme, code.text, local_w4=bool(features.get(_W4_FEATURE)), field=code.path)
        record = _record_code(
            context, node, spec, EthnicityRecord(source_value=value, scheme=scheme, **common), flagged=flagged
        )
        if text is not None and record.heritage is None:
            record = record.model_copy(update={"heritage": text})
    elif unborn:
        record, flagged = EthnicityRecord(reason_absent="not_applicable_unborn"), False
    elif text is not None:
        _raise_flag(context, on=flagged, flag="ethnicity_free_text_only")
        _flag_practitioner(context, common["defined_by"], on=flagged)
        record = EthnicityRecord(
            source_value=text, scheme=EthnicityScheme.FREE_TEXT, reason_absent="no_code_recorded", **common
        )
    elif perceived is not None:
        _raise_flag(context, on=flagged, flag="ethnicity_officer_perceived_only")
        value = perceived.text if not perceived.text.isdigit() else f"IC{perceived.text}"
        record = EthnicityRecord(
            source_value=parse_ethnic_code(EthnicityScheme.POLICE_IC, value, field=perceived.path),
            scheme=EthnicityScheme.POLICE_IC,
            reason_absent="self_definition_not_recorded",
            **{**common, "defined_by": DefinedBy.PRACTITIONER_OBSERVED},
        )
    else:
        _raise_flag(context, on=flagged, flag="ethnicity_not_recorded")
        record = EthnicityRecord(reason_absent="not_recorded", heritage=common["heritage"])
    if MatchQuality.AMBIGUOUS in {record.nhs.match, record.dfe.match}:
        _raise_flag(context, on=flagged, flag="ethnicity_crosswalk_ambiguous")
    return record


def _record_code(
    context: RecordContext, node: Node, spec: EthnicitySpec, record: EthnicityRecord, *, flagged: bool
) -> EthnicityRecord:
    ns_reason = None
    reason_absent = ABSENT_CODE_REASONS.get((record.scheme or "", record.source_value or ""))
    if record.source_value == "NS":
        found = read_field(node, spec.ns_reason)
        ns_reason = found.text.upper() if found is not None else None
        if found is not None and ns_reason not in POLICE_NS_REASONS:
            raise Rejected("no such reason for NS", field=found.path)
        reason_absent = name_ns_reason(ns_reason)
        if ns_reason is None:
            _raise_flag(context, on=flagged, flag="ethnicity_ns_without_reason")
        elif ns_reason in AVOIDABLE_NS_REASONS:
            _raise_flag(context, on=flagged, flag="ethnicity_ns_avoidable")
    _flag_practitioner(context, record.defined_by, on=flagged)
    return record.model_copy(update={"reason_absent": reason_absent}).with_crosswalk(ns_reason)


def _flag_practitioner(context: RecordContext, defined_by: object, *, on: bool) -> None:
    _raise_flag(context, on=on and defined_by is DefinedBy.PRACTITIONER_OBSERVED, flag="ethnicity_not_self_defined")


def _raise_flag(context: RecordContext, *, on: bool, flag: str) -> None:
    if on:
        context.flags.add(flag)
