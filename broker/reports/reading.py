"""Reads facts from what the hub stored when it accepted a message: the routing header's codes, the first decisions, the clocks that began. Pure.

Nothing else is taken: the header is opened, codes and instants are copied, and the rest is let go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import orjson

from broker.reports.facts import RISK_EXPECTED, ClockFact, DeliveryFact, ReferralFact, keep_code, keep_slug
from schemas.codes import AgeBand, Compartment, DeliveryOutcome, Kind, SubjectType
from schemas.decision import SENT
from schemas.envelope import parse_envelope
from schemas.envelope.entries import read_openings
from schemas.envelope.verify import read_header, read_manifest
from schemas.errors import SafelaneError
from schemas.header import RoutingHeader
from schemas.jose.jws import peek_payload

_TOKEN_BYTES: Final = 16
_DIGEST_SHOWN: Final = 12
_OF_HEADER: Final = (
    "header_known",
    "area",
    "event",
    "grade",
    "tool",
    "assessed_at",
    "review_due_at",
    "incident_at",
    "art6",
    "consent",
    "consent_reason",
    "tell",
    "tell_reason",
    "persons",
    "children",
    "heard",
    "flags",
    "embargo_set_at",
    "embargo_due_at",
)
"""What the header alone says of a referral."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What one accepted message adds: its referral, deliveries, clocks, and its subjects' pseudonyms."""

    referral: ReferralFact
    deliveries: tuple[DeliveryFact, ...]
    clocks: tuple[ClockFact, ...]
    tokens: tuple[bytes, ...] = field(repr=False)


def read_accepted(
    message: Mapping[str, Any], deliveries: Sequence[Mapping[str, Any]], kept: ReferralFact | None = None
) -> Accepted:
    """Return the facts of a stored message and its deliveries as first decided.

    Args:
        message: a row of ``messages``; its ``body`` is none, or not what was accepted, once it is erased.
        deliveries: its rows of ``deliveries``, whose first decisions never change.
        kept: what was read of it before, for when its body is erased.
    """
    header = read_stored_header(message["body"], message["body_sha256"])
    referral = ReferralFact(
        message_id=message["message_id"],
        referral_id=message["referral_id"],
        conversation=message["conversation"],
        sender=message["sender"],
        kind=keep_code(message["kind"]),
        accepted_at=message["received_at"],
        issued_at=message["issued_at"],
        supersedes=message["supersedes"],
    )
    if header is not None:
        _take_header(referral, header)
    elif kept is not None:
        _take_kept(referral, kept)
    clocks = tuple(_read_clocks(referral, message["notice"]))
    due = [clock.due_at for clock in clocks if clock.clock == "strategy_discussion"]
    referral.strategy_due_at = min(due, default=None)
    facts = tuple(_read_delivery(referral, row) for row in deliveries)
    if referral.kind == Kind.ENCOMPASS:
        referral.routed = _name_route(referral, facts)
    if referral.kind == Kind.RSO_MAPPA and referral.header_known:
        shared = any(d.role == "csc" and d.first_outcome == DeliveryOutcome.DELIVERED for d in facts)
        referral.rso_child = ("shared" if shared else "not_shared") if referral.children else "no_child"
    return Accepted(referral, facts, clocks, _list_tokens(header) if header is not None else ())


def read_stored_header(body: bytes | None, digest: bytes) -> RoutingHeader | None:
    """Return the routing header of a stored message, or none where its bytes are erased: its signature was verified when it was accepted."""
    if body is None or sha256(body).digest() != digest:
        return None
    try:
        envelope = parse_envelope(body)
        manifest = read_manifest(peek_payload(envelope.manifest))
        return read_header(read_openings(envelope.openings, frozenset(manifest.digests)))
    except SafelaneError:
        return None


def digest_token(scheme: str, pepper_id: str, value: str) -> bytes:
    """Return the digest under which a subject token is kept for finding repeats."""
    return sha256(f"{scheme}|{pepper_id}|{value}".encode()).digest()[:_TOKEN_BYTES]


def read_clock_lines(message: ReferralFact, lines: Sequence[Mapping[str, Any]]) -> list[ClockFact]:
    """Return the facts of clocks as a notice or a ``clocks_started`` event lists them: one for each recipient that a clock binds."""
    return [
        ClockFact(
            message_id=message.message_id,
            clock=keep_slug(line["clock"]),
            recipient=recipient,
            kind=message.kind,
            area=message.area,
            accepted_at=message.accepted_at,
            starts_at=datetime.fromisoformat(line["starts_at"]),
            due_at=datetime.fromisoformat(line["due_at"]),
        )
        for line in lines
        for recipient in line["recipients"] or [""]
    ]


