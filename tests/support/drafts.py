"""Referrals with a changed header, and consents: what tests of the registers, the clocks and the log send."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from schemas.codes import Compartment, ConsentGiver, ConsentState, RiskGrade
from schemas.header import RoutingHeader, SubjectToken
from schemas.objects import sign_object
from schemas.objects.consent import Capacity, Consent
from tests.support.hub_world import Draft, HubWorld

EARLY_HELP = "earlyhelp.marchshire"
TOKEN = SubjectToken(scheme="nhs", pepper_id="p1", value="70ce" * 16)


@dataclass
class ChangedDraft(Draft):
    """A draft whose header is changed: ``policy`` and ``case`` replace members, ``purpose`` is every delivery's."""

    policy: dict[str, Any] = field(default_factory=dict)
    case: dict[str, Any] = field(default_factory=dict)
    purpose: str = "safeguard_child"
    grade: RiskGrade = RiskGrade.MEDIUM

    def header(self) -> RoutingHeader:
        header = super().header()
        first, *rest = header.routing
        return header.model_copy(
            update={
                "policy": header.policy.model_copy(update=self.policy),
                "risk": header.risk.model_copy(update={"grade": self.grade}),
                "case": header.case.model_copy(update=self.case),
                "deliveries": tuple(d.model_copy(update={"purpose": self.purpose}) for d in header.deliveries),
                "routing": (first.model_copy(update={"tokens": (TOKEN,)}), *rest),
            }
        )


def early_help(**policy: Any) -> ChangedDraft:
    """A welfare referral to early help, whose purpose depends on the parent's choice."""
    return ChangedDraft(
        kind="CIN_S17", recipients=((EARLY_HELP, "early_help"),), purpose="early_help_service", policy=policy
    )


def consent(world: HubWorld, agency: str, state: ConsentState, **changes: Any) -> bytes:
    """Sign an entry of a consent's chain as an agency."""
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "consent_id": f"consent-{token_hex(7)}",
        "recorded_by": agency,
        "recorder": "p-17",
        "recorded_at": now,
        "subject_tokens": (TOKEN,),
        "state": state,
        "giver": ConsentGiver.PARENT_PR_HOLDER,
        "capacity": Capacity.PARENTAL_RESPONSIBILITY,
        "given_at": now if state is ConsentState.GIVEN else None,
        "withdrawn_at": now if state is ConsentState.WITHDRAWN else None,
    }
    return sign_object("consent", Consent(**(fields | changes)), world.kits[agency].signer)


def list_request_members(requester: str, recipient: str, answer_due_at: datetime) -> dict[str, Any]:
    """Return the members of a request for information about a child, asked now under section 47."""
    return {
        "request_id": f"request-{token_hex(7)}",
        "requester": requester,
        "requester_role": "csc",
        "recipient": recipient,
        "person": "p-20",
        "statutory_task": "CA 1989 s.47",
        "purpose": "promote_welfare",
        "compartments": (Compartment.C01,),
        "subject_tokens": (TOKEN,),
        "conversation": f"conversation-{token_hex(4)}0",
        "issued_at": datetime.now(UTC),
        "answer_due_at": answer_due_at,
    }
