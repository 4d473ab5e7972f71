"""Word of what happens to clocks: the sender hears of each change; a breach makes a negative receipt and is escalated to named roles.

A negative receipt says that no further receipt of a delivery was logged by a deadline. It is an event of the log; the checkpoint that its proof leads
to is signed with the hub's log key. Recipients hear only of clocks that bind themselves.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import groupby
from typing import Any

from broker.decisions.running import ClockState
from broker.intake.effects import Effects
from broker.intake.notifying import tell_of
from broker.store import clocks as clock_store
from broker.store.clocks import ClockLine
from broker.store.pool import Connection
from schemas.canonical import sha256_base64url
from schemas.codes import ReceiptState
from schemas.errors import IntegrityBroken
from schemas.objects.receipt import NegativeReceipt

ListRoles = Callable[[str], tuple[str, ...]]


def tell_changes(lines: Iterable[ClockLine], effects: Effects, now: datetime, list_roles: ListRoles) -> None:
    """Log what happened to clocks, one event for each message that they belong to, and tell the message's sender."""
    ordered = sorted(lines, key=lambda line: (str(line.message_id), line.clock.clock, line.recipient or ""))
    for _, group in groupby(ordered, key=lambda line: line.message_id):
        changed = list(group)
        members = {
            "at": now.isoformat(),
            "message_id": str(changed[0].message_id),
            "referral_id": changed[0].referral_id,
            "changes": [change for line in changed for change in describe_changes(line, list_roles)],
        }
        tell_of(effects, changed[0].sender, "clock", members)


def describe_changes(line: ClockLine, list_roles: ListRoles) -> list[dict[str, Any]]:
    """Return what happened to one clock, in order: a breach that was met late is two steps."""
    clock, before = line.clock, line.stored
    told: dict[str, Any] = {
        "clock": clock.clock,
        "recipient": line.recipient,
        "starts_at": clock.starts_at.isoformat(),
        "due_at": clock.due_at.isoformat(),
    }
    steps: list[dict[str, Any]] = []
    if clock.breached_at is not None and (before is None or before.breached_at != clock.breached_at):
        roles = list(list_roles(clock.clock))
        steps.append({**told, "state": "breached", "at": clock.breached_at.isoformat(), "escalated_to": roles})
    if clock.met_at is not None and (before is None or before.met_at is None):
        state = "met_late" if clock.state is ClockState.BREACHED else "met"
        steps.append({**told, "state": state, "at": clock.met_at.isoformat()})
    elif clock.state in {ClockState.PAUSED, ClockState.RUNNING}:
        steps.append({**told, "state": clock.state.value, "at": clock.changed_at.isoformat()})
    return steps


async def tell_breach(
    connection: Connection, line: ClockLine, delivery_id: str | None, effects: Effects, roles: tuple[str, ...]
) -> None:
    """Add the negative receipt for the sender, where the clock binds a recipient, and the escalation to whom it binds.

    Raises:
        IntegrityBroken: the delivery that the clock is about is not there.
    """
    if line.recipient is None or delivery_id is None:
        return
    clock = line.clock
    silence = await clock_store.find_silence(connection, line.message_id, delivery_id, clock.due_at)
    if not silence:
        raise IntegrityBroken("a clock binds a delivery that is not there", field="clocks.message_id")
    receipt = NegativeReceipt(
        delivery_id=delivery_id,
        message_id=str(line.message_id),
        manifest_digest=line.manifest_digest,
        decision_leaf=sha256_base64url(silence["entry"]),
        sender=line.sender,
        recipient=line.recipient,
        last_state=ReceiptState(silence["last_state"]) if silence["last_state"] else None,
        none_logged_by=clock.due_at,
        log_size=silence["log_size"],
    )
    at = clock.changed_at.isoformat()
    told = {**receipt.model_dump(mode="json"), "at": at, "referral_id": line.referral_id, "clock": clock.clock}
    tell_of(effects, line.sender, "negative_receipt", told)
    tell_of(
        effects,
        line.recipient,
        "escalated",
        {
            "at": at,
            "message_id": str(line.message_id),
            "referral_id": line.referral_id,
            "delivery_id": delivery_id,
            "agency": line.recipient,
            "clock": clock.clock,
            "due_at": clock.due_at.isoformat(),
            "roles": list(roles),
        },
    )
