"""Reading a referral's whole view: messages, deliveries with each compartment's outcome, receipts, clocks, holds, statements, timeline.

Its sender and the partnership's auditors see all of it. An agency that only received sees its own deliveries, and of these what it was sent and
what it was told: the same words as in its own decided event.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from broker.audit.filters import SearchFilter
from broker.audit.referral_view import (
    ClockView,
    CompartmentCell,
    DecisionView,
    DeliveryView,
    HoldView,
    MessageView,
    ReceiptView,
    ReferralView,
    StatementView,
    TimelineEntry,
)
from broker.audit.searching import find_messages, search_events
from broker.audit.wording import name_compartment, tell_event, tell_result
from broker.store.pool import Connection
from schemas.decision import SENT, Decision
from schemas.errors import NotFound

MAX_MESSAGES: Final = 100
MAX_TIMELINE: Final = 500

_MESSAGES = """
SELECT m.message_id, m.sender, m.referral_id, m.revision, m.kind, m.received_at, m.supersedes, m.manifest_digest, m.directory_version, e.position
FROM messages m LEFT JOIN log_entries e USING (event_id) WHERE m.message_id = ANY($1::uuid[]) ORDER BY m.received_at, m.message_id
"""
_DELIVERIES = """
SELECT d.message_id, d.delivery_id, d.recipient, d.role, d.purpose, d.contact, d.state, d.outcome, d."row", d.reason, d.decision, d.decided_at,
  e.position, t.collected_at, m.sender
FROM deliveries d JOIN messages m USING (message_id) LEFT JOIN log_entries e ON e.event_id = d.event_id
LEFT JOIN tickets t ON t.message_id = d.message_id AND t.delivery_id = d.delivery_id
WHERE d.message_id = ANY($1::uuid[]) ORDER BY d.message_id, d.number
"""
_LATER = """
SELECT r.message_id, r.delivery_id, r.cause, r.outcome, r."row", r.reason, r.decision, r.decided_at, e.position
FROM redecisions r LEFT JOIN log_entries e USING (event_id) WHERE r.message_id = ANY($1::uuid[]) ORDER BY r.number
"""
_RECEIPTS = """
SELECT r.message_id, r.delivery_id, r.state, r.at, r.received_at, r.reason_code, r.receipt_digest, e.position
FROM receipts r LEFT JOIN log_entries e USING (event_id) WHERE r.message_id = ANY($1::uuid[]) ORDER BY r.received_at
"""
_HOLDS = """
SELECT message_id, delivery_id, 'hold' AS review, owner, "row", reason, state, created_at, deadline_at, claimed_by, decided_by, decided_at, escalations
FROM holds WHERE message_id = ANY($1::uuid[])
UNION ALL SELECT message_id, delivery_id, kind, owner, '', reason, state, created_at, deadline_at, claimed_by, decided_by, decided_at, escalations
FROM retrospective_reviews WHERE message_id = ANY($1::uuid[]) ORDER BY created_at
"""
_CLOCKS = """
SELECT message_id, clock, recipient, state, starts_at, due_at, met_at, breached_at FROM clocks WHERE message_id = ANY($1::uuid[]) ORDER BY due_at, clock
"""
_STATEMENTS = """
SELECT message_id, 'approval' AS type, action, approver AS by, reason_code, received_at, NULL AS agency FROM approvals WHERE message_id = ANY($1::uuid[])
UNION ALL SELECT message_id, 'recall', 'recall', '', reason_code, received_at, NULL FROM recalls WHERE message_id = ANY($1::uuid[])
UNION ALL SELECT r.message_id, 'deletion', CASE WHEN d.exceptions_code IS NULL THEN 'deleted' ELSE 'kept' END, d.agency, coalesce(d.exceptions_code, ''), d.received_at, d.agency
  FROM deletions d JOIN recalls r USING (recall_id) WHERE r.message_id = ANY($1::uuid[])
