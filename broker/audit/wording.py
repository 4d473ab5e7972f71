"""Events and gaps in plain words, for people who were not there. Instants and agencies are shown beside them, never in them."""

from collections.abc import Mapping
from typing import Final

from schemas.codes import COMPARTMENT_TITLES, Compartment, CompartmentResult, name_clock

EVENT_WORDS: Final[Mapping[str, str]] = {
    "accepted": "The hub took the message in.",
    "decided": "What the recipient may have was decided: {state}.",
    "redecided": "It was decided again: {state}.",
    "rejected": "A message broke a rule and was rejected: {state}.",
    "quarantined": "A message could not be handled and waits for a person: {state}.",
    "security": "A message contradicts who sent it or what was sent before: {state}.",
    "receipt": "The recipient sent a signed receipt: {state}.",
    "object": "A signed statement was taken in: {state}.",
    "review": "A person reviewed what was held: {state}.",
    "collected": "The recipient collected the delivery.",
    "told": "An agency was told: {state}.",
    "overdue": "What waits for a person is overdue, and was escalated.",
    "consent_expired": "A consent came to its end.",
    "clock": "A clock of the referral: {state}.",
    "clocks_started": "Clocks began with a late delivery.",
    "negative_receipt": "No further receipt came by the deadline; the last one was: {state}.",
    "escalated": "A clock ran out, and the agency was told. It was for: {state}.",
    "undeliverable": "It could not be handed over and waits for a person: {state}.",
    "quarantine_decided": "It was decided on a quarantined message: {state}.",
    "audit_read": "A person looked at the audit: {state}.",
    "console_login": "A person signed in, or failed to: {state}.",
    "console_user": "A console account was changed, or its session ended: {state}.",
    "console_denied": "A person asked the console for what their roles do not allow.",
    "export": "A person took records away as a file.",
    "sample_seeded": "The seed of an audit sample was published, before anything was drawn.",
    "sample_drawn": "An audit sample was drawn by its published seed.",
    "sample_graded": "An auditor graded a referral of an audit sample.",
    "checkpoint_gap": "Checkpoints, their cosignatures or timestamps were late or missing.",
    "approval": "One of two people approved an act that needs both: {state}.",
    "chronology": "A person read who knew what of one child, on two people's approvals.",
    "erased": "Sealed bytes, or all that was held, were erased; the log's commitments stay.",
    "legal_hold": "A legal hold was placed or lifted: {state}.",
    "epoch": "The officers opened a new epoch of the log after a loss.",
    "heartbeat": "The log was signed while nothing else happened.",
    "directory": "The authority published a version of the directory.",
    "key": "An agency announced an encryption key.",
    "enrolment": "An enrolment: {state}.",
    "revocation": "A key or an agency was revoked.",
    "policy": "A policy pack was taken into use.",
    "policy_pack": "A policy pack was lodged; it decides nothing before it is taken into use.",
    "agreement": "An agreement needs its owner: {state}.",
    "configuration": "The hub's configuration changed.",
}
_RESULTS: Final[Mapping[str, str]] = {
    CompartmentResult.FULL: "Sent in full",
    CompartmentResult.SUMMARY: "Sent as the sender's summary",
    CompartmentResult.POINTER: "Sent as a pointer: that it exists, and who holds it",
    CompartmentResult.HELD: "Held until an approver releases it",
    CompartmentResult.WITHHELD: "Withheld",
    CompartmentResult.REJECTED: "Rejected",
}


def tell_event(kind: str, state: str | None) -> str:
    """Return one sentence for an event; a kind without words of its own is named."""
    words = EVENT_WORDS.get(kind, f"{_plain(kind).capitalize()}: {{state}}.")
    if state and kind == "escalated":
        return words.format(state=name_clock(state))
    return words.format(state=_plain(state) if state else "not said")


def tell_result(result: str, reason: str) -> str:
    """Return one sentence for what became of a compartment: how it went, or why there is a gap."""
    words = _RESULTS.get(result, _plain(result).capitalize())
    return f"{words}: {reason}" if reason and result not in {CompartmentResult.FULL} else f"{words}."


def name_compartment(code: str) -> str:
    """Return a compartment's title, or the code where there is none."""
    try:
        return COMPARTMENT_TITLES[Compartment(code)]
    except ValueError:
        return code


def _plain(code: str) -> str:
    return code.replace("_", " ").replace("-", " ").lower() if code.isupper() or "_" in code or "-" in code else code
