"""What a search needs of an event: which agencies, which referral, what state, whose act. Pure: an event and what is stored of its message in, facts out.

Most events say these things under the same names (``docs/events.md``), so that a new kind of event is searchable without a word here; the few that
say them otherwise are named below.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import UUID

from broker.audit.projecting import LoggedEvent
from schemas.codes import Kind

OTHER: Final = "OTHER"
"""Stands for a kind of referral that the contract does not know: a sender could make up any number of them."""
_KNOWN_KINDS: Final = frozenset(Kind)
_MAX_TEXT: Final = 200
_STATE_MEMBERS: Final = ("outcome", "state", "action", "code", "clock", "review", "type")
"""Members that say what came of it, the first that an event has."""
_SUBJECT_MEMBERS: Final = ("subject", "user", "quarantine_id", "kid", "thumbprint", "policy_digest", "enrolment_id")
_ABOUT_AGENCIES: Final = frozenset({"key", "enrolment", "revocation"})
_LOOKED_AT: Final = frozenset({"audit_read", "export"})
"""Kinds whose subject may be a referral, a message or a delivery."""


class Stream(NamedTuple):
    """One combination of what people filter by."""

    kind: str
    sender: str | None = None
    recipient: str | None = None
    referral_kind: str | None = None
    state: str | None = None
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class StoredFacts:
    """What is stored of an event's message and delivery."""

    message_id: UUID
    sender: str
    referral_id: str
    referral_kind: str
    recipient: str | None = None
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class EventFacts:
    """One event as the search knows it: ids, codes and instants."""

    stream: Stream
    message_id: UUID | None = None
    delivery_id: str | None = None
    referral_id: str | None = None
    person: str | None = None
    subject: str | None = None


def find_subject(event: LoggedEvent) -> tuple[UUID | None, str | None]:
    """Return which message and which delivery an event names."""
    members = event.members or {}
    return read_uuid(members.get("message_id")), _text(members.get("delivery_id"))


def find_looked_at(event: LoggedEvent) -> str | None:
    """Return the id that somebody looked at or exported, for which the referral is to be found; none for other events."""
    return _text((event.members or {}).get("subject")) if event.kind in _LOOKED_AT else None


def read_facts(event: LoggedEvent, stored: StoredFacts | None) -> EventFacts:
    """Return what a search knows of ``event``: nothing but its kind once its payload is erased."""
    members = event.members
    if members is None:
        return EventFacts(Stream(event.kind))
    named, delivery_id = find_subject(event)
    sender, recipient = _find_agencies(event.kind, members, stored)
    return EventFacts(
        stream=Stream(
            kind=event.kind,
            sender=sender,
            recipient=recipient,
            referral_kind=_code_kind(stored.referral_kind) if stored else None,
            state=find_state(event.kind, members),
            rule=(stored.rule or None) if stored and event.kind == "decided" else None,
        ),
        message_id=stored.message_id if stored else named,
        delivery_id=delivery_id,
        referral_id=stored.referral_id if stored else None,
        person=_text(members.get("by")),
        subject=next((_text(members[name]) for name in _SUBJECT_MEMBERS if members.get(name)), None),
    )


def read_uuid(value: Any) -> UUID | None:
    """Return a UUID, or none where there is none."""
    try:
        return UUID(value) if isinstance(value, str) and value else None
    except ValueError:
        return None


def _find_agencies(kind: str, members: Mapping[str, Any], stored: StoredFacts | None) -> tuple[str | None, str | None]:
    """Return who sent what this is about, and whom else it concerns: its recipient, or the agency that was told or that signed."""
    agency, stated = _text(members.get("agency")), _text(members.get("sender"))
    if kind in _ABOUT_AGENCIES:
        return agency, None
    if stored is None:
        return stated or agency, _text(members.get("recipient"))
    if kind == "told":
        other = agency  # whom it was told: the sender itself, or one that received
    elif kind == "object":
        other = stated
    elif kind in _LOOKED_AT:
        other = None
    else:
        other = _text(members.get("recipient")) or agency or stored.recipient
    return stored.sender, _group_unresolved(other) if other != stored.sender else None


def _group_unresolved(agency: str | None) -> str | None:
    # ``unresolved:school:some text``: the text is the sender's own, and makes no stream of its own.
    return re.sub(r"^(unresolved:[a-z_]+):.*$", r"\1", agency) if agency else None


def find_state(kind: str, members: Mapping[str, Any]) -> str | None:
    """Return the code that says what came of an event; none where it says nothing of that."""
    if kind == "clock":
        states = [change.get("state") for change in members.get("changes", ())]
        return "breached" if "breached" in states else _text(states[-1] if states else None)
    if kind == "negative_receipt":
        return _text(members.get("last_state")) or "none"
    return next((_text(members[name]) for name in _STATE_MEMBERS if members.get(name)), None)


def _code_kind(kind: str) -> str:
    return kind if kind in _KNOWN_KINDS else OTHER


def _text(value: Any) -> str | None:
    return value[:_MAX_TEXT] if isinstance(value, str) and value else None