UNION ALL SELECT subject_id, 'erased', scope, 'the hub', 'commitment intact', erased_at, NULL FROM erasures WHERE subject_id = ANY($1::uuid[])
ORDER BY received_at
"""
_QUERIES: Final = (_MESSAGES, _DELIVERIES, _LATER, _RECEIPTS, _HOLDS, _CLOCKS, _STATEMENTS)
_REACHED: Final = frozenset({"open", "accepted", "opened", "actioned", "refused"})
"""States of a delivery that its recipient knows of."""


async def read_referral(connection: Connection, searched_id: str, *, agency: str | None) -> ReferralView:
    """Return the view of a referral, by its id or that of one of its messages or deliveries. The caller has logged the look before.

    Raises:
        NotFound: there is none, or ``agency`` has no part in it.
    """
    found = await find_messages(connection, searched_id)
    if not found:
        raise NotFound("no message, referral or delivery has this id", field="id")
    # A message's or delivery's id stands for its whole referral, of the same sender.
    referrals = {(row["sender"], row["referral_id"]) for row in found}
    ids = [row["message_id"] for s, r in sorted(referrals) for row in await _find_revisions(connection, s, r)]
    messages, *rest = [await connection.fetch(query, ids[:MAX_MESSAGES]) for query in _QUERIES]
    parts = _Parts(agency, rest)
    views = tuple(view for row in messages if (view := parts.view(row)) is not None)
    if not views:
        raise NotFound("no message, referral or delivery has this id", field="id")
    page = await search_events(
        connection, SearchFilter(id=views[0].referral_id), agency=agency, cursor=None, most=MAX_TIMELINE
    )
    return ReferralView(
        searched_id=searched_id,
        messages=views,
        timeline=tuple(TimelineEntry(e, tell_event(e.event, e.state)) for e in reversed(page.events)),
        timeline_cut=page.next_cursor is not None,
        complete_position=page.complete.position,
        complete_at=page.complete.at,
        whole=all(parts.is_whole(row) for row in messages),
        totals={"messages": len(views), "deliveries": sum(len(view.deliveries) for view in views)},
    )


async def read_decisions(
    connection: Connection, searched_id: str, *, agency: str | None
) -> list[tuple[int, str, Decision]]:
    """Return the decision records of a referral, a message or a delivery that ``agency`` sent: number (0 for the first of its delivery), cause, record.

    The caller has logged the look before.

    Raises:
        NotFound: there is none.
    """
    found = await find_messages(connection, searched_id)
    ids = [row["message_id"] for row in found if agency in {None, row["sender"]}]
    rows = await connection.fetch(
        "SELECT message_id, number AS place, delivery_id, 0 AS number, '' AS cause, decision FROM deliveries"
        " WHERE message_id = ANY($1::uuid[]) AND decision::text <> '{}'"
        " UNION ALL SELECT r.message_id, d.number, r.delivery_id, r.number, r.cause, r.decision FROM redecisions r"
        " JOIN deliveries d USING (message_id, delivery_id) WHERE r.message_id = ANY($1::uuid[]) AND r.decision::text <> '{}'"
        " ORDER BY message_id, place, number",
        ids,
    )
    chosen = [row for row in rows if row["delivery_id"] == searched_id] or rows
    if not chosen:
        raise NotFound("no message, referral or delivery has this id", field="id")
    return [(row["number"], row["cause"], Decision.model_validate_json(row["decision"])) for row in chosen]


async def _find_revisions(connection: Connection, sender: str, referral_id: str) -> Sequence[Any]:
    return await connection.fetch(
        "SELECT message_id FROM messages WHERE sender = $1 AND referral_id = $2 ORDER BY revision LIMIT $3",
        sender,
        referral_id,
        MAX_MESSAGES,
    )


class _Parts:
    """What belongs to a message, by message; and who may see it."""

    def __init__(self, agency: str | None, rows: Sequence[Sequence[Any]]) -> None:
        """Take the rows of ``_QUERIES`` after the messages'."""
        self._agency = agency
        self._deliveries, self._later, self._receipts, self._holds, self._clocks, self._statements = rows

    def is_whole(self, message: Any) -> bool:
        """Tell whether the reader sees all of a message."""
        return self._agency is None or message["sender"] == self._agency

    def view(self, message: Any) -> MessageView | None:
        """Return a message's view, none where the reader has no part in it."""
        whole, message_id = self.is_whole(message), message["message_id"]
        deliveries = tuple(
            self._view_delivery(row, whole=whole)
            for row in self._deliveries
            if row["message_id"] == message_id and (whole or self._reached(row))
        )
        if not whole and not deliveries:
            return None
        clocks = (row for row in self._clocks if row["message_id"] == message_id)
        statements = (row for row in self._statements if row["message_id"] == message_id)
        return MessageView(
            **_pick(
                message,
                "message_id sender referral_id revision kind received_at supersedes manifest_digest directory_version position",
            ),
            deliveries=deliveries,
            clocks=tuple(
                ClockView(**_without(row, "message_id")) for row in clocks if whole or row["recipient"] == self._agency
            ),
            statements=tuple(
                StatementView(**_without(row, "message_id", "agency"))
                for row in statements
                if whole or row["type"] == "recall" or row["agency"] == self._agency
            ),
        )

    def _reached(self, row: Any) -> bool:
        return row["recipient"] == self._agency and row["state"] in _REACHED

    def _view_delivery(self, row: Any, *, whole: bool) -> DeliveryView:
        own = (row["message_id"], row["delivery_id"])
        decisions = [_read_decision(row, cause="", whole=whole)]
        decisions += [_read_decision(r, cause=r["cause"], whole=whole) for r in self._later if _key(r) == own]
        return DeliveryView(
            **_pick(row, "delivery_id recipient role purpose contact state collected_at"),
            decisions=tuple(d for d in decisions if whole or d.outcome == "delivered"),
            receipts=tuple(
                ReceiptView(
                    state=r["state"],
                    claimed_at=r["at"],
                    logged_at=r["received_at"],
                    reason_code=r["reason_code"],
                    receipt_digest=r["receipt_digest"],
                    position=r["position"],
                )
                for r in self._receipts
                if _key(r) == own
            ),
            holds=tuple(
                HoldView(**_without(h, "message_id", "delivery_id")) for h in self._holds if whole and _concerns(h, own)
            ),
        )


