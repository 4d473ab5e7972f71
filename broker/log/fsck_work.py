"""What ``fsck`` checks of work: holds, reviews, statutory clocks and claim tickets, each moved by events and by nothing else. Pure."""

# ruff: noqa: S608 (constant names)

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from broker.log.fsck_reading import differ, is_same, read_json


@dataclass(frozen=True, slots=True)
class Rule:
    """Rows, and what must be true of each. ``query`` gives ``name`` beside what ``is_right`` looks at."""

    code: str
    table: str
    query: str
    is_right: Callable[[Any], bool]


def _is_hold(row: Any) -> bool:
    """Of a hold the log has who decided it and when, who claimed it, and how often it was escalated; what it waits for is the decision's."""
    events = [e for e in map(read_json, row["events"]) if e.get("delivery_id") == row["delivery_id"]]
    reviews = [e for e in events if e.get("event") == "review"]
    overdue = [e for e in events if e.get("event") == "overdue" and e.get("review") == "hold"]
    if row["state"] == "refused":
        done = {"decided_by": "by", "decided_at": "at", "decision_reason": "reason_code"}
        if not any(e["action"] == "refused" and not differ(row, e, done) for e in reviews):
            return False
    elif any(e["action"] == "refused" for e in reviews):
        return False
    claimed = [e["by"] for e in reviews if e["action"] == "claimed"]
    claims_right = row["claimed_by"] == (claimed[-1] if claimed else None) and (row["claimed_at"] is None) == (
        not claimed
    )
    escalated = _is_escalated(row, overdue)
    owner = row["owner"] == row["sender"] and (row["state"] == "open") == (row["decided_by"] is None)
    return claims_right and escalated and owner and (row["decided_at"] is None) == (row["decided_by"] is None)


def _is_review(row: Any) -> bool:
    events = [read_json(event) for event in row["events"]]
    done = [e for e in events if e.get("action") == "break_glass_reviewed"]
    overdue = [
        e
        for e in events
        if e.get("event") == "overdue" and (e.get("review"), e.get("delivery_id")) == (row["kind"], row["delivery_id"])
    ]
    if row["state"] == "done":
        if not any(not differ(row, e, {"decided_by": "by", "decided_at": "at"}) for e in done):
            return False
    elif row["decided_by"] is not None or row["decided_at"] is not None:
        return False
    claimed = row["claimed_by"] is not None or row["claimed_at"] is not None  # nobody claims a review
    return (
        not claimed and _is_escalated(row, overdue) and row["owner"] == row["sender"] and row["kind"] == "break_glass"
    )


def _is_escalated(row: Any, overdue: list[dict[str, Any]]) -> bool:
    if row["escalations"] != len(overdue):
        return False
    if not overdue:
        return row["escalated_at"] is None
    return not differ(row, overdue[-1], {"escalated_at": "at", "deadline_at": "deadline_at"})


def _is_clock(row: Any) -> bool:
    """A clock begins with a notice or a ``clocks_started`` event and is moved by ``clock`` events: the last of them says where it is."""
    events = [read_json(event) for event in row["events"]]
    moves = [
        change
        for event in events
        if event.get("event") == "clock"
        for change in event.get("changes", ())
        if (change["clock"], change["recipient"]) == (row["clock"], row["recipient"])
    ]
    begun = _find_beginning(row, events)
    if begun is None or (begun.get("extendable_to") or None) != _text_or_none(
        row["extendable_to"], begun.get("extendable_to")
    ):
        return False
    if not moves:
        return row["state"] == "running" and not differ(row, begun, ("starts_at", "due_at"))
    last, states = (
        moves[-1],
        {"breached": "breached", "met_late": "breached", "met": "met", "paused": "paused", "running": "running"},
    )
    met = next((m["at"] for m in moves if m["state"] in {"met", "met_late"}), None)
    breached = [m["at"] for m in moves if m["state"] == "breached"]
    paused = last["at"] if last["state"] == "paused" else None
    said = {
        "met_at": met,
        "breached_at": breached[-1] if breached else None,
        "paused_at": paused,
        "changed_at": last["at"],
    }
    return (
        row["state"] == states[last["state"]]
        and not differ(row, last, ("starts_at", "due_at"))
        and all(is_same(row[name], value) for name, value in said.items())
    )


def _text_or_none(stored: Any, told: Any) -> Any:
    return told if stored is not None and is_same(stored, told) else (None if stored is None else "")


def _find_beginning(row: Any, events: list[dict[str, Any]]) -> dict[str, Any] | None:
    told = [*read_json(row["notice"]).get("clocks", ())]
    for event in events:
        if event.get("event") == "clocks_started":
            told += event.get("clocks", ())
    for clock in told:
        bound = clock.get("recipients") or [None]
        if clock["clock"] == row["clock"] and row["recipient"] in bound:
            return dict(clock)
    return None


def _is_ticket(row: Any) -> bool:
    told = [read_json(event) for event in row["events"]]
    asked = [e for e in told if e.get("code") == "CLAIM_TICKET" and e.get("delivery_id") == row["delivery_id"]]
    taken = [e for e in told if e.get("event") == "collected" and e.get("delivery_id") == row["delivery_id"]]
    if not asked or not is_same(row["created_at"], asked[0]["at"]):
        return False
    if not taken:
        return row["collected_at"] is None and row["collected_event"] is None
    return is_same(row["collected_at"], taken[0]["at"]) and is_same(row["collected_event"], taken[-1]["decided"])


_OF_MESSAGE: Final = (
    "ARRAY(SELECT p.event FROM log_payloads p JOIN log_entries e USING (event_id) WHERE p.message_id = t.message_id AND p.event IS NOT NULL"
    " AND e.kind = ANY('{review,overdue,clock,clocks_started,told,collected}'::text[]) ORDER BY e.position) AS events"
)
WORK_RULES: Final = (
    Rule(
        "hold-differs-from-its-events",
        "holds",
        f"SELECT t.delivery_id AS name, t.*, m.sender, {_OF_MESSAGE} FROM holds t JOIN messages m USING (message_id) WHERE m.notice IS NOT NULL",
        _is_hold,
    ),
    Rule(
        "review-differs-from-its-events",
        "retrospective_reviews",
        f"SELECT t.message_id::text AS name, t.*, m.sender, {_OF_MESSAGE} FROM retrospective_reviews t"
        " JOIN messages m USING (message_id) WHERE m.notice IS NOT NULL",
        _is_review,
    ),
    Rule(
        "clock-differs-from-its-events",
        "clocks",
        f"SELECT t.clock_id::text AS name, t.*, m.notice, {_OF_MESSAGE} FROM clocks t JOIN messages m USING (message_id)"
        " WHERE m.notice IS NOT NULL",
        _is_clock,
    ),
    Rule(
        "ticket-differs-from-its-events",
        "tickets",
        f"SELECT t.*, t.delivery_id AS name, {_OF_MESSAGE} FROM tickets t JOIN messages m USING (message_id) WHERE m.notice IS NOT NULL",
        _is_ticket,
    ),
)
