"""What ``fsck`` does not check, and why: every table and column that is not named here is protected, which the tamper trial takes at its word.

What an attacker could change here unseen changes nothing that was logged, signed or released; what may change in work is moved by events.
"""

from collections.abc import Mapping
from typing import Final

TABLES: Final[Mapping[str, str]] = {
    "alembic_version": "the schema's own version",
    "outbox": "work to do: what is sent is cut anew from what is checked, and recipients verify it",
    "redecide_due": "work to do: a decision that is made again is logged",
    "registry_change": "a counter that makes processes read again",
    "register_change": "a counter that makes processes decide again",
    "agency_queues": "names in RabbitMQ, which has its own permissions",
    "access_token_ids": "used tokens of the last minutes",
    "invitations": "an enrolment counts when the authority has signed it",
    "enrolments": "an enrolment counts when the authority has signed it; its steps are events",
    "policy_packs": "a pack is believed by its digest alone, which the directory signs, whenever it is loaded",
    "log_proposals": "which head witnesses were asked to cosign; what they signed is checked",
    "decision_expiries": "that a decision's end was noticed; what followed is a decision of its own",
    "audit_saved_views": "people's saved searches",
    "audit_samples": "drawn by a seed that the log published: whoever draws again gets the same",
    "audit_sample_items": "drawn by a seed that the log published: whoever draws again gets the same",
    "audit_grades": "an auditor's word, which the log has as an event",
}
"""Table to the reason."""

DERIVED: Final[Mapping[str, str]] = {
    "audit_": "made from the log by the projector, and made again from it at any time",
    "report_": "made from the log by the projector, and made again from it at any time",
    "projection_": "how far the projector is",
    "console_": "people's accounts and sessions: their changes and sign-ins are events",
}
"""Beginning of a table's name to the reason."""

COLUMNS: Final[Mapping[str, str]] = {
    "messages.repeat_of": "that it names a repeat is checked; that it names none follows from native_ref_digest, which is checked",
    "log_cosignatures.received_at": "when it came; when it was made is in the witness's signature",
    "log_timestamps.token": "its signed parts are checked; what a response carries beside them (certificates, status text) nobody signed",
    "log_timestamps.received_at": "when it came; when it was made is in the authority's signature",
    "key_announcements.received_at": "when it came; its own dates are signed",
    "directory_versions.received_at": "when it came; its own dates are signed",
    "approval_uses.used_at": "the act that used it is an event with its time",
    "policy_activations.directory_version": "the signed directory names the pack",
    "policy_activations.activated_at": "the directory's publication is an event with its time",
    "holds.row": "what it waits for is in the decision, which is checked",
    "holds.reason": "a sentence for people; the decision, which is checked, has its own",
    "holds.created_at": "the decision's time is checked",
    "holds.deadline_at": "local policy's, from the decision's time; once it is overdue the event has it",
    "holds.decided_at": "of what policy itself closed: the decision that did has its time",
    "holds.decided_by": "of what policy itself closed: there is nobody's name to check",
    "holds.decision_reason": "of what policy itself closed: the decision that did has its own",
    "holds.state": "of what policy itself closed: what it released is a decision, which is checked",
    "holds.claimed_at": "claiming again does not change it; who claimed is checked",
    "retrospective_reviews.review_id": "a name that nothing else uses",
    "retrospective_reviews.reason": "a sentence for people; the decision, which is checked, has its own",
    "retrospective_reviews.created_at": "the decision's time is checked",
    "retrospective_reviews.deadline_at": "local policy's, from the decision's time; once it is overdue the event has it",
    "clocks.clock_id": "a name that nothing else uses",
    "clocks.changed_at": "of a clock that runs as it began: the message's time is checked",
    "requests.state": "an answer is a signed object of its own, which is checked; that none came is told by an event",
    "quarantine.quarantine_id": "of what nobody has decided: a name that nothing else uses",
    "quarantine.type": "what the sender called it",
    "quarantine.queue": "where it came from",
    "quarantine.detail": "a rule's words; its code is checked",
    "quarantine.field": "where the rule was broken; its code is checked",
    "quarantine.seen": "how often the same bytes came",
    "quarantine.last_at": "when they last came",
    "quarantine.decision_reason": "words for people; who decided, when and what is checked",
    "deliveries.decision": "what neither sender nor recipient is told: which statement decided each compartment, and until when it holds",
    "redecisions.decision": "what neither sender nor recipient is told: which statement decided each compartment, and until when it holds",
}
"""Column to the reason; of some the reason says for which rows only, and of a decision for which members."""

DECISION_MEMBERS: Final = frozenset(
    {"valid_until", "decided_at", "subjects", "compartments.policy", "compartments.authority"}
)
"""What of ``decision`` is not checked; the trial changes the rest."""

ROWS: Final[Mapping[str, str]] = {
    "used_tokens": "every message that uses a disclosure token names it in its signed header, so a second use shows there",
    "log_cosignatures": "nobody can hide that a quorum signed: its witnesses keep what they signed, and sign again",
    "log_timestamps": "nobody else holds them; the next hour has another",
}
"""Table whose rows may go unseen, and why."""

ERASED: Final = (
    "of a referral that was erased on request only presence and its events' positions are checked: that nobody can tell what stood there is the"
    " point of erasing. Of one whose sealed bytes are gone, what only its header said (native reference, tokens, and so"
    " whether its row in ``message_subjects`` is still there)."
)
"""What erasing takes from the check."""