def _read_decision(row: Any, *, cause: str, whole: bool) -> DecisionView:
    """Return a decision as its sender may see it or, if not ``whole``, as its recipient was told it."""
    decision: Mapping[str, Any] = json.loads(row["decision"])
    told = decision.get("told")
    shown = {"row": row["row"], "reason": row["reason"], "authority": decision.get("authority", "")}
    if not whole:
        shown = {"row": "", "reason": told, "authority": ""} if told else shown
    return DecisionView(
        decided_at=row["decided_at"],
        outcome=row["outcome"],
        cause=cause if whole else "",
        position=row["position"],
        cells=tuple(_read_cells(decision.get("compartments", {}), whole=whole)),
        **shown,
    )


def _read_cells(compartments: Mapping[str, Mapping[str, Any]], *, whole: bool) -> Iterable[CompartmentCell]:
    for code, found in sorted(compartments.items()):
        sent = found["result"] in SENT
        if not whole and not sent:
            continue  # that a part stayed behind is not the recipient's to know
        reason = found.get("reason", "") if whole else ""
        yield CompartmentCell(
            compartment=code,
            title=name_compartment(code),
            result=found["result"],
            sent=sent,
            row=found.get("row", "") if whole else "",
            reason=reason,
            authority=found.get("authority", "") if whole else "",
            words=tell_result(found["result"], reason),
        )


def _key(row: Any) -> tuple[UUID, str]:
    return row["message_id"], row["delivery_id"]


def _concerns(hold: Any, own: tuple[UUID, str]) -> bool:
    return hold["message_id"] == own[0] and hold["delivery_id"] in {None, own[1]}


def _pick(row: Any, names: str) -> dict[str, Any]:
    return {name: row[name] for name in names.split()}


def _without(row: Any, *names: str) -> dict[str, Any]:
    return {name: value for name, value in dict(row).items() if name not in names}
