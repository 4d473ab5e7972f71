"""Handing over referrals and asking what became of them.

``POST /referrals`` answers 202 only after everything good in the document is on disk. Asking again is safe: the same record has one effect, and the
same ``Idempotency-Key`` with the same document gives the same answer.
"""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse

from adapters.gateway.api.access import CallingAgency
from adapters.gateway.api.problems import problem_response
from adapters.gateway.outgoing.intake import IncomingDocument
from adapters.gateway.outgoing.outbox_model import OutboxState
from adapters.gateway.witnessing.log_watch import USE_THE_TELEPHONE
from schemas.errors import Rejected, TooLarge

router = APIRouter(tags=["referrals"])

_SUFFIXES = {
    "application/json": "json",
    "application/fhir+json": "json",
    "application/xml": "xml",
    "text/xml": "xml",
    "text/csv": "csv",
    "application/octet-stream": "bin",
}
MAX_KEY_CHARACTERS = 200


@router.post("/referrals", status_code=202, summary="Hand over a document of one or more referrals")
async def post_referrals(
    request: Request,
    gateway: CallingAgency,
    idempotency_key: Annotated[str | None, Header(max_length=MAX_KEY_CHARACTERS)] = None,
    mapping: Annotated[
        str | None, Query(max_length=200, description="Mapping id; else the format is recognised.")
    ] = None,
) -> JSONResponse:
    """Take in a document. 202: every good record is stored and will be sent; ``errors`` names the bad ones. 422: none was good."""
    if request.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise Rejected("compressed documents are not taken: send it as it is", field="Content-Encoding")
    body = await _read_body(request, gateway.parts.gateway.max_document_bytes)
    media_type, parameters = _read_media_type(request.headers.get("content-type", ""))
    document = IncomingDocument(
        body=body,
        name=f"document.{_SUFFIXES.get(media_type, 'bin')}",
        channel="rest",
        mapping=mapping or parameters.get("mapping"),
        idempotency_key=idempotency_key,
    )
    accepted = await asyncio.to_thread(gateway.intake.take, document)
    answer = accepted.answer
    if not answer["referrals"]:
        first: dict[str, Any] = answer["errors"][0] if answer["errors"] else {}
        error = Rejected(str(first.get("detail") or "the document holds no record"), field=first.get("field"))
        return problem_response(error, extra={"errors": answer["errors"], "document_id": accepted.document_id})
    headers = {"Location": f"/referrals/{answer['referrals'][0]['referral_id']}"}
    single = {"referral_id": answer["referrals"][0]["referral_id"]} if len(answer["referrals"]) == 1 else {}
    return JSONResponse(answer | single, status_code=202, headers=headers)


@router.get("/referrals", summary="List referrals, newest first")
async def list_referrals(
    gateway: CallingAgency,
    state: Annotated[list[OutboxState] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, Any]:
    """List this agency's referrals, without their content."""
    found = await asyncio.to_thread(gateway.outbox.list_referrals, state or (), limit)
    stop = await asyncio.to_thread(gateway.witness.watch.find_stop)
    return {
        "alarm": {"code": stop, "advice": USE_THE_TELEPHONE} if stop else None,
        "referrals": [
            {
                "referral_id": item.referral_id,
                "state": item.state.value,
                "kind": item.kind,
                "urgent": item.urgent,
                "received_at": item.received_at.isoformat(),
                "message_id": item.message_id,
                "alarm": item.alarm,
            }
            for item in found
        ],
    }


@router.get("/referrals/{referral_id}", summary="What became of a referral")
async def get_referral(referral_id: str, gateway: CallingAgency) -> dict[str, Any]:
    """Return the state of a referral: who gets what and why, what is withheld and by which rule, and each recipient's receipts.

    After a recall each delivery has ``recalled``, and ``deleted`` (when its recipient says that it was) or ``kept_for`` (why it must be kept).
    """
    view = await asyncio.to_thread(gateway.outbox.describe, referral_id)
    return await asyncio.to_thread(gateway.receiving.registers.add_recalls, view)


@router.post("/referrals/{referral_id}/release", summary="Send a held or failed referral on its way again")
async def release_referral(referral_id: str, gateway: CallingAgency) -> dict[str, Any]:
    """Release a held or failed referral after a person has looked at it."""
    state = await asyncio.to_thread(gateway.outbox.release, referral_id, gateway.parts.real_clock())
    gateway.sender.wake()
    return {"referral_id": referral_id, "state": state.value}


@router.get("/recipients", summary="Recipients that were asked for, confirmed or not")
async def list_recipients(gateway: CallingAgency) -> dict[str, Any]:
    """List recipients with when and by whom each was confirmed."""
    return {"recipients": await asyncio.to_thread(gateway.parts.recipients.list_recipients)}


@router.post("/recipients/{agency}/confirmation", summary="Confirm a recipient that is new to this gateway")
async def confirm_recipient(
    agency: str,
    gateway: CallingAgency,
    by: Annotated[str, Query(min_length=1, max_length=80, description="Who confirms.")],
) -> dict[str, Any]:
    """Confirm a recipient; referrals that waited for it go on."""
    if gateway.keeper.current().directory.find_agency(agency) is None:
        raise Rejected("there is no such agency in the directory", field="agency")
    released = await asyncio.to_thread(gateway.parts.recipients.confirm, agency, by, gateway.parts.real_clock())
    gateway.sender.wake()
    return {"agency": agency, "released": released}


async def _read_body(request: Request, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"more than {limit} bytes", field="(document)")
        chunks.append(chunk)
    return b"".join(chunks)


def _read_media_type(header: str) -> tuple[str, dict[str, str]]:
    """Split a Content-Type into its type and its parameters (RFC 9110 section 8.3.1); unknown parts are passed over."""
    media_type, *rest = header.split(";")
    parameters = {}
    for part in rest:
        name, _, value = part.partition("=")
        parameters[name.strip().lower()] = value.strip().strip('"')
    return media_type.strip().lower(), parameters
