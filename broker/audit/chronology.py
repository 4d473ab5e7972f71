"""Who knew what, when: everything that the log holds about one child, agency by agency, from events alone and each with its proof.

The hub knows children as pseudonymous tokens, so the question is about one token. Two people must have approved it (``broker.intake.pairing``); using
their approvals and the reading are one event, committed before anything is shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson

from broker.audit.event_facts import find_state
from broker.intake.pairing import Pair, name_subject, use_pair
from broker.log import LogWriter, NewEvent
from broker.log.proving import ProvenEvent, prove_events
from broker.store.pool import Connection, translate_errors
from schemas.canonical import encode_base64url, sha256_base64url
from schemas.codes import CompartmentResult
from schemas.directory import Directory
from schemas.errors import MalformedMessage, NotPermitted
from schemas.objects.approval import ApprovalAction

MOST_EVENTS: Final = 5_000
TOKEN_PARTS: Final = 3
MAX_TOKEN: Final = 400
_GOES: Final = frozenset(
    {CompartmentResult.FULL.value, CompartmentResult.SUMMARY.value, CompartmentResult.POINTER.value}
)
_ABOUT_RECIPIENT: Final = frozenset(
    {"decided", "redecided", "collected", "negative_receipt", "undeliverable", "receipt"}
)


@dataclass(frozen=True, slots=True)
class ChronologyLine:
    """One thing that happened: at whose agency, what, and where the log holds it. ``compartments`` maps what was released to its form."""

    agency: str
    act: str
    at: datetime
    position: int
    message_id: UUID
    referral_id: str
    delivery_id: str | None
    detail: str
    compartments: Mapping[str, str]
    proof: str = field(repr=False)
    event: bytes = field(repr=False)
    salt: bytes | None = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return a form for JSON: ``event``, ``salt`` and ``proof`` let anyone verify it under the checkpoint."""
        return {
            "agency": self.agency,
            "act": self.act,
            "at": self.at.isoformat(),
            "position": self.position,
            "message_id": str(self.message_id),
            "referral_id": self.referral_id,
            "delivery_id": self.delivery_id,
            "detail": self.detail,
            "compartments": dict(self.compartments),
            "event": encode_base64url(self.event),
            "salt": None if self.salt is None else encode_base64url(self.salt),
            "proof": self.proof,
        }


@dataclass(frozen=True, slots=True)
class Chronology:
    """Everything about one child in the order of the log. ``truncated`` says that there is more than ``MOST_EVENTS``."""

    subject: str
    """Digest of the token."""
    read_by: str
    approved_by: tuple[str, ...]
    checkpoint: str
    lines: Sequence[ChronologyLine]
    truncated: bool = False

    def by_agency(self) -> dict[str, list[ChronologyLine]]:
        """Return each agency's lines, oldest first."""
        found: dict[str, list[ChronologyLine]] = {}
        for line in self.lines:
            found.setdefault(line.agency, []).append(line)
        return dict(sorted(found.items()))

    def to_json(self) -> dict[str, Any]:
        """Return a form for JSON."""
        return {
            "subject": self.subject,
            "read_by": self.read_by,
            "approved_by": list(self.approved_by),
            "checkpoint": self.checkpoint,
            "truncated": self.truncated,
            "agencies": {agency: [line.to_json() for line in lines] for agency, lines in self.by_agency().items()},
        }


async def read_chronology(
    pool: asyncpg.Pool, log: LogWriter, directory: Directory, *, token: str, person: str, now: datetime
) -> Chronology:
    """Return who knew what of the child whose token (``scheme|pepper|value``) this is, having used two people's approvals and logged it.

    Raises:
        MalformedMessage: it is no token.
        TwoMustApprove: two people have not approved it, or their approvals are used or over.
        NotPermitted: ``person`` is neither of them.
        StoreUnavailable, IntegrityBroken: it cannot be logged; nothing is shown.
    """
    require_token(token)
    with translate_errors():
        async with pool.acquire(timeout=10) as connection, connection.transaction():
            pair = await use_pair(connection, directory, ApprovalAction.CHRONOLOGY, token, now=now)
            if person not in pair.people:
                raise NotPermitted("only one of the two who approved it reads it", field="person")
            # Read before it is logged, shown after: what fails in between uses nobody's approval up.
            found = await _compile(connection, directory, token, person, pair)
            await log.append(connection, [_write_event(found.subject, person, pair, now)], at=now)
    return found


def require_token(token: str) -> None:
    """Return if this has the form of a subject's token.

    Raises:
        MalformedMessage: it has not.
    """
    parts = token.split("|")
    if len(parts) != TOKEN_PARTS or not all(parts) or len(token) > MAX_TOKEN or not token.isprintable() or " " in token:
        raise MalformedMessage("must be a subject's token as scheme|pepper|value", field="token")


def _write_event(subject: str, person: str, pair: Pair, now: datetime) -> NewEvent:
    members = {
        "at": now.isoformat(),
        "by": person,
        "approvers": list(pair.people),
        "approvals": list(pair.digests),
        "subject": subject,
        "reason_code": pair.reason_code,
    }
    return NewEvent.salted("chronology", members)


