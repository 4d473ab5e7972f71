"""Decision cases: facts in, outcome out (FORMATS 2.2). Officers keep their own files in the same form as tests of a pack."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from broker.decisions.consent import list_compartments, view_consent
from broker.decisions.contacts import choose_contact
from broker.decisions.engine import DecisionEngine
from broker.decisions.facts import BreakGlassView, ConfidenceView, ConsentView, DecisionFacts, DetrimentView
from broker.decisions.header_facts import CHILD_SUBJECT
from schemas.codes import Compartment
from schemas.decision import Decision
from schemas.errors import Rejected
from schemas.header import ConsentFacts, ConsentScope

MAX_FILE_BYTES = 16 * 1024 * 1024
_MOMENT: TypeAdapter[datetime] = TypeAdapter(datetime)


@dataclass(frozen=True, slots=True)
class Case:
    """One case: its facts as written, and what is expected (none: only to be shown)."""

    id: str
    title: str
    data: Mapping[str, Any]
    expect: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case, the decision, and each difference as (what, expected, found)."""

    case: Case
    decision: Decision
    differences: tuple[tuple[str, Any, Any], ...]


def load_cases(path: Path) -> list[Case]:
    """Read a file of decision cases.

    Raises:
        Rejected: the file cannot be read, is over 16 MiB, is not YAML, or a case lacks its id or facts.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise Rejected(f"is over {MAX_FILE_BYTES} bytes", field=path.name)
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_TextLoader)  # noqa: S506 - a SafeLoader that leaves dates as text
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Rejected(f"cannot be read as YAML ({type(error).__name__})", field=path.name) from None
    cases = data.get("cases") if isinstance(data, dict) else None
    if not isinstance(cases, list):
        raise Rejected("has no list of cases", field=path.name)
    found = []
    for number, case in enumerate(cases):
        if not isinstance(case, dict) or not all(isinstance(case.get(part), dict) for part in ("recipient", "header")):
            raise Rejected("lacks its recipient or header", field=f"{path.name} cases[{number}]")
        found.append(Case(str(case.get("id", number)), str(case.get("title", "")), case, case.get("expect") or {}))
    return found


def check_cases(engine: DecisionEngine, cases: list[Case]) -> list[CaseResult]:
    """Decide every case and compare it with what it expects (``because`` is for people and is not compared).

    Raises:
        Rejected: a case's facts are not of their form.
    """
    results = []
    for case in cases:
        decision = engine.decide_facts(build_case_facts(case, engine))
        results.append(CaseResult(case, decision, tuple(_compare(case.expect, decision))))
    return results


def build_case_facts(case: Case, engine: DecisionEngine) -> DecisionFacts:
    """Return the facts of a case; the directory says who else holds a role.

    Raises:
        Rejected: a fact is missing or not of its form; the field is named.
    """
    try:
        return _build(case.data, engine)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False, include_url=False)[0]["loc"])
        raise Rejected("is not of its form", field=f"{case.id} {where}") from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise Rejected(f"lacks a fact or has one of the wrong sort ({type(error).__name__})", field=case.id) from None


def _build(data: Mapping[str, Any], engine: DecisionEngine) -> DecisionFacts:
    header, to = data["header"], data["recipient"]
    now = _MOMENT.validate_python(data["now"])
    kind = engine.pack.matrix.resolve_kind(header["kind"], header.get("original_kind"))
    agreement = data.get("agreement") or {}
    risk = header.get("risk") or {}
    embargo = header.get("embargo") or {}
    active = bool(embargo.get("active"))
    token = header.get("disclosure_token")
    live = bool(token) and token["recipient"] == to["agency"] and not _is_past(token.get("expires_at"), now)
    choice = choose_contact(
        engine.directory.find_agency(to["agency"]),
        recipient=to["agency"],
        role=to["role"],
        requested=to.get("contact"),
        conflicts=[_split(entry) for entry in (header.get("flags") or {}).get("conflict_of_interest", ())],
        must_not_know=tuple((header.get("tell_status") or {}).get("parties") or ()),
        embargo_named=tuple(embargo.get("named") or ()) if active else None,
    )
    return DecisionFacts(
        recipient=to["agency"],
        role=to["role"],
        purpose=header["purpose"],
        kind=kind,
        compartments=tuple(Compartment(c).value for c in header["compartments"]),
        deliver_to=choice.deliver_to,
        agreement_id=agreement.get("id"),
        decided_at=now,
        uses_token=live,
        signature_valid=data.get("signature") == "valid",
        basis=str((header.get("lawful_basis") or {}).get("art6", "")),
        sender_public=header.get("sender_public") is True,
        sender_s16la=header.get("sender_s16la") is True,
        recipient_known=not str(to["agency"]).startswith("unresolved:"),
        recipient_s16la=to.get("s16la_body") is True,
        recipient_mappa=str(to.get("mappa_status", "none")),
        recipient_approved=_is_signed_off(header.get("recipient_approval")),
        agreement=str(agreement.get("state", "none")),
        agreement_review_overdue=bool(agreement.get("review_overdue")),
        grade=str(risk.get("grade", "not_assessed")),
        immediate_danger=risk.get("immediate_danger") is True,
        conflict=choice.conflict,
        embargo=active,
        embargo_named=choice.named,
        embargo_review_overdue=active
        and embargo.get("review_due") is not None
        and _moment(embargo["review_due"]) < now,
        statutory_task=bool(str(header.get("statutory_task") or "").strip()),
        consent=_view_consent(header, to["agency"], kind, now, data.get("observed_at")),
        confidence=_view_confidence(header.get("clinical_confidence")),
        break_glass=_view_break_glass(header.get("break_glass")),
        detriment=_view_detriment(header.get("detriment_decision"), to["agency"]),
        token=live,
        barred=_find_barred(header.get("statutory_bar"), to["agency"]),
        approved=_find_approved(header, engine),
        features=frozenset(
            name
            for name, on in {**(data.get("feature_flags") or {}), **(header.get("feature_flags") or {})}.items()
            if on is True
        ),
        holds=frozenset(() if header.get("age_band") == "adult" else (CHILD_SUBJECT,)),
    )


def _view_consent(header: Mapping[str, Any], recipient: str, kind: str, now: datetime, observed_at: Any) -> ConsentView:
    stated = dict(header.get("consent") or {})
    scope = stated.pop("scope", None) or {}
    consent = ConsentFacts(
        **{name: stated[name] for name in _CONSENT_FIELDS if stated.get(name) is not None},
        assessor_named=_has_words(stated.get("gillick_assessor")),
        scope=ConsentScope(
            recipients=_tuple(scope.get("recipients")),
            compartments=list_compartments(scope.get("compartments")),
            purposes=_tuple(scope.get("purposes")),
            kinds=_tuple(scope.get("kinds")),
        ),
    )
    until = _moment(observed_at) if observed_at else None
    return view_consent(consent, recipient=recipient, purpose=header["purpose"], kind=kind, now=now, observed_at=until)


_CONSENT_FIELDS = (
    "state", "giver", "giver_age", "given_at", "expires_at", "withdrawn_at", "gillick_competent", "giver_suspected",
    "child_competent_refusal",
)  # fmt: skip


def _view_confidence(told: Mapping[str, Any] | None) -> ConfidenceView:
    return ConfidenceView(claimed=True, **dict(told)) if told else ConfidenceView()


def _view_break_glass(claim: Mapping[str, Any] | None) -> BreakGlassView:
    if not claim:
        return BreakGlassView()
    return BreakGlassView(claimed=True, named=_has_words(claim.get("by")), reason_given=_has_words(claim.get("reason")))


def _view_detriment(decision: Mapping[str, Any] | None, recipient: str) -> DetrimentView:
    if not decision or recipient not in decision.get("recipients", ()):
        return DetrimentView()
    return DetrimentView(
        names_recipient=True,
        decider_named=_has_words(decision.get("decided_by")),
        reason_given=_has_words(decision.get("reason")),
    )


def _find_barred(bars: Any, recipient: str) -> frozenset[str]:
    found = bars if isinstance(bars, list) else [bars] if bars else []
    return frozenset(
        Compartment(c).value
        for bar in found
        if not bar.get("recipients") or recipient in bar["recipients"]
        for c in bar.get("compartments", ())
    )


def _find_approved(header: Mapping[str, Any], engine: DecisionEngine) -> frozenset[str]:
    approvers: dict[str, set[str]] = {}
    for approval in header.get("approvals") or ():
        if _is_signed_off(approval):
            approvers.setdefault(approval["compartment"], set()).add(approval["by"])
    local = engine.directory.local_policy.get("approvers_needed", {})
    return frozenset(
        code for code, names in approvers.items() if len(names) >= engine.pack.approvers_needed(code, local)
    )


def _is_signed_off(approval: Mapping[str, Any] | None) -> bool:
    """Return whether an approval has a name and a reason (FORMATS CH-11; a reason of only spaces is none, CH-3)."""
    return approval is not None and _has_words(approval.get("by")) and _has_words(approval.get("reason"))


def _has_words(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _split(entry: str) -> tuple[str, str | None]:
    agency, _, contact = entry.partition("#")
    return agency, contact or None


def _tuple(values: Any) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _moment(value: Any) -> datetime:
    return _MOMENT.validate_python(value)


def _is_past(value: Any, now: datetime) -> bool:
    return value is not None and _moment(value) <= now


def _compare(expect: Mapping[str, Any], decision: Decision) -> list[tuple[str, Any, Any]]:
    if not expect:
        return []
    found: list[tuple[str, Any, Any]] = []
    pairs = [
        ("outcome", expect.get("outcome"), decision.outcome.value),
        ("row", expect.get("row"), decision.row),
        ("deliver_to", expect.get("deliver_to"), decision.deliver_to),
        ("queue", bool(expect.get("queue")), decision.queue),
        ("alerts", sorted(expect.get("alerts") or ()), sorted(decision.alerts)),
        ("emits", sorted(expect.get("emits") or ()), sorted(decision.emits)),
        ("retrospective_review", bool(expect.get("retrospective_review")), decision.retrospective_review),
    ]
    found += [pair for pair in pairs if pair[1] != pair[2]]
    expected = {code: tuple(value) for code, value in (expect.get("compartments") or {}).items()}
    decided = {code.value: (c.result.value, c.row) for code, c in decision.compartments.items()}
    for code in sorted({*expected, *decided}):
        if expected.get(code) != decided.get(code):
            found.append((f"compartments.{code}", expected.get(code), decided.get(code)))
    return found


class _TextLoader(yaml.SafeLoader):
    """Leaves dates as text, so that an instant without an offset is noticed rather than guessed."""


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