def _take_header(fact: ReferralFact, header: RoutingHeader) -> None:
    policy, risk = header.policy, header.risk
    people = [s for s in header.subjects if s.type is SubjectType.PERSON]
    fact.header_known = True
    fact.area = keep_code(header.case.area)
    fact.event = keep_slug(header.case.missing_event)
    fact.grade = risk.grade.value
    fact.tool = keep_code(f"{risk.tool} {risk.tool_version or ''}".strip() if risk.tool else "")
    fact.assessed_at, fact.review_due_at = risk.assessed_at, risk.next_review_due_at
    fact.incident_at = policy.clocks.incident_at
    fact.art6 = header.lawful_basis.art6.value
    fact.consent, fact.consent_reason = policy.consent.state.value, keep_slug(policy.consent.reason_code)
    fact.tell, fact.tell_reason = policy.tell_status.value.value, keep_slug(policy.tell_status.reason_code)
    fact.persons = bool(people)
    fact.children = any(s.age_band not in {None, AgeBand.ADULT, AgeBand.UNBORN} for s in people)
    fact.heard = Compartment.C06 in policy.compartments
    fact.flags = tuple(sorted({keep_slug(flag) for flag in header.flags}))
    if policy.embargo is not None and policy.embargo.active:
        fact.embargo_set_at = policy.embargo.set_at or fact.accepted_at
        fact.embargo_due_at = policy.embargo.review_due_at


def _take_kept(fact: ReferralFact, kept: ReferralFact) -> None:
    """Take over what the header said when it could still be read."""
    for name in _OF_HEADER:
        setattr(fact, name, getattr(kept, name))


def _read_clocks(fact: ReferralFact, notice: bytes) -> list[ClockFact]:
    return read_clock_lines(fact, orjson.loads(notice).get("clocks", ()))


def _read_delivery(referral: ReferralFact, row: Mapping[str, Any]) -> DeliveryFact:
    decision = orjson.loads(row["decision"])
    outcome = row["outcome"]
    delivered = outcome == DeliveryOutcome.DELIVERED
    waits = outcome == DeliveryOutcome.HELD or decision.get("queue", False)
    reviewed = decision.get("retrospective_review", False)
    return DeliveryFact(
        message_id=referral.message_id,
        delivery_id=row["delivery_id"],
        kind=referral.kind,
        area=referral.area,
        sender=referral.sender,
        accepted_at=referral.accepted_at,
        recipient=keep_code(row["recipient"]),
        role=keep_code(row["role"]),
        purpose=keep_slug(row["purpose"]),
        first_outcome=outcome,
        first_row=row["row"],
        outcome=outcome,
        row=row["row"],
        policy_digest=decision.get("policy_digest", "")[:_DIGEST_SHOWN],
        agreement=keep_code(decision.get("agreement")),
        detriment=decision.get("policy") == "detriment",
        compartments=tuple(
            sorted((name, _name_result(d)) for name, d in decision.get("compartments", {}).items()),
        ),
        alerts=tuple(sorted({keep_slug(alert) for alert in decision.get("alerts", ())})),
        strategy_due_at=referral.strategy_due_at,
        released_at=referral.accepted_at if delivered else None,
        hold="open" if waits else "",
        held_at=referral.accepted_at if waits else None,
        glass="open" if reviewed else "",
        glass_at=referral.accepted_at if reviewed else None,
    )


def _name_result(decided: Mapping[str, Any]) -> str:
    return "sent" if decided["result"] in SENT else f"{decided['result']}:{decided['row']}"


def _name_route(referral: ReferralFact, deliveries: Sequence[DeliveryFact]) -> str:
    """Tell where an Encompass notice went (FORMATS CH-5): to a school; to the authority for a child at no school, or an unmatched one."""
    if "school_unmatched" in referral.flags:
        return "unmatched"
    roles = {d.role for d in deliveries if not d.recipient.startswith("unresolved:")}
    return "school" if "dsl" in roles else "no_school" if "la_education" in roles else "nobody"


def _list_tokens(header: RoutingHeader) -> tuple[bytes, ...]:
    return tuple(sorted({digest_token(t.scheme, t.pepper_id, t.value) for r in header.routing for t in r.tokens}))


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier message about the same child."""

    message_id: UUID
    accepted_at: datetime
    is_new: bool
    position: int = 0
    """Of its event in the log."""


def name_repeat(at: datetime, earlier: Sequence[Earlier], *, has_token: bool) -> str:
    """Tell how long before ``at`` the last new referral about the same child was."""
    if not has_token:
        return "no_token"
    last = max((e.accepted_at for e in earlier if e.is_new and e.accepted_at <= at), default=None)
    return "first" if last is None else name_months(last, at)


def name_months(start: datetime, end: datetime) -> str:
    """Return the band of calendar months between two instants: within_3, within_6, within_12 or later."""
    for months in (3, 6, 12):
        if end <= _add_months(start, months):
            return f"within_{months}"
    return "later"


def name_reassessed(fact: ReferralFact, before: Sequence[ReferralFact]) -> str:
    """Tell whether a newer assessment came with new information: ``none`` where there is no assessment at all."""
    concerned = fact.kind in {Kind.UPDATE, Kind.CORRECTION} or (fact.kind in RISK_EXPECTED and fact.event == "update")
    if not concerned or not before or not fact.header_known:
        return ""
    if fact.assessed_at is None:
        return "none"
    last = max((f.assessed_at for f in before if f.assessed_at is not None), default=None)
    return "yes" if last is None or fact.assessed_at > last else "no"


def _add_months(moment: datetime, months: int) -> datetime:
    year, month = divmod(moment.month - 1 + months, 12)
    first = moment.replace(year=moment.year + year, month=month + 1, day=1)
    in_month = (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    return first.replace(day=min(moment.day, in_month.day))
