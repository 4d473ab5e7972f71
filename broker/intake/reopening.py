"""What a later decision does to a delivery's state, to its hold and to its ticket."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from broker.decisions.clocks import find_due
from broker.intake.deadlines import find_queue_deadline
from broker.intake.effects import Effects, Write
from broker.intake.stored import StoredMessage
from broker.log.events import new_event_id
from broker.store import reviewing
from broker.store.pool import Connection
from broker.store.registers import insert_row
from schemas.codes import CompartmentResult, DeliveryOutcome
from schemas.decision import Decision
from schemas.directory import Directory

_REVIEW_WITHIN = timedelta(days=1)
"""Where local policy does not say how long a retrospective review may take."""
_WAITING_STATES = frozenset({"held", "withheld", "rejected", "undeliverable"})
_STATE_OF = {
    DeliveryOutcome.HELD: "held",
    DeliveryOutcome.WITHHELD: "withheld",
    DeliveryOutcome.REJECTED: "rejected",
}


def note_release(  # noqa: PLR0917 - the delivery, the decision, and where to note it
    line: Any,
    stored: StoredMessage,
    decision: Decision,
    released: tuple[str, ...],
    effects: Effects,
    directory: Directory,
    now: datetime,
) -> None:
    """Move the delivery's state: to open when something goes for the first time; to what policy says when nothing has gone yet."""
    if released:
        state = "open" if line["state"] in _WAITING_STATES else None
    else:
        waiting = line["state"] in _WAITING_STATES or (line["ticket_at"] is not None and line["collected_at"] is None)
        state = _STATE_OF.get(decision.outcome) if waiting else None
    if state is not None and state != line["state"]:
        message_id, delivery_id = line["message_id"], line["delivery_id"]
        effects.writes.append(lambda connection: _set_state(connection, message_id, delivery_id, state))
    if decision.retrospective_review:
        effects.writes.append(write_review(stored.message_id, decision, line["sender"], directory, now))


def note_hold(  # noqa: PLR0917 - the delivery, the decision, and where to note it
    stored: StoredMessage,
    line: Any,
    decision: Decision,
    effects: Effects,
    directory: Directory,
    now: datetime,
    *,
    waiting: bool,
) -> None:
    """Close an open hold once nothing of the delivery is held and nothing waits for its sender's keys; open one where policy now wants a person."""
    held = decision.queue or any(d.result is CompartmentResult.HELD for d in decision.compartments.values())
    message_id, delivery_id = line["message_id"], line["delivery_id"]
    if line["hold_state"] == "open" and not held and not waiting:
        effects.writes.append(
            lambda connection: reviewing.decide_hold(
                connection, message_id, delivery_id, state="released", by="policy", at=now, reason=decision.reason
            )
        )
    elif line["hold_state"] is None and held:
        risk = stored.header.risk
        deadline_at = find_queue_deadline(directory, risk.grade, risk.immediate_danger, now)
        values = {
            "message_id": message_id,
            "delivery_id": delivery_id,
            "owner": stored.manifest.sender,
            '"row"': decision.row,
            "reason": decision.reason,
            "created_at": now,
            "deadline_at": deadline_at,
        }
        effects.writes.append(lambda connection: insert_row(connection, "holds", values))


def write_review(message_id: UUID, decision: Decision, owner: str, directory: Directory, now: datetime) -> Write:
    """Return the write that opens the retrospective review of broken glass; how long it may take is local policy (``break_glass_review``)."""
    setting = directory.local_policy.get("clocks", {}).get("break_glass_review", {})
    values = {
        "review_id": new_event_id(),
        "kind": "break_glass",
        "message_id": message_id,
        "delivery_id": decision.delivery_id,
        "owner": owner,
        "reason": decision.reason,
        "created_at": now,
        "deadline_at": find_due(setting, now, directory) or now + _REVIEW_WITHIN,
    }
    return lambda connection: reviewing.open_review(connection, values)


async def _set_state(connection: Connection, message_id: UUID, delivery_id: str, state: str) -> None:
    await connection.execute(
        "UPDATE deliveries SET state = $3 WHERE message_id = $1 AND delivery_id = $2", message_id, delivery_id, state
    )