async def _compile(connection: Connection, directory: Directory, token: str, person: str, pair: Pair) -> Chronology:
    subject = name_subject(token)
    messages = await connection.fetch(
        "SELECT m.message_id, m.sender, m.referral_id, m.notice FROM message_subjects s JOIN messages m USING (message_id)"
        " WHERE s.tokens @> ARRAY[$1::text]",
        token,
    )
    known = {row["message_id"]: row for row in messages}
    rows = await connection.fetch(
        "SELECT p.event_id FROM log_payloads p JOIN log_entries e USING (event_id) WHERE p.message_id = ANY($1::uuid[])"
        " AND p.event IS NOT NULL ORDER BY e.position LIMIT $2",
        list(known),
        MOST_EVENTS + 1,
    )
    wanted = [row["event_id"] for row in rows[:MOST_EVENTS]]
    if not wanted:
        note = await connection.fetchval("SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1")
        return Chronology(subject, person, pair.people, str(note), [])
    note, proven = await prove_events(connection, wanted, directory)
    parsed = [(event, orjson.loads(event.event or b"{}")) for event in proven]
    forms = await _read_forms(connection, parsed, known)
    recipients = {members["delivery_id"]: members["recipient"] for e, members in parsed if e.kind == "decided"}
    lines = [
        _write_line(event, members, known[UUID(members["message_id"])], recipients, forms)
        for event, members in parsed
        if event.event is not None
    ]
    return Chronology(subject, person, pair.people, note, lines, truncated=len(rows) > MOST_EVENTS)


def _write_line(
    proven: ProvenEvent,
    members: Mapping[str, Any],
    message: Any,
    recipients: Mapping[str, str],
    forms: Mapping[UUID, Mapping[str, str]],
) -> ChronologyLine:
    delivery_id = members.get("delivery_id") or None
    if proven.kind in _ABOUT_RECIPIENT:
        agency = members.get("recipient") or recipients.get(delivery_id or "") or message["sender"]
    elif proven.kind == "clock":
        bound = {change["recipient"] for change in members.get("changes", ()) if change.get("recipient")}
        agency = bound.pop() if len(bound) == 1 else message["sender"]
    else:
        agency = members.get("agency") or members.get("sender") or message["sender"]
    return ChronologyLine(
        agency=str(agency),
        act=_name_act(proven.kind, members),
        at=proven.at,
        position=proven.position,
        message_id=message["message_id"],
        referral_id=message["referral_id"],
        delivery_id=delivery_id,
        detail=_find_detail(proven.kind, members),
        compartments=forms.get(proven.event_id, {}),
        proof=proven.proof,
        event=proven.event or b"",
        salt=proven.salt,
    )


def _name_act(kind: str, members: Mapping[str, Any]) -> str:
    """Return what an agency did or learnt: sent, released, accepted, opened … in the field's words."""
    if kind == "accepted":
        return "sent"
    if kind == "decided":
        return "released" if members.get("released") else str(members.get("outcome"))
    if kind == "receipt":
        return str(members.get("state"))
    return kind


def _find_detail(kind: str, members: Mapping[str, Any]) -> str:
    """Return what came of it, as codes; of clocks, each with its new state (``la_acknowledgement met``)."""
    if kind == "clock":
        return ", ".join(f"{change['clock']} {change['state']}" for change in members.get("changes", ()))
    return find_state(kind, members) or str(members.get("scope") or "")


async def _read_forms(
    connection: Connection, parsed: Sequence[tuple[ProvenEvent, Mapping[str, Any]]], known: Mapping[UUID, Any]
) -> dict[UUID, dict[str, str]]:
    """Return decided event to what it released, by compartment.

    The event itself names sections only, so that a recipient learns nothing of the rest; compartments come from the notice of the acceptance, whose
    digest its event holds, and for later decisions from the record beside the event.
    """
    told: dict[tuple[str, str], dict[str, str]] = {}
    first: set[str] = set()
    for event, members in parsed:
        if event.kind != "accepted":
            continue
        notice = known[UUID(members["message_id"])]["notice"]
        if notice is None or sha256_base64url(notice) != members["notice_sha256"]:
            continue
        for decision in orjson.loads(notice)["decisions"]:
            told[members["message_id"], decision["delivery_id"]] = _list_released(decision["compartments"])
    later = await connection.fetch(
        "SELECT event_id, decision FROM redecisions WHERE event_id = ANY($1::uuid[])", [e.event_id for e, _ in parsed]
    )
    forms = {row["event_id"]: _list_released(orjson.loads(row["decision"]).get("compartments", {})) for row in later}
    for event, members in parsed:
        if event.kind == "decided" and event.event_id not in forms and members["delivery_id"] not in first:
            first.add(members["delivery_id"])
            forms[event.event_id] = told.get((members["message_id"], members["delivery_id"]), {})
    return {
        event.event_id: forms.get(event.event_id, {}) if members.get("released") else {}
        for event, members in parsed
        if event.kind == "decided"
    }


def _list_released(compartments: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {code: verdict["result"] for code, verdict in sorted(compartments.items()) if verdict["result"] in _GOES}
