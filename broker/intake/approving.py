"""What an approval does: it is verified, registered and logged, and the delivery is decided again. The hub never holds a key that it could release.

An approval alone releases nothing: the engine decides with it, and what is sealed to nobody waits for its sender's keyring addendum.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from broker.delivery.notices import build_notice
from broker.intake.effects import Effects
from broker.intake.people import check_approver, read_approval
from broker.intake.registering import insert_approval
from broker.intake.stored import read_stored
from broker.log import NewEvent
from broker.registry import DirectorySnapshot
from broker.store import registers as register_store
from broker.store import reviewing
from broker.store.pool import Connection
from broker.store.receipts import ObjectRow
from schemas.directory import Person
from schemas.errors import Conflict, NotFound, NotPermitted
from schemas.objects.approval import Approval, ApprovalAction
from schemas.objects.signed import digest_object

CLOSES_HOLD = frozenset({ApprovalAction.RELEASE, ApprovalAction.REFUSE})
ON_EMBARGO = frozenset({ApprovalAction.LIFT_EMBARGO, ApprovalAction.REVIEW_EMBARGO})


@dataclass(frozen=True, slots=True)
class ApprovalTaken:
    """An approval whose signature, role and target are checked."""

    approval: Approval
    person: Person
    digest: str
    message_id: UUID
    body: bytes = field(repr=False)


async def check_approval(
    connection: Connection, body: bytes, snapshot: DirectorySnapshot, *, real_now: datetime
) -> ApprovalTaken:
    """Verify an approval and check it against what it names.

    Raises:
        SignatureInvalid, MalformedMessage: it is not what it says.
        NotFound: it names nothing that is here.
        NotPermitted: that person may not approve this.
        Conflict: the hold is decided or claimed by somebody else, or the approval's id was used.
    """
    approval, person = read_approval(body, snapshot)
    if approval.message_id is None:
        raise NotPermitted("must name the message that it is about", field="approval.message_id")
    message_id = UUID(approval.message_id)
    delivery = await _find_delivery(connection, approval, message_id)
    recipient = delivery["recipient"] if delivery is not None else approval.recipient
    sender = await connection.fetchval("SELECT sender FROM messages WHERE message_id = $1", message_id)
    check_approver(approval, person, snapshot.directory, sender=sender, recipient=recipient, now=real_now)
    if approval.action in CLOSES_HOLD:
        await _check_hold(connection, approval, delivery, person)
    if approval.action in ON_EMBARGO and sender != person.agency:
        raise NotPermitted("an embargo is its owner's", field="approval.approver_agency")
    # An agency names only its own people: it cannot shut out another's approver by naming them as who broke the glass.
    claimants = await register_store.list_claimants(connection, message_id, person.agency)
    if approval.action is ApprovalAction.REVIEW_BREAK_GLASS:
        row = await register_store.read_message(connection, message_id)
        claimed = read_stored(row).header.policy.break_glass if row is not None else None
        claimants |= {claimed.by} if claimed is not None and claimed.by else set()
    if person.id in claimants:
        raise NotPermitted("whoever broke the glass does not review it", field="approval.approver")
    return ApprovalTaken(approval, person, digest_object(body), message_id, body)


def build_approval(taken: ApprovalTaken, effects: Effects, *, sender: str, now: datetime) -> None:
    """Add a checked approval to ``effects``; ``now`` is the business time, ``sender`` who sent the message."""
    approval = taken.approval
    notice = build_notice("recorded", at=now, message_id=str(taken.message_id), object_digest=taken.digest)
    effects.log(
        NewEvent.salted(
            "object",
            {
                "at": now.isoformat(),
                "type": "approval",
                "sender": taken.person.agency,
                "object_digest": taken.digest,
                "message_id": str(taken.message_id),
                "notice_sha256": notice.sha256,
            },
        )
    )
    effects.objects.append(
        ObjectRow(
            object_digest=taken.digest,
            type="approval",
            sender=taken.person.agency,
            message_id=taken.message_id,
            received_at=now,
            event_id=effects.events[-1].event_id,
            notice=notice.base,
            body=taken.body,
        )
    )
    effects.writes.append(
        lambda connection: insert_approval(connection, taken.approval, taken.digest, now, message_id=taken.message_id)
    )
    effects.changes_registers = True
    if approval.action is ApprovalAction.REFUSE:
        _refuse(taken, effects, sender=sender, now=now)
        return
    if approval.action is ApprovalAction.REVIEW_BREAK_GLASS:
        effects.log(_event(taken, "break_glass_reviewed", now))
        effects.writes.append(
            lambda connection: reviewing.finish_review(
                connection, "break_glass", taken.message_id, by=taken.person.id, at=now
            )
        )
        return
    effects.log(_event(taken, approval.action.value, now))
    effects.writes.append(lambda connection: _enqueue(connection, taken, now))


def _refuse(taken: ApprovalTaken, effects: Effects, *, sender: str, now: datetime) -> None:
    """The hold ends: its sender is told, with the reason; nothing goes."""
    approval = taken.approval
    delivery_id = str(approval.delivery_id)
    notice = build_notice(
        "refused",
        at=now,
        message_id=str(taken.message_id),
        manifest_digest=approval.manifest_digest,
        delivery_id=delivery_id,
        reason_code=approval.reason_code,
        decided_by=taken.person.id,
    )
    event = effects.log(
        NewEvent.salted(
            "review",
            {
                "at": now.isoformat(),
                "message_id": str(taken.message_id),
                "delivery_id": delivery_id,
                "action": "refused",
                "by": taken.person.id,
                "reason_code": approval.reason_code,
                "object_digest": taken.digest,
                "notice_sha256": notice.sha256,
            },
        )
    )
    effects.post("notice", sender, event, stored=notice.base, message_id=taken.message_id, delivery_id=delivery_id)
    effects.writes.append(
        lambda connection: reviewing.decide_hold(
            connection,
            taken.message_id,
            delivery_id,
            state="refused",
            by=taken.person.id,
            at=now,
            reason=approval.reason_code,
        )
    )
    effects.writes.append(
        lambda connection: register_store.enqueue_decision(
            connection, taken.message_id, delivery_id, "refused", taken.digest, now
        )
    )


def _event(taken: ApprovalTaken, action: str, now: datetime) -> NewEvent:
    return NewEvent.salted(
        "review",
        {
            "at": now.isoformat(),
            "message_id": str(taken.message_id),
            "delivery_id": taken.approval.delivery_id,
            "action": action,
            "by": taken.person.id,
            "reason_code": taken.approval.reason_code,
            "object_digest": taken.digest,
        },
    )


async def _enqueue(connection: Connection, taken: ApprovalTaken, now: datetime) -> None:
    """Have what the approval is about decided again: its delivery, or every delivery of the message."""
    approval = taken.approval
    wanted = [approval.delivery_id] if approval.delivery_id else None
    for row in await reviewing.list_deliveries(connection, taken.message_id, wanted):
        if approval.recipient is not None and row["recipient"] != approval.recipient:
            continue
        await register_store.enqueue_decision(
            connection, taken.message_id, row["delivery_id"], approval.action.value, taken.digest, now
        )


async def _find_delivery(connection: Connection, approval: Approval, message_id: UUID) -> Any:
    if approval.delivery_id is None:
        digest = await connection.fetchval("SELECT manifest_digest FROM messages WHERE message_id = $1", message_id)
        if digest is None or digest != approval.manifest_digest:
            raise NotFound("there is no such message", field="approval.message_id")
        return None
    delivery = await register_store.read_delivery(connection, approval.delivery_id, message_id)
    if delivery is None or delivery["manifest_digest"] != approval.manifest_digest:
        raise NotFound("there is no such delivery", field="approval.delivery_id")
    if approval.recipient is not None and approval.recipient != delivery["recipient"]:
        raise NotFound("there is no such delivery", field="approval.recipient")
    return delivery


async def _check_hold(connection: Connection, approval: Approval, delivery: Any, person: Person) -> None:
    if delivery is None or delivery["hold_state"] is None:
        raise NotFound("nothing of this delivery is held", field="approval.delivery_id")
    if delivery["hold_state"] != "open":
        raise Conflict(f"the hold is {delivery['hold_state']} already", field="approval.delivery_id")
    if approval.action is ApprovalAction.RELEASE and not await _can_be_released(connection, delivery):
        raise Conflict("nothing of it can be released: refuse it to close it", field="approval.delivery_id")
    known = await connection.fetchval("SELECT 1 FROM approvals WHERE approval_id = $1", approval.approval_id)
    if known:
        raise Conflict("an approval of this id is registered already", field="approval.approval_id")
    if approval.joins is not None:
        first = await connection.fetchval(
            "SELECT approver FROM approvals WHERE approval_id = $1 AND delivery_id = $2",
            approval.joins,
            approval.delivery_id,
        )
        if first is None or first == person.id:
            raise Conflict("joins no approval of somebody else on this delivery", field="approval.joins")
    elif delivery["claimed_by"] not in {None, person.id}:
        raise Conflict("somebody else has claimed it", field="approval.approver")


async def _can_be_released(connection: Connection, delivery: Any) -> bool:
    """Tell whether an approver can release anything: what is held, or a delivery that could not be handed over."""
    if delivery["state"] == "undeliverable":
        return True
    later = await register_store.list_redecisions(connection, delivery["message_id"], delivery["delivery_id"])
    last = read_members(later[-1]["decision"] if later else delivery["decision"])
    return any(verdict["result"] == "held" for verdict in last.get("compartments", {}).values())


def read_members(value: Any) -> dict[str, Any]:
    """Return a JSON column's object, however the driver gives it."""
    found: dict[str, Any] = orjson.loads(value) if isinstance(value, str | bytes) else dict(value)
    return found
