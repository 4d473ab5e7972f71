"""What follows from a decided referral besides its deliveries: tickets, used tokens, retrospective reviews, word to those whom it corrects."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from broker.delivery.notices import build_notice
from broker.intake.committing import RacedByAnother
from broker.intake.effects import Effects
from broker.intake.notifying import tell
from broker.intake.reopening import write_review
from broker.intake.stored import list_tokens
from broker.log import NewEvent
from broker.store import registers as register_store
from broker.store.pool import Connection
from schemas.codes import DeliveryOutcome, Kind
from schemas.decision import Decision
from schemas.envelope import VerifiedEnvelope
from schemas.header import DeliveryRequest

CLAIM_TICKET = "CLAIM_TICKET"
CORRECTED = "CORRECTED"
"""What was received is corrected, and the correction is not for this recipient: it asks the sender."""


def send_ticket(
    verified: VerifiedEnvelope, message_id: UUID, delivery: DeliveryRequest, effects: Effects, now: datetime
) -> None:
    """Queue a claim ticket instead of a delivery that rests on consent: RabbitMQ cannot take a message back, collection decides again."""
    manifest = verified.manifest
    notice = build_notice(
        "ticket",
        at=now,
        message_id=manifest.message_id,
        referral_id=manifest.referral_id,
        revision=manifest.revision,
        manifest_digest=verified.manifest_digest,
        delivery_id=delivery.delivery_id,
        sender=manifest.sender,
        code=CLAIM_TICKET,
    )
    event = effects.log(
        NewEvent.salted(
            "told",
            {
                "at": now.isoformat(),
                "message_id": manifest.message_id,
                "delivery_id": delivery.delivery_id,
                "agency": delivery.agency,
                "code": CLAIM_TICKET,
                "notice_sha256": notice.sha256,
            },
        )
    )
    effects.send(
        "ticket",
        delivery.agency,
        event,
        notice.base,
        message_id=message_id,
        delivery_id=delivery.delivery_id,
        stored=notice.base,
    )
    values = {"message_id": message_id, "delivery_id": delivery.delivery_id, "created_at": now}
    effects.writes.append(lambda connection: register_store.insert_row(connection, "tickets", values))


def note_consequences(
    verified: VerifiedEnvelope, message_id: UUID, decisions: Sequence[Decision], context: Any, effects: Effects
) -> None:
    """Add to ``effects`` what follows from the decisions on a message as a whole. ``context`` is the batch's ``DecisionContext``."""
    header, manifest = verified.header, verified.manifest
    directory = context.snapshot.directory
    tokens = list_tokens(header)
    if tokens:
        effects.subjects.append((message_id, tokens))
    for decision in decisions:
        if decision.retrospective_review:
            effects.writes.append(write_review(message_id, decision, manifest.sender, directory, context.now))
    for scheme, ref in _find_used(verified, decisions, context):
        effects.used_tokens[manifest.sender, scheme, ref] = manifest.conversation
        values = {
            "sender": manifest.sender,
            "scheme": scheme,
            "ref": ref,
            "conversation": manifest.conversation,
            "message_id": message_id,
            "used_at": context.now,
        }
        effects.writes.append(lambda connection, values=values: _use_up(connection, values))  # type: ignore[misc]


def _find_used(verified: VerifiedEnvelope, decisions: Sequence[Decision], context: Any) -> set[tuple[str, str]]:
    """Return the disclosure tokens without which less would have gone: each serves one matter, once. What a token opens, the policies say."""
    header = verified.header
    if not header.policy.tokens:
        return set()
    stated = frozenset((t.scheme, t.ref) for t in header.policy.tokens)
    spent = replace(context.registers, used_tokens=context.registers.used_tokens | stated)
    without = context.decider.decide_all(header, sender=verified.manifest.sender, registers=spent, now=context.now)
    served = {
        decision.recipient
        for decision, bare in zip(decisions, without, strict=True)
        if decision.permitted_forms() != bare.permitted_forms()
    }
    return {(t.scheme, t.ref) for t in header.policy.tokens if t.recipient in served}


async def tell_corrected(
    connection: Connection, messages: Sequence[VerifiedEnvelope], effects: Effects, now: datetime
) -> None:
    """Tell every recipient of what a correction corrects: those who get the correction by the delivery itself, the others by a word."""
    for verified in messages:
        manifest = verified.manifest
        if verified.header.case.kind != Kind.CORRECTION or manifest.supersedes is None:
            continue
        corrected = UUID(manifest.supersedes)
        sent = {
            row.recipient
            for row in effects.deliveries
            if str(row.message_id) == manifest.message_id and row.outcome == DeliveryOutcome.DELIVERED
        }
        rows = await connection.fetch(
            "SELECT d.delivery_id, d.recipient FROM deliveries d JOIN messages m USING (message_id) WHERE d.message_id = $1"
            " AND m.sender = $2 AND d.state IN ('open', 'accepted', 'opened', 'actioned')",
            corrected,
            manifest.sender,
        )
        for row in rows:
            if row["recipient"] not in sent:
                tell(effects, row["recipient"], CORRECTED, corrected, row["delivery_id"], now)


async def _use_up(connection: Connection, values: dict[str, Any]) -> None:
    if not await register_store.insert_row(connection, "used_tokens", values):
        by = await connection.fetchval(
            "SELECT conversation FROM used_tokens WHERE sender = $1 AND scheme = $2 AND ref = $3",
            values["sender"],
            values["scheme"],
            values["ref"],
        )
        if by != values["conversation"]:
            raise RacedByAnother  # another matter used it meanwhile: decide again without it
