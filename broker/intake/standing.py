"""Where a delivery stands when it is decided again: its message, what was asked, what has gone, and what policy says now."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson

from broker.decisions.registers import Registers
from broker.intake.ports import DeciderSource
from broker.intake.register_view import read_registers
from broker.intake.stored import StoredMessage, read_stored
from broker.registry import DirectorySnapshot
from broker.store import registers as register_store
from broker.store.pool import Connection
from broker.store.registers import DueDecision
from schemas.codes import Compartment, CompartmentResult, DeliveryOutcome
from schemas.decision import Decision
from schemas.directory import Directory
from schemas.errors import IntegrityBroken
from schemas.header import DeliveryRequest


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a delivery stands: its message, what was asked, what has gone, and what policy says now."""

    due: DueDecision
    line: Any = field(repr=False)
    stored: StoredMessage = field(repr=False)
    request: DeliveryRequest
    decision: Decision
    before: Decision
    gone: frozenset[str]
    number: int
    bases: tuple[dict[str, Any], ...] = field(repr=False)
    directory: Directory = field(repr=False)


async def read_standing(
    connection: Connection,
    due: DueDecision,
    snapshot: DirectorySnapshot,
    deciders: DeciderSource,
    *,
    now: datetime,
    version: int,
) -> Standing:
    """Read a delivery as it stands and decide it at ``now`` (business time) with the registers as they are.

    Raises:
        Erased: the message was erased.
        IntegrityBroken: the stored message is not the one that was verified.
    """
    line = await register_store.read_delivery(connection, due.delivery_id, due.message_id)
    row = await register_store.read_message(connection, due.message_id)
    if line is None or row is None:
        raise IntegrityBroken("what must be decided again is not there", field="redecide_due.message_id")
    stored = read_stored(row)
    request = stored.find_request(due.delivery_id)
    registers = await read_registers(
        connection,
        stored.header,
        snapshot.directory,
        sender=row["sender"],
        conversation=row["conversation"],
        message_id=due.message_id,
        recipient=request.agency,
        now=now,
        version=version,
    )
    decider, _ = deciders(snapshot)
    later = await register_store.list_redecisions(connection, due.message_id, due.delivery_id)
    gone = find_gone(line, later)
    decision = decide_one(decider, stored, request, registers, now)
    if line["hold_state"] == "refused":
        unapproved = decide_one(decider, stored, request, replace(registers, approvals=()), now)
        decision = refuse_held(decision, unapproved, stored.find_compartments(gone))
    return Standing(
        due=due,
        line=line,
        stored=stored,
        request=request,
        decision=decision,
        before=Decision.model_validate_json(later[-1]["decision"] if later else line["decision"]),
        gone=gone,
        number=len(later) + 1,
        bases=tuple(await _list_bases(connection, due)),
        directory=snapshot.directory,
    )


def refuse_held(decision: Decision, unapproved: Decision, gone: frozenset[Compartment]) -> Decision:
    """Return a decision after a person refused what was held: that is withheld for good, everything else stays.

    A release that came before the refusal counts only for the compartments that have gone by it (``gone``): for what still waited for its
    sender's keys the refusal is the last word. ``unapproved`` is the same decision without any approval.
    """
    stays = {CompartmentResult.HELD, CompartmentResult.WITHHELD}
    kept = {c for c, d in unapproved.compartments.items() if c in gone and d.result in stays}
    compartments = {c: decision.compartments[c] if c in kept else d for c, d in unapproved.compartments.items()}
    refused = {
        compartment: d.model_copy(update={"result": CompartmentResult.WITHHELD})
        if d.result is CompartmentResult.HELD
        else d
        for compartment, d in compartments.items()
    }
    standing = decision if kept else unapproved
    held = standing.outcome is DeliveryOutcome.HELD
    outcome = DeliveryOutcome.WITHHELD if held else standing.outcome
    # What it was decided from is all that was registered, the approvals with it.
    inputs = decision.inputs_digest
    return standing.model_copy(
        update={"compartments": refused, "outcome": outcome, "queue": False, "inputs_digest": inputs}
    )


def decide_one(
    decider: Any, stored: StoredMessage, request: DeliveryRequest, registers: Registers, now: datetime
) -> Decision:
    """Decide one delivery of a stored message.

    Raises:
        IntegrityBroken: the engine answered for another delivery.
    """
    header = stored.header.model_copy(update={"deliveries": (request,)})
    (decision,) = decider.decide_all(header, sender=stored.manifest.sender, registers=registers, now=now)
    if (decision.delivery_id, decision.recipient) != (request.delivery_id, request.agency):
        raise IntegrityBroken("the decision is not that of the requested delivery", field="decisions")
    found: Decision = decision
    return found


def find_gone(line: Any, later: Sequence[Any]) -> frozenset[str]:
    """Return the sections that have been released: those of a ticket have not."""
    first = (
        set(line["released"]) if line["ticket_at"] is None and line["outcome"] == DeliveryOutcome.DELIVERED else set()
    )
    return frozenset(first.union(*(set(row["released"]) for row in later)))


async def _list_bases(connection: Connection, due: DueDecision) -> list[dict[str, Any]]:
    """Return the signed statements about a message that a sender's gateway can verify: approvals of this delivery, claims of danger."""
    approvals = await register_store.list_approvals(connection, due.message_id)
    claims = await register_store.list_claims(connection, due.message_id)
    found = [
        {"type": "approval", "object": orjson.loads(row["body"])}
        for row in approvals
        if row["delivery_id"] in {None, due.delivery_id}
    ]
    return found + [{"type": "control", "object": orjson.loads(row["body"])} for row in claims]
