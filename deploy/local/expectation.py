"""Hold what happened against an ``expected.yaml`` (FORMATS 2.1): one observed record beside one expected record, difference by difference.

Only the check reads expected results; nothing of this decides anything.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from schemas.referral import Referral, Subject

DECISION_FIELDS = ("outcome", "row", "purpose", "deliver_to", "agreement", "alerts", "emits", "queue", "compartments")
REFERRAL_FIELDS = (
    "native_ref",
    "sender",
    "kind",
    "original_kind",
    "relates_to_message",
    "missing_event",
    "area",
    "subject_count",
    "subjects",
    "risk",
    "lawful_basis",
    "consent",
    "tell_status",
    "embargo",
    "compartments_present",
    "ethnicity",
    "quality_flags",
    "decisions",
    "clocks",
)
PARTIAL_FIELDS = frozenset({"consent", "tell_status", "risk"})
"""Facts of which the expected results show only some members."""
CLOCK_FIELDS = ("clock", "starts_at", "due_at", "extendable_to")
UNORDERED_FIELDS = frozenset({"quality_flags", "compartments_present", "alerts", "emits"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as expected. Values are codes, ids and instants of synthetic samples."""

    record: str
    field: str
    expected: Any
    observed: Any


def describe_referral(referral: Referral) -> dict[str, Any]:
    """Return a mapped referral in the form of ``expected.yaml``, without decisions and clocks."""
    risk, consent, tell = referral.risk, referral.consent, referral.tell_status
    described: dict[str, Any] = {
        "native_ref": referral.native_ref,
        "sender": referral.sender,
        "kind": referral.kind,
        "original_kind": referral.original_kind,
        "relates_to_message": referral.relates_to,
        "missing_event": referral.missing_event,
        "area": referral.area,
        "subject_count": len(referral.subjects),
        "subjects": [_describe_subject(subject) for subject in referral.subjects],
        "risk": {
            "grade": risk.grade,
            "tool": risk.tool,
            "tool_version": risk.tool_version,
            "assessed_at": risk.assessed_at,
            "next_review_due": risk.next_review_due_at,
            "immediate_danger": risk.immediate_danger,
        },
        "lawful_basis": referral.lawful_basis.model_dump(mode="json"),
        "consent": {**consent.facts.model_dump(exclude={"scope", "reason_code"}), "reason": consent.reason},
        "tell_status": {"value": tell.facts.value, "reason": tell.reason, "review_on": tell.facts.review_on},
        "embargo": _describe_embargo(referral),
        "compartments_present": list(referral.compartments),
        "ethnicity": [_describe_ethnicity(s) for s in referral.subjects if s.ethnicity is not None],
        "quality_flags": list(referral.quality_flags),
    }
    return {name: _plain(value) for name, value in described.items() if value is not None}


def describe_decision(decision: Mapping[str, Any]) -> dict[str, Any]:
    """Return a decision (its JSON form) in the form of ``expected.yaml``."""
    described = {name: decision[name] for name in DECISION_FIELDS if decision.get(name) not in (None, [], (), False)}
    described |= {"recipient": decision["recipient"], "role": decision["role"]}
    described["compartments"] = {c: [d["result"], d["row"]] for c, d in decision["compartments"].items()}
    return _as_dict(_plain(described))


def compare_record(record: str, expected: Mapping[str, Any], observed: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield the differences between an expected and an observed record, field by field; ``because`` is for people and not compared."""
    for field in REFERRAL_FIELDS:
        if field not in expected and field not in observed:
            continue
        wanted, found = _plain(expected.get(field)), _plain(observed.get(field))
        if field == "decisions":
            yield from _compare_decisions(record, wanted or [], found or [])
        elif field == "clocks":
            yield from _compare_clocks(record, wanted or [], found or [])
        elif field in PARTIAL_FIELDS and isinstance(wanted, dict) and isinstance(found, dict):
            yield from _compare_members(record, field, wanted, {name: found.get(name) for name in wanted})
        elif not _same(field, wanted, found):
            yield Difference(record, field, wanted, found)


def _compare_decisions(record: str, wanted: Sequence[Any], found: Sequence[Any]) -> Iterator[Difference]:
    if len(wanted) != len(found):
        yield Difference(record, "decisions", [d["recipient"] for d in wanted], [d["recipient"] for d in found])
        return
    for number, (expected, observed) in enumerate(zip(wanted, found, strict=True)):
        judged = {name: value for name, value in expected.items() if name != "because"}
        yield from _compare_members(record, f"decisions[{number}]", judged, observed)


def _compare_clocks(record: str, wanted: Sequence[Any], found: Sequence[Any]) -> Iterator[Difference]:
    def index(clocks: Sequence[Any]) -> dict[str, Any]:
        return {c["clock"]: {name: c[name] for name in CLOCK_FIELDS if c.get(name) is not None} for c in clocks}

    yield from _compare_members(record, "clocks", index(wanted), index(found))


def _compare_members(
    record: str, field: str, wanted: Mapping[str, Any], found: Mapping[str, Any]
) -> Iterator[Difference]:
    for name in dict.fromkeys([*wanted, *found]):
        if not _same(name, wanted.get(name), found.get(name)):
            yield Difference(record, f"{field}.{name}", wanted.get(name), found.get(name))


def _same(field: str, wanted: Any, found: Any) -> bool:
    if field in UNORDERED_FIELDS:
        return sorted(wanted or []) == sorted(found or [])
    return bool(wanted == found)


def _describe_subject(subject: Subject) -> dict[str, Any]:
    described = {
        "ref": subject.ref,
        "type": subject.type,
        "age_band": subject.age_band,
        "born": subject.born,
        "expected_delivery": subject.expected_delivery,
        "nhs_number": subject.nhs_number,
    }
    return {name: value for name, value in described.items() if value is not None}


def _describe_embargo(referral: Referral) -> dict[str, Any] | None:
    if referral.embargo is None:
        return None
    facts = referral.embargo.facts
    return {
        "active": facts.active,
        "until": referral.embargo.until,
        "named": list(facts.named),
        "review_due": facts.review_due_at,
    }


def _describe_ethnicity(subject: Subject) -> dict[str, Any]:
    record = subject.ethnicity
    if record is None:
        return {}
    names = ("source_value", "scheme", "defined_by", "reason_absent", "nhs", "dfe")
    dumped = record.model_dump(mode="json")
    return {"subject": subject.ref} | {name: dumped.get(name) for name in names}


def _plain(value: Any) -> Any:
    """Return ``value`` with every instant in UTC and every date and code as text, so that equal things compare equal."""
    if isinstance(value, Mapping):
        return {str(name): _plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        return _plain_text(str(value))
    return value


def _plain_text(text: str) -> str:
    if len(text) < 20 or text[10:11] != "T":
        return text
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat()
    except ValueError:
        return text


def _as_dict(value: Any) -> dict[str, Any]:
    return dict(value)
