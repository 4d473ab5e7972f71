"""Steps 5 to 7 of intake, for a referral: replay, decide, build each delivery.

5. Replay: the same message id and bytes is a duplicate (acknowledged, told again, no second effect); the same id with other bytes is a security
   event; (sender, referral_id, revision) has one effect, whatever the message id; a repeated native reference is delivered and noted (CH-24).
6. Decide: one decision for each requested delivery.
7. Build: the sections that go, the decided event, the delivery, the hold; and one notice with all decisions for the sender.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from broker.delivery.notices import build_notice
from broker.delivery.queues import QueueNames
from broker.intake.clocking import ClockLedger
from broker.intake.consequences import note_consequences, send_ticket
from broker.intake.deadlines import find_queue_deadline
from broker.intake.effects import Effects
from broker.intake.ports import Decider
from broker.intake.reading import Candidate
from broker.intake.refusals import ContradictsEarlier, NothingSealed, NotReachable
from broker.intake.releasing import Release, build_release, choose_sections, decided_contact
from broker.log import NewEvent
from broker.registry import DirectorySnapshot
from broker.store.messages import DeliveryRow, Known, MessageRow
from broker.store.reviews import HoldRow
from schemas.codes import DeliveryOutcome
from schemas.decision import Decision
from schemas.envelope import redact_for
from schemas.errors import IntegrityBroken, Undeliverable
from schemas.header import DeliveryRequest

_STATE_OF = {
    DeliveryOutcome.DELIVERED: "open",
    DeliveryOutcome.HELD: "held",
    DeliveryOutcome.WITHHELD: "withheld",
    DeliveryOutcome.REJECTED: "rejected",
}


@dataclass(frozen=True, slots=True)
class Repeat:
    """A message whose effect is there already: of ``original``, which is itself when the bytes are the same."""

    candidate: Candidate
    original: UUID


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """What decides a batch: the directory, the decider with its registers, queue names, the business time, and the clocks that it moves."""

    snapshot: DirectorySnapshot
    decider: Decider
    registers: Any
    queues: QueueNames
    now: datetime
    clocks: ClockLedger


def sort_out_repeats(candidates: Sequence[Candidate], known: Known) -> tuple[list[Candidate], list[Repeat]]:
    """Step 5: return the candidates that are new, and the repeats; within a batch the first of its kind is new.

    Raises nothing: a contradiction is found by ``check_contradiction``, message by message.
    """
    fresh: list[Candidate] = []
    repeats: list[Repeat] = []
    ids: set[UUID] = set(known.bodies)
    effects = dict(known.effects)
    for candidate in candidates:
        if candidate.message_id in ids:
            repeats.append(Repeat(candidate, candidate.message_id))
        elif candidate.effect in effects:
            repeats.append(Repeat(candidate, effects[candidate.effect]))
        else:
            fresh.append(candidate)
            ids.add(candidate.message_id)
            effects[candidate.effect] = candidate.message_id
    return fresh, repeats


def check_contradiction(candidate: Candidate, bodies: dict[UUID, bytes]) -> None:
    """Step 5: refuse other bytes under a message id that was seen; ``bodies`` holds what was seen, this batch included.

    Raises:
        ContradictsEarlier: it is so.
    """
    if bodies.setdefault(candidate.message_id, candidate.body_sha256) != candidate.body_sha256:
        raise ContradictsEarlier(field="manifest.message_id")


def decide_referral(candidate: Candidate, context: DecisionContext) -> list[Decision]:
    """Step 6: return one decision for each requested delivery, in the header's order.

    Raises:
        IntegrityBroken: the engine answered for other deliveries than were asked about: nothing is released on such an answer.
    """
    verified = candidate.verified
    header = verified.header
    decisions = list(
        context.decider.decide_all(
            header, sender=verified.manifest.sender, registers=context.registers, now=context.now
        )
    )
    asked = [(d.delivery_id, d.agency) for d in header.deliveries]
    if [(d.delivery_id, d.recipient) for d in decisions] != asked:
        raise IntegrityBroken("the decisions are not those of the requested deliveries", field="decisions")
    return decisions


def build_referral(
    candidate: Candidate, decisions: Sequence[Decision], context: DecisionContext, effects: Effects, known: Known
) -> None:
    """Step 7: add everything that follows from one decided referral to ``effects``."""
    verified, manifest = candidate.verified, candidate.verified.manifest
    clocks = context.decider.start_clocks(verified.header, decisions, context.now)
    notice = build_notice(
        "accepted",
        at=context.now,
        message_id=manifest.message_id,
        referral_id=manifest.referral_id,
        revision=manifest.revision,
        manifest_digest=verified.manifest_digest,
        decisions=decisions,
        clocks=clocks,
    )
    accepted = effects.log(
        NewEvent.salted(
            "accepted",
            {
                "at": context.now.isoformat(),
                "message_id": manifest.message_id,
                "referral_id": manifest.referral_id,
                "revision": manifest.revision,
                "sender": manifest.sender,
                "kind": verified.header.case.kind,
                "manifest_digest": verified.manifest_digest,
                "notice_sha256": notice.sha256,
            },
        )
    )
    if manifest.reseals:
        effects.resealed.append((manifest.sender, manifest.reseals))
    effects.messages.append(
        _make_message_row(candidate, context, effects.events[accepted].event_id, notice.base, known)
    )
    for number, (delivery, decision) in enumerate(zip(verified.header.deliveries, decisions, strict=True)):
        _build_delivery(candidate, number, (delivery, decision), context, effects)
    note_consequences(verified, candidate.message_id, decisions, context, effects)
    context.clocks.take_message(verified, candidate.message_id, clocks)
    effects.send("notice", manifest.sender, accepted, notice.base, message_id=candidate.message_id)


def _make_message_row(
    candidate: Candidate, context: DecisionContext, event_id: UUID, notice: bytes, known: Known
) -> MessageRow:
    verified, manifest = candidate.verified, candidate.verified.manifest
    native_ref = verified.header.policy.native_ref_digest
    return MessageRow(
        message_id=candidate.message_id,
        sender=manifest.sender,
        referral_id=manifest.referral_id,
        revision=manifest.revision,
        kind=verified.header.case.kind,
        conversation=manifest.conversation,
        supersedes=UUID(manifest.supersedes) if manifest.supersedes else None,
        reseals=UUID(manifest.reseals) if manifest.reseals else None,
        native_ref_digest=native_ref,
        repeat_of=known.native_refs.get((manifest.sender, native_ref)) if native_ref else None,
        body_sha256=candidate.body_sha256,
        manifest_digest=verified.manifest_digest,
        issued_at=manifest.issued_at,
        expires_at=manifest.expires_at,
        received_at=context.now,
        directory_version=context.snapshot.version,
        event_id=event_id,
        notice=notice,
        body=candidate.incoming.body,
    )


def _build_delivery(
    candidate: Candidate,
    number: int,
    decided: tuple[DeliveryRequest, Decision],
    context: DecisionContext,
    effects: Effects,
) -> None:
    verified = candidate.verified
    delivery, decision = decided
    chosen = choose_sections(verified.descriptors, delivery, decision)
    obstacle = _find_obstacle(delivery, decision, chosen, context)
    released = () if obstacle else chosen
    release = build_release(verified, delivery, decision, released, context.now)
    event = effects.log(NewEvent.from_bytes("decided", release.event, message_id=verified.manifest.message_id))
    state = "undeliverable" if obstacle else _STATE_OF[decision.outcome]
    effects.deliveries.append(
        _delivery_row(
            candidate,
            decided,
            number=number,
            release=release,
            event_id=effects.events[event].event_id,
            now=context.now,
            state=state,
        )
    )
    if obstacle is not None:
        effects.log(
            NewEvent.salted(
                "undeliverable",
                {
                    "at": context.now.isoformat(),
                    "message_id": verified.manifest.message_id,
                    "delivery_id": delivery.delivery_id,
                    "recipient": delivery.agency,
                    "code": obstacle.code,
                },
            )
        )
    if obstacle is not None or decision.outcome is DeliveryOutcome.HELD or decision.queue:
        effects.holds.append(_hold_row(candidate, delivery, decision, obstacle, context))
    if released and context.decider.rests_on_choice(delivery.purpose):
        send_ticket(verified, candidate.message_id, delivery, effects, context.now)
    elif released:
        parts = redact_for(verified, delivery.delivery_id, released)
        effects.send(
            "delivery",
            delivery.agency,
            event,
            parts,
            message_id=candidate.message_id,
            delivery_id=delivery.delivery_id,
        )


def _find_obstacle(
    delivery: DeliveryRequest, decision: Decision, chosen: tuple[str, ...], context: DecisionContext
) -> Undeliverable | None:
    """Return why a delivery that policy permits cannot go now: a person must see to it."""
    if decision.outcome is not DeliveryOutcome.DELIVERED:
        return None
    if context.snapshot.find_active_agency(delivery.agency) is None or context.queues.find(delivery.agency) is None:
        return NotReachable()
    return None if chosen else NothingSealed()


def _delivery_row(
    candidate: Candidate,
    decided: tuple[DeliveryRequest, Decision],
    *,
    number: int,
    release: Release,
    event_id: UUID,
    now: datetime,
    state: str,
) -> DeliveryRow:
    delivery, decision = decided
    return DeliveryRow(
        message_id=candidate.message_id,
        delivery_id=delivery.delivery_id,
        number=number,
        recipient=delivery.agency,
        role=delivery.role,
        purpose=delivery.purpose,
        contact=decided_contact(delivery, decision),
        outcome=decision.outcome.value,
        row=decision.row,
        reason=decision.reason,
        decision=decision.to_json_text(),
        released=release.released,
        rest_salt=release.rest_salt,
        keyring_kid=release.keyring_kid,
        event_id=event_id,
        decided_at=now,
        state=state,
    )


def _hold_row(
    candidate: Candidate,
    delivery: DeliveryRequest,
    decision: Decision,
    obstacle: Undeliverable | None,
    context: DecisionContext,
) -> HoldRow:
    risk = candidate.verified.header.risk
    return HoldRow(
        message_id=candidate.message_id,
        delivery_id=delivery.delivery_id,
        # The sender decided to share and answers for it: what waits is in its review queue.
        owner=candidate.verified.manifest.sender,
        row=decision.row,
        reason=obstacle.public_message if obstacle else decision.reason,
        created_at=context.now,
        deadline_at=find_queue_deadline(context.snapshot.directory, risk.grade, risk.immediate_danger, context.now),
    )
