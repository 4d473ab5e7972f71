"""What a person must look at in the receiving half: messages set aside, outputs that failed, deliveries that nobody here can open.

Ids and codes only, so that an operator can see it without seeing any child's record.
"""

import asyncio
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter

from adapters.gateway.api.access import CallingAgency
from schemas.agreement_warnings import list_agreement_warnings
from schemas.errors import SafelaneError

router = APIRouter(tags=["attention"])


@router.get("/attention", summary="What a person must look at")
async def list_attention(gateway: CallingAgency) -> dict[str, Any]:
    """List deliveries that their senders recalled and that are still here, quarantined messages, failed outputs, deliveries for a named contact without a key here, clocks that ran out here, our agreements that end, and referrals with an alarm."""
    receiving = gateway.receiving
    kept = await asyncio.to_thread(receiving.quarantine.list_messages)
    failed = await asyncio.to_thread(receiving.outputs.list_failed)
    named = await asyncio.to_thread(receiving.store.list_unopened_contacts)
    alarms = await asyncio.to_thread(gateway.outbox.list_alarms)
    overdue = await asyncio.to_thread(gateway.outbox.tracking.clocks.list_escalations)
    recalled = await asyncio.to_thread(receiving.registers.recalls.list_recalled)
    return {
        "recalled": [line["delivery_id"] for line in recalled if not line["deleted"]],
        "quarantine": [
            {
                "digest": message.digest,
                "type": message.type,
                "code": message.code,
                "field": message.field,
                "arrived_at": message.arrived_at.isoformat(),
                "arrivals": message.arrivals,
            }
            for message in kept
        ],
        "failed_outputs": [
            {"delivery_id": f.delivery_id, "channel": f.channel, "attempts": f.attempts, "code": f.code} for f in failed
        ],
        "unreachable_contacts": [
            {"delivery_id": delivery_id, "contact": contact}
            for delivery_id, contact in named
            if contact not in receiving.contact_keys
        ],
        "overdue_clocks": overdue,
        "agreements": _list_agreements(gateway),
        "referrals_with_alarm": alarms,
    }


def _list_agreements(gateway: CallingAgency) -> list[str]:
    """Return what the owner of data-sharing agreements must hear of those that this agency owns; nothing while it has no directory."""
    try:
        directory = gateway.keeper.current(gateway.parts.real_clock()).directory
    except SafelaneError:
        return []
    own = [agreement for agreement in directory.agreements if agreement.owner == gateway.agency]
    today = gateway.clock().astimezone(ZoneInfo(directory.partnership.timezone)).date()
    return list_agreement_warnings(own, today)


@router.post("/attention/outputs/retry", summary="Try every failed output again")
async def retry_outputs(gateway: CallingAgency) -> dict[str, int]:
    """Start failed outputs anew; return how many there are."""
    count = await asyncio.to_thread(gateway.receiving.outputs.retry_failed_outputs, gateway.parts.real_clock())
    return {"retried": count}


@router.post("/attention/quarantine/{digest}/retry", summary="Take in a quarantined message after all")
async def retry_quarantined(digest: str, gateway: CallingAgency) -> dict[str, str]:
    """Try a quarantined message again, for instance after a new directory. If it still cannot be taken in, the problem says why."""
    await gateway.receiving.reader.try_again(digest)
    return {"digest": digest, "state": "taken_in"}
