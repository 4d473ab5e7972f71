"""The facts of a decision case as officers write it (FORMATS 2.2): no header, no directory entry for the parties, words instead of codes."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from broker.decisions.consent import list_compartments, view_consent
from broker.decisions.contacts import choose_contact
from broker.decisions.engine import DecisionEngine
from broker.decisions.facts import (
    UNKNOWN_AGE,
    BreakGlassView,
    ConfidenceView,
    ConsentView,
    DecisionFacts,
    DetrimentView,
)
from broker.decisions.header_facts import CHILD_SUBJECT
from schemas.codes import AgeBand, Compartment, ConsentGiver, ConsentState
from schemas.errors import Rejected
from schemas.header import ConsentFacts, ConsentScope
from schemas.validation import name_first_fault

_MOMENT: TypeAdapter[datetime] = TypeAdapter(datetime)


def build_case_facts(case_id: str, data: Mapping[str, Any], engine: DecisionEngine) -> DecisionFacts:
    """Return the facts of a case; the directory says who else holds a role.

    Raises:
        Rejected: a fact is missing or not of its form; the field is named.
    """
    try:
        return _build(data, engine)
    except ValidationError as error:
        where = name_first_fault(error)
        raise Rejected("is not of its form", field=f"{case_id} {where}") from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise Rejected(f"lacks a fact or has one of the wrong sort ({type(error).__name__})", field=case_id) from None


def _build(data: Mapping[str, Any], engine: DecisionEngine) -> DecisionFacts:
    header, to = data["header"], data["recipient"]
    now = _MOMENT.validate_python(data["now"])
    kind = engine.pack.matrix.resolve_kind(header["kind"], header.get("original_kind"))
    agreement = data.get("agreement") or {}
    risk = header.get("risk") or {}
    embargo = header.get("embargo") or {}
    active = bool(embargo.get("active"))
    live = _has_live_token(header, to["agency"], now)
    parties = [_split(entry) for entry in (header.get("tell_status") or {}).get("parties") or ()]
    choice = choose_contact(
        engine.directory.find_agency(to["agency"]),
        recipient=to["agency"],
        role=to["role"],
        requested=to.get("contact"),
        conflicts=[_split(entry) for entry in (header.get("flags") or {}).get("conflict_of_interest") or ()] + parties,
        must_not_know=(),
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
        features=_find_features(data.get("feature_flags")) | _find_features(header.get("feature_flags")),
        holds=frozenset((CHILD_SUBJECT,) if _is_about_a_child(header) else ()),
    )


def _has_live_token(header: Mapping[str, Any], recipient: str, now: datetime) -> bool:
    return any(
        token["recipient"] == recipient and not _is_past(token.get("expires_at"), now)
        for token in _list(header.get("disclosure_token"))
    )


def _is_about_a_child(header: Mapping[str, Any]) -> bool:
    """Return whether a case is about a child: unless it says that everybody it is about is an adult."""
    bands = [subject.get("age_band") for subject in header.get("subjects") or ()] or [header.get("age_band")]
    return any(band != AgeBand.ADULT for band in bands)


def _view_consent(header: Mapping[str, Any], recipient: str, kind: str, now: datetime, observed_at: Any) -> ConsentView:
    stated = dict(header.get("consent") or {})
    unknown = {
        name: str(stated.pop(name)) for name, known in _CONSENT_CODES.items() if stated.get(name, known[0]) not in known
    }
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
    view = view_consent(consent, recipient=recipient, purpose=header["purpose"], kind=kind, now=now, observed_at=until)
    # Policies see a code that is in no list as it stands, and permit nothing by it.
    return replace(view, state=unknown.get("state", view.state), giver=unknown.get("giver", view.giver))


_CONSENT_CODES: dict[str, list[Any]] = {
    "state": [state.value for state in ConsentState],
    "giver": [None, *(giver.value for giver in ConsentGiver)],
}
_CONSENT_FIELDS = (
    "state", "giver", "giver_age", "given_at", "expires_at", "withdrawn_at", "gillick_competent", "giver_suspected",
    "child_competent_refusal",
)  # fmt: skip


def _view_confidence(told: Mapping[str, Any] | None) -> ConfidenceView:
    if not told:
        return ConfidenceView()
    flags = ("competent", "refused", "sexual_activity", "harm_indicators")
    age = told.get("age")
    return ConfidenceView(
        claimed=True, age=UNKNOWN_AGE if age is None else int(age), **{name: told.get(name) is True for name in flags}
    )


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


def _find_features(flags: Any) -> frozenset[str]:
    """Return the feature flags that are on: a mapping to booleans, or a list of names."""
    found = flags or {}
    return frozenset(name for name, on in found.items() if on is True) if isinstance(found, dict) else frozenset(found)


def _list(value: Any) -> list[Any]:
    """Return one thing, several or none as a list."""
    return value if isinstance(value, list) else [value] if value else []


def _find_barred(bars: Any, recipient: str) -> frozenset[str]:
    return frozenset(
        Compartment(c).value
        for bar in _list(bars)
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
