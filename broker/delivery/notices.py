"""Notices: what the hub tells a sender became of its message, and why. The logged event holds the notice's digest."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from broker.decisions.clocks import Clock
from schemas.canonical import canonical_bytes, sha256_base64url
from schemas.decision import Decision
from schemas.errors import SafelaneError

NOTICE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice before its event is logged: canonical JSON, and the digest that the event holds."""

    base: bytes = field(repr=False)
    sha256: str


def build_notice(
    outcome: str,
    *,
    at: datetime,
    message_id: str,
    referral_id: str | None = None,
    revision: int | None = None,
    manifest_digest: str | None = None,
    decisions: Sequence[Decision] = (),
    clocks: Sequence[Clock] = (),
    error: SafelaneError | None = None,
    **more: str,
) -> Notice:
    """Return a notice. ``more`` are further ids (``delivery_id``, ``receipt_digest``, ``duplicate_of``)."""
    members: dict[str, Any] = {
        "notice": NOTICE_VERSION,
        "at": at.isoformat(),
        "message_id": message_id,
        "referral_id": referral_id,
        "revision": revision,
        "outcome": outcome,
        "retryable": error.retryable if error else False,
        "error": describe_error(error) if error else None,
        "manifest_digest": manifest_digest,
        "decisions": [describe_decision(decision) for decision in decisions],
        **({"clocks": [describe_clock(clock) for clock in clocks]} if clocks else {}),
        **more,
    }
    base = canonical_bytes(members)
    return Notice(base, sha256_base64url(base))


def describe_decision(decision: Decision) -> dict[str, Any]:
    """Return what the sender may see of a decision: all of it but digests of inputs that are not the sender's."""
    told: dict[str, Any] = {
        "delivery_id": decision.delivery_id,
        "recipient": decision.recipient,
        "role": decision.role,
        "purpose": decision.purpose,
        "outcome": decision.outcome.value,
        "row": decision.row,
        "policy": decision.policy,
        "reason": decision.reason,
        "authority": decision.authority,
        "queue": decision.queue,
        "alerts": list(decision.alerts),
        "emits": list(decision.emits),
        "retrospective_review": decision.retrospective_review,
        "policy_digest": decision.policy_digest,
        "compartments": decision.verdicts.told,
    }
    if decision.deliver_to is not None:
        told["deliver_to"] = decision.deliver_to
    if decision.agreement is not None:
        told["agreement"] = decision.agreement
    return told


def describe_clock(clock: Clock) -> dict[str, Any]:
    """Return what the sender sees of a clock: instants in UTC, whom it binds, and how it was counted."""
    told: dict[str, Any] = {
        "clock": clock.clock,
        "starts_at": clock.starts_at.isoformat(),
        "due_at": clock.due_at.isoformat(),
        "recipients": list(clock.recipients),
        "assumption": clock.assumption,
    }
    if clock.extendable_to is not None:
        told["extendable_to"] = clock.extendable_to.isoformat()
    return told


def describe_error(error: SafelaneError) -> dict[str, Any]:
    """Return code, field and rule of an error: never a value."""
    return {
        "code": error.code,
        "detail": error.public_message,
        "field": error.field,
        "retryable": error.retryable,
    }
