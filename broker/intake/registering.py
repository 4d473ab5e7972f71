"""Registering approvals: the row of any, and for one handed in at the hub itself its object with the notice for its sender and what is logged of it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from broker.delivery.notices import build_notice
from broker.intake.effects import Effects
from broker.log import NewEvent
from broker.store import registers as register_store
from broker.store.pool import Connection
from broker.store.receipts import ObjectRow
from schemas.errors import Conflict
from schemas.objects.approval import Approval


def register_approval(approval: Approval, body: bytes, digest: str, effects: Effects, now: datetime) -> dict[str, Any]:
    """Put an approval whose signature and role were checked into ``effects``; return what every event about it says.

    Committing the effects raises ``Conflict`` where an approval of this id is registered already.
    """
    notice = build_notice("recorded", at=now, message_id="", object_digest=digest)
    said: dict[str, Any] = {"at": now.isoformat(), "object_digest": digest, "message_id": None}
    event = effects.log(
        NewEvent.salted(
            "object", said | {"type": "approval", "sender": approval.approver_agency, "notice_sha256": notice.sha256}
        )
    )
    effects.objects.append(
        ObjectRow(
            object_digest=digest,
            type="approval",
            sender=approval.approver_agency,
            message_id=None,
            received_at=now,
            event_id=effects.events[event].event_id,
            notice=notice.base,
            body=body,
        )
    )
    effects.writes.append(lambda connection: insert_approval(connection, approval, digest, now))
    return said | {"action": approval.action.value, "by": approval.approver, "reason_code": approval.reason_code}


async def insert_approval(
    connection: Connection, approval: Approval, digest: str, now: datetime, *, message_id: UUID | None = None
) -> None:
    """Add the row of an approval; ``message_id`` is what the hub knows of the message that it is about, if it is about one.

    Raises:
        Conflict: an approval of this id is registered already.
    """
    values: dict[str, Any] = {
        "object_digest": digest,
        "approval_id": approval.approval_id,
        "action": approval.action.value,
        "approver": approval.approver,
        "approver_agency": approval.approver_agency,
        "approver_role": approval.approver_role,
        "requester": approval.requester,
        "message_id": message_id,
        "delivery_id": approval.delivery_id,
        "recipient": approval.recipient,
        "policy_digest": approval.policy_digest,
        "subject_digest": approval.subject_digest,
        "compartments": [c.value for c in approval.compartments],
        "sections": list(approval.sections),
        "scheme": approval.scheme,
        "reason_code": approval.reason_code,
        "issued_at": approval.issued_at,
        "expires_at": approval.expires_at,
        "single_use": approval.single_use,
        "received_at": now,
    }
    if not await register_store.insert_approval(connection, values):
        raise Conflict("an approval of this id is registered already", field="approval.approval_id")
