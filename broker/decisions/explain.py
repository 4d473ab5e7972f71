"""Tells a decision in plain sentences, from the decision record alone: for a practitioner, a parent's solicitor or an inspector."""

from collections.abc import Iterable
from zoneinfo import ZoneInfo

from schemas.codes import COMPARTMENT_TITLES, Compartment, CompartmentResult, DeliveryOutcome
from schemas.decision import CompartmentDecision, Decision

_OUTCOMES = {
    DeliveryOutcome.DELIVERED: "gets this referral, as far as is said below",
    DeliveryOutcome.HELD: "gets nothing yet: an approver can release it",
    DeliveryOutcome.WITHHELD: "gets nothing",
    DeliveryOutcome.REJECTED: "gets nothing: this delivery is rejected",
}
_RESULTS = {
    CompartmentResult.FULL: "In full",
    CompartmentResult.SUMMARY: "As the sender's summary",
    CompartmentResult.POINTER: "Only that it exists and who holds it",
    CompartmentResult.HELD: "Held until an approver releases it",
    CompartmentResult.WITHHELD: "Withheld",
    CompartmentResult.REJECTED: "Rejected",
}
_ALERTS = {
    "signature_invalid": "The sender's signature did not verify.",
    "basis_not_available": "The sender claimed a lawful basis that it cannot use.",
    "purpose_not_permitted": "The purpose is one for which nothing is shared.",
    "agreement_expired": "The data-sharing agreement has expired: its owner should renew it.",
    "agreement_not_started": "The data-sharing agreement has not started.",
    "agreement_none": "No data-sharing agreement covers this: the partnership should make one, or nobody should send this.",
    "agreement_review_overdue": "The data-sharing agreement's review is overdue; it stays in force.",
    "embargo_review_overdue": "The embargo's review is overdue; it stays until its owner lifts it.",
    "break_glass_used": "Break-glass was used: a person must review it.",
    "break_glass_invalid": "Break-glass was claimed without a named person, a reason or danger, and counted as unused.",
    "detriment_decision_invalid": "A detriment decision lacked its decider or reason, and was void.",
}
_EVENTS = {"CONSENT_WITHDRAWN": "Consent was withdrawn; what has been collected is not recalled."}


def explain_decision(decision: Decision, *, timezone: str = "Europe/London") -> list[str]:
    """Return the decision as sentences, each on its own line; instants in local time of ``timezone``."""
    lines = [
        f"{decision.recipient}, as {_plain(decision.role)}, for {_plain(decision.purpose)}: {_OUTCOMES[decision.outcome]}.",
        f"Why: {decision.reason or 'no reason is recorded.'} Row {decision.row} of the decision table, rule {decision.policy or 'not recorded'}.",
    ]
    if decision.authority:
        lines.append(f"Authority: {decision.authority}.")
    if decision.deliver_to:
        lines.append(f"It goes to this contact only: {decision.deliver_to}.")
    if decision.agreement:
        lines.append(f"Agreement: {decision.agreement}.")
    lines += [f"Note: {_ALERTS.get(alert, _plain(alert))}" for alert in decision.alerts]
    lines += [f"Event: {_EVENTS.get(event, _plain(event))}" for event in decision.emits]
    lines += _explain_compartments(decision.compartments.items())
    if decision.queue:
        lines.append("A person must act on what is held or withheld for a decision, within the queue's limit.")
    elif decision.outcome is not DeliveryOutcome.DELIVERED:
        lines.append("This is final; the sender is told, with the reason.")
    if decision.retrospective_review:
        lines.append("A retrospective review is open.")
    if decision.decided_at:
        zone = ZoneInfo(timezone)
        until = (
            f", and holds until {decision.valid_until.astimezone(zone):%d %B %Y %H:%M:%S}"
            if decision.valid_until
            else ""
        )
        lines.append(f"Decided {decision.decided_at.astimezone(zone):%d %B %Y %H:%M:%S} local time{until}.")
    if decision.policy_digest:
        lines.append(
            f"Policy pack {decision.policy_digest[:16]}, inputs {decision.inputs_digest[:16]}: run again, it gives the same answer."
        )
    return lines


def _explain_compartments(compartments: Iterable[tuple[Compartment, CompartmentDecision]]) -> list[str]:
    """Return one sentence for each result and rule, with the compartments that it concerns."""
    groups: dict[tuple[CompartmentResult, str, str], list[str]] = {}
    for code, found in compartments:
        title = f"{code.value} {COMPARTMENT_TITLES[code]}"
        groups.setdefault((found.result, found.row, found.reason), []).append(title)
    order = list(_RESULTS)
    return [
        f"{_RESULTS[result]}: {', '.join(titles)}. {reason} ({row})".replace("  ", " ")
        for (result, row, reason), titles in sorted(
            groups.items(), key=lambda item: (order.index(item[0][0]), item[1][0])
        )
    ]


def _plain(code: str) -> str:
    return code.replace("_", " ")
