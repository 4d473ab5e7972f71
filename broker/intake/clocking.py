"""Statutory and local clocks through real messages: started on commit, met and paused by receipts and later messages (FORMATS CH-20).

Which clocks a kind starts and what meets them is data of the policy pack; how long they run is local policy. They run on logged, business time.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from broker.decisions.clocks import Clock, ClockRules
from broker.intake.effects import Effects
from broker.log import NewEvent
from broker.log.events import new_event_id
from broker.store.pool import Connection
from schemas.envelope import VerifiedEnvelope
from schemas.objects.receipt import Receipt

_COLUMNS = ("clock_id", "message_id", "clock", "recipient", "starts_at", "due_at", "extendable_to", "changed_at")


def start_message_clocks(message_id: UUID, clocks: Sequence[Clock], now: datetime, effects: Effects) -> None:
    """Add the clocks that a decided message starts: one for each recipient that it binds, or one that binds none."""
    records = [
        (new_event_id(), message_id, c.clock, recipient, c.starts_at, c.due_at, c.extendable_to, now)
        for c in clocks
        for recipient in (c.recipients or (None,))
    ]
    if records:
        effects.writes.append(
            lambda connection: connection.copy_records_to_table("clocks", columns=_COLUMNS, records=records)
        )


async def settle_by_receipts(
    connection: Connection, receipts: Iterable[Receipt], rules: ClockRules, effects: Effects, now: datetime
) -> None:
    """Meet or pause the clocks that these receipts concern, each with an event."""
    said = list(receipts)
    running = await _list_unsettled(connection, [UUID(r.message_id) for r in said]) if said else []
    for receipt in said:
        met = rules.find_met(receipt.state.value)
        paused = receipt.reason_code in rules.paused_by if receipt.reason_code else False
        for row in running:
            if str(row["message_id"]) != receipt.message_id or row["recipient"] != receipt.recipient:
                continue
            if row["clock"] in met:
                _change(row, "met", effects, now)
            elif paused and row["state"] == "running":
                _change(row, "paused", effects, now)


async def settle_by_messages(
    connection: Connection, messages: Iterable[VerifiedEnvelope], rules: ClockRules, effects: Effects, now: datetime
) -> None:
    """Meet or resume the clocks of earlier messages in the same conversation that these messages concern."""
    for verified in messages:
        kind, manifest = verified.header.case.kind, verified.manifest
        met = rules.find_met(kind)
        if not met and kind not in rules.resumed_by:
            continue
        rows = await connection.fetch(
            "SELECT c.* FROM clocks c JOIN messages m USING (message_id) WHERE m.conversation = $1 AND c.state <> 'met'"
            " AND (m.sender = $2 OR c.recipient = $2)",
            manifest.conversation,
            manifest.sender,
        )
        for row in rows:
            if row["clock"] in met:
                _change(row, "met", effects, now)
            elif kind in rules.resumed_by and row["state"] == "paused":
                _change(row, "running", effects, now)


def log_clock(row: Any, state: str, effects: Effects, now: datetime) -> int:
    """Log that a clock moved; return the event's number."""
    return effects.log(
        NewEvent.salted(
            "clock",
            {
                "at": now.isoformat(),
                "message_id": str(row["message_id"]),
                "clock": row["clock"],
                "recipient": row["recipient"],
                "state": state,
                "due_at": row["due_at"].isoformat(),
            },
        )
    )


def _change(row: Any, state: str, effects: Effects, now: datetime) -> None:
    """A breached clock stays breached, with the instant at which it was met late; one that paused gets its pause added."""
    log_clock(row, state, effects, now)
    clock_id = row["clock_id"]
    effects.writes.append(
        lambda connection: connection.execute(
            "UPDATE clocks SET changed_at = $3,"
            " state = CASE WHEN state = 'breached' THEN state ELSE $2 END,"
            " met_at = CASE WHEN $2 = 'met' THEN coalesce(met_at, $3) ELSE met_at END,"
            " due_at = CASE WHEN $2 = 'running' AND paused_at IS NOT NULL THEN due_at + ($3 - paused_at) ELSE due_at END,"
            " paused_at = CASE WHEN $2 = 'paused' THEN $3 ELSE NULL END WHERE clock_id = $1 AND state <> 'met'",
            clock_id,
            state,
            now,
        )
    )


async def _list_unsettled(connection: Connection, message_ids: Sequence[UUID]) -> list[Any]:
    rows = await connection.fetch(
        "SELECT * FROM clocks WHERE message_id = ANY($1::uuid[]) AND met_at IS NULL AND recipient IS NOT NULL",
        list(set(message_ids)),
    )
    return list(rows)
