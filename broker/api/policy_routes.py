"""Policy packs: lodge one, read what is here and what is in force. Approvals come in as all others do (``POST /v1/approvals``); the officers' next
directory takes a pack into use."""

from datetime import datetime
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response

from broker.api.answers import answer_json, describe
from broker.api.context import Context, PersonCaller
from broker.api.guard import read_body
from broker.decisions.bundle import MAX_BUNDLE_BYTES
from broker.intake.activating import PackState, lodge_pack, read_packs, require_policy_role
from broker.store import policies as policy_store
from broker.store.pool import translate_errors
from schemas.errors import ConfigInvalid, MalformedMessage, NotFound

router = APIRouter(prefix="/v1", tags=["policies"])

log = structlog.get_logger("safelane.api")

PACK_EXAMPLE = {
    "policy_digest": "hexadecimal SHA-256",
    "pack_id": "england-2026-09+marchshire",
    "title": "England, information sharing to safeguard children",
    "in_force": True,
    "is_approved": False,
    "added_at": "2026-11-23T10:00:00+00:00",
    "added_by": None,
    "activated_at": None,
    "approvals": [],
}


@router.get(
    "/policies",
    summary="The policy packs that are lodged here, the one in force first",
    openapi_extra=describe(answer={"packs": [PACK_EXAMPLE]}),
)
async def list_packs(context: Context, caller: PersonCaller) -> Response:
    """List packs with who approved them since they were last taken into use."""
    require_policy_role(caller.person, caller.snapshot.directory)
    with translate_errors():
        async with context.pool.acquire(timeout=10) as connection:
            packs = await read_packs(connection, caller.snapshot, context.shelf, context.clock())
    return answer_json({"packs": [describe_pack(pack) for pack in packs]})


@router.get(
    "/policies/{policy_digest}",
    summary="A policy pack's text, as it was lodged",
    openapi_extra=describe(answer={"national": {"pack.yaml": "id: …"}, "local": None}),
)
async def get_pack(policy_digest: str, context: Context, caller: PersonCaller) -> Response:
    """Return a pack's files, so that whoever approves it reads what is approved."""
    require_policy_role(caller.person, caller.snapshot.directory)
    with translate_errors():
        async with context.pool.acquire(timeout=10) as connection:
            body = await policy_store.read_pack(connection, policy_digest)
    if body is None:
        raise NotFound("there is no such policy pack", field="policy_digest")
    return Response(body, media_type="application/json")


@router.post(
    "/policies",
    status_code=201,
    summary="Lodge a policy pack; it decides nothing until two people approve it and the officers sign a directory that names it",
    openapi_extra=describe(
        body={"national": {"pack.yaml": "id: …"}, "local": None}, answer={"policy_digest": "…"}, status=201
    ),
)
async def lodge(request: Request, context: Context, caller: PersonCaller) -> Response:
    """Validate and store a pack by its digest. The same pack again answers 200."""
    person = require_policy_role(caller.person, caller.snapshot.directory)
    body = await read_body(request, max_bytes=MAX_BUNDLE_BYTES)
    try:
        with translate_errors():
            async with context.pool.acquire(timeout=10) as connection, connection.transaction():
                pack, added = await lodge_pack(connection, context.log, body, person, caller.snapshot, context.clock())
    except ConfigInvalid as error:
        raise MalformedMessage(error.detail, field=error.field) from None  # the pack is at fault, not this hub
    log.info("policy_pack_lodged", policy_digest=pack.digest, added=added)
    return answer_json(
        {"policy_digest": pack.digest, "pack_id": pack.id, "title": pack.title}, status=201 if added else 200
    )


def describe_pack(pack: PackState) -> dict[str, Any]:
    """Return a pack's line for people."""
    return {
        "policy_digest": pack.policy_digest,
        "pack_id": pack.pack_id,
        "title": pack.title,
        "in_force": pack.in_force,
        "is_approved": pack.is_approved,
        "added_at": pack.added_at.isoformat(),
        "added_by": pack.added_by,
        "activated_at": _write(pack.activated_at),
        "approvals": [
            {
                "approver": a["approver"],
                "agency": a["approver_agency"],
                "reason_code": a["reason_code"],
                "received_at": _write(a["received_at"]),
                "expires_at": _write(a["expires_at"]),
            }
            for a in pack.approvals
        ],
    }


def _write(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
