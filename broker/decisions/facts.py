"""What policies can see of one delivery: facts, each already resolved against time, directory and registers.

``DecisionFacts`` is the whole input of a decision: the same facts give the same decision, and nothing outside them can change it.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

UNKNOWN_AGE = -1


@dataclass(frozen=True, slots=True)
class ConsentView:
    """Consent as it stands now (FORMATS CH-18). ``giver_age`` in years, -1 where nobody wrote it down."""

    state: str = "not_recorded"
    giver: str = "none"
    giver_age: int = UNKNOWN_AGE
    competent: bool = False
    assessor_named: bool = False
    giver_suspected: bool = False
    child_refused: bool = False
    covers_delivery: bool = True
    covers_every_compartment: bool = True
    compartments: frozenset[str] = frozenset()
    withdrawal_seen: bool = False


@dataclass(frozen=True, slots=True)
class ConfidenceView:
    """A disclosure in clinical confidence (FORMATS CH-19), or none claimed."""

    claimed: bool = False
    age: int = UNKNOWN_AGE
    competent: bool = False
    refused: bool = False
    sexual_activity: bool = False
    harm_indicators: bool = False


@dataclass(frozen=True, slots=True)
class BreakGlassView:
    """A break-glass claim (FORMATS CH-14), or none."""

    claimed: bool = False
    named: bool = False
    reason_given: bool = False


@dataclass(frozen=True, slots=True)
class DetrimentView:
    """A detriment decision that names this recipient, or none."""

    names_recipient: bool = False
    decider_named: bool = False
    reason_given: bool = False


@dataclass(slots=True)
class DecisionFacts:
    """Everything that one delivery's decision rests on. The first block identifies; the rest decides.

    Nobody changes one. It is not frozen, because one with this many members is then made three times as slowly, and there is one for each delivery.
    """

    recipient: str
    role: str
    purpose: str
    kind: str
    compartments: tuple[str, ...]
    delivery_id: str = ""
    deliver_to: str | None = None
    agreement_id: str | None = None
    subjects: tuple[tuple[str, bool], ...] = ()
    """Subject id, and whether the recipient is that child's own."""
    decided_at: datetime | None = None
    valid_until: datetime | None = None
    uses_token: bool = False

    signature_valid: bool = True
    basis: str = ""
    sender_public: bool = False
    sender_s16la: bool = False
    recipient_known: bool = False
    recipient_s16la: bool = False
    recipient_mappa: str = "none"
    recipient_approved: bool = False
    agreement: str = "none"
    agreement_review_overdue: bool = False
    grade: str = "not_assessed"
    immediate_danger: bool = False
    conflict: bool = False
    embargo: bool = False
    embargo_named: bool = False
    embargo_review_overdue: bool = False
    statutory_task: bool = False
    consent: ConsentView = field(default_factory=ConsentView)
    confidence: ConfidenceView = field(default_factory=ConfidenceView)
    break_glass: BreakGlassView = field(default_factory=BreakGlassView)
    detriment: DetrimentView = field(default_factory=DetrimentView)
    token: bool = False
    barred: frozenset[str] = frozenset()
    approved: frozenset[str] = frozenset()
    features: frozenset[str] = frozenset()
    holds: frozenset[str] = frozenset()
    """Conditions of matrix rows that hold of this referral (``child_subject``)."""

    def to_context(
        self, *, kind_known: bool, purpose_known: bool, values_known: bool, row_exists: bool
    ) -> dict[str, Any]:
        """Return the Cedar context (schema type ``Facts``), without ``company``, in Cedar's JSON form."""
        return {
            "signature_valid": self.signature_valid,
            "kind": _entity("Kind", self.kind),
            "kind_known": kind_known,
            "purpose": _entity("Purpose", self.purpose),
            "purpose_known": purpose_known,
            "values_known": values_known,
            "basis": self.basis,
            "sender_public": self.sender_public,
            "sender_s16la": self.sender_s16la,
            "recipient_known": self.recipient_known,
            "recipient_s16la": self.recipient_s16la,
            "recipient_mappa": self.recipient_mappa,
            "recipient_approved": self.recipient_approved,
            "agreement": self.agreement,
            "agreement_review_overdue": self.agreement_review_overdue,
            "grade": _entity("Grade", self.grade),
            "immediate_danger": self.immediate_danger,
            "conflict": self.conflict,
            "embargo": self.embargo,
            "embargo_named": self.embargo_named,
            "embargo_review_overdue": self.embargo_review_overdue,
            "row_exists": row_exists,
            "statutory_task": self.statutory_task,
            "consent": _record(self.consent),
            "confidence": _record(self.confidence),
            "break_glass": _record(self.break_glass),
            "detriment": _record(self.detriment),
            "token": self.token,
            "barred": sorted(self.barred),
            "approved": sorted(self.approved),
            "features": sorted(self.features),
        }


def _entity(kind: str, name: str) -> dict[str, Any]:
    return {"__entity": {"type": kind, "id": name}}


def _record(view: ConsentView | ConfidenceView | BreakGlassView | DetrimentView) -> dict[str, Any]:
    found = {name: getattr(view, name) for name in view.__slots__}
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in found.items()}
