"""The inbox by HTTP, for case systems on this machine: list, read, print, and say what was done.

Reading a delivery signs its ``opened`` receipt: from then on its content is out of the gateway. A delivery for a named contact is listed and read
only with that contact's key (``Safelane-Contact`` and ``Safelane-Contact-Key``); without it, there is no such delivery.
"""

import asyncio
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from adapters.channels.pdf import render_pdf
from adapters.gateway.api import attention
from adapters.gateway.api.access import CallingAgency
from adapters.gateway.api.people import require_known
from adapters.gateway.incoming.inbox import InboxItem
from adapters.gateway.incoming.inbox_model import InboxEntry, InboxFilter, StoredReceipt
from adapters.gateway.incoming.inbox_recalls import RecallMark
from adapters.gateway.incoming.receipts import OTHER_REASONS, REFUSAL_REASONS, ReceiptRequest
from adapters.gateway.incoming.receiving import Receiving
from adapters.gateway.outgoing.outbox_model import write_instant
from schemas.canonical import decode_base64url, encode_base64url
from schemas.clear_forms import AskedInstant, PersonId
from schemas.codes import ReceiptState
from schemas.errors import NotAuthenticated, Rejected, SafelaneError

router = APIRouter()
router.include_router(attention.router)

_NO_STORE = {"Cache-Control": "no-store"}
_SHORTEST_KEY = 32


class NewReceipt(BaseModel):
    """What a person or case system says of a delivery."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: ReceiptState = Field(description="opened, actioned or refused.", examples=["actioned"])
    reason_code: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9_]{0,63}$",
        description=f"Why it is refused: {', '.join(sorted(REFUSAL_REASONS))}. Or what was done: {', '.join(sorted(OTHER_REASONS))}.",
        examples=["not_our_area"],
    )
    person: PersonId | None = Field(None, description="Id of the person, never a name.", examples=["sw-4417"])


class InboxQuery(BaseModel):
    """What to list, and which page."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: list[ReceiptState] = Field([], description="Only deliveries in these states; none: in any.")
    kind: list[str] = Field([], max_length=50, description="Only these kinds.")
    sender: list[str] = Field([], max_length=50, description="Only from these agencies.")
    since: AskedInstant | None = Field(None, description="Received at or after this instant.")
    cursor: str | None = Field(None, max_length=400, description="``next_cursor`` of the page before.")
    limit: int = Field(50, ge=1, le=200, description="Most lines on one page.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the agency's receiving half, and the named contact if the request proved to be that contact's."""

    receiving: Receiving
    contact: str | None


def find_caller(
    gateway: CallingAgency,
    contact: Annotated[str | None, Header(alias="Safelane-Contact", max_length=80)] = None,
    key: Annotated[str | None, Header(alias="Safelane-Contact-Key", max_length=200)] = None,
) -> Caller:
    """Return who asks (a FastAPI dependency).

    Raises:
        NotAuthenticated: a contact is named without its key.
    """
    receiving: Receiving = gateway.receiving
    if contact is None and key is None:
        return Caller(receiving=receiving, contact=None)
    known = receiving.contact_keys.get(contact or "", b"")
    given = (key or "").encode()
    if len(known) < _SHORTEST_KEY or not hmac.compare_digest(known, given):
        raise NotAuthenticated("the contact's key is missing or wrong", field="Safelane-Contact-Key")
    return Caller(receiving=receiving, contact=contact)


CallingReader = Annotated[Caller, Depends(find_caller)]


@router.get("/inbox", tags=["inbox"], summary="List what arrived, newest first")
async def list_inbox(
    caller: CallingReader, query: Annotated[InboxQuery, Query()], response: Response
) -> dict[str, Any]:
    """List deliveries without their content. ``state=accepted`` is what nobody has opened yet."""
    chosen = InboxFilter(
        contact=caller.contact,
        states=tuple(query.state),
        kinds=tuple(query.kind),
        senders=tuple(query.sender),
        since=query.since,
        before=_read_cursor(query.cursor),
    )
    limit = query.limit
    found = await asyncio.to_thread(caller.receiving.inbox.list_entries, chosen, limit + 1)
    page = found[:limit]
    response.headers.update(_NO_STORE)
    return {
        "deliveries": await _describe_entries(caller, page),
        "next_cursor": _write_cursor(page[-1]) if len(found) > limit else None,
    }


@router.get("/inbox/{delivery_id}", tags=["inbox"], summary="Read a delivery")
async def read_delivery(delivery_id: str, caller: CallingReader, response: Response) -> dict[str, Any]:
    """Return a delivery's content, its receipts, and what corrects it or is corrected by it. Signs ``opened``."""
    item = await _open_item(delivery_id, caller)
    response.headers.update(_NO_STORE)
    (delivery,) = await _describe_entries(caller, [item.entry])
    return {
        "delivery": delivery,
        "referral": item.received.to_json(),
        "receipts": [describe_receipt(receipt) for receipt in item.receipts],
        "corrects": await _describe_entries(caller, item.corrects),
        "corrected_by": await _describe_entries(caller, item.corrected_by),
    }


@router.get("/inbox/{delivery_id}/pdf", tags=["inbox"], summary="Read a delivery as PDF", response_class=Response)
async def read_pdf(delivery_id: str, caller: CallingReader) -> Response:
    """Return the delivery as a readable PDF. Signs ``opened``."""
    item = await _open_item(delivery_id, caller)
    pdf = await asyncio.to_thread(render_pdf, item.received)
    return Response(pdf, media_type="application/pdf", headers=_NO_STORE)


@router.post(
    "/inbox/{delivery_id}/receipts", tags=["inbox"], status_code=201, summary="Say what was done with a delivery"
)
async def add_receipt(delivery_id: str, new: NewReceipt, caller: CallingReader, gateway: CallingAgency) -> JSONResponse:
    """Sign a receipt: opened, actioned, or refused with a reason code. 201 when it is new; 200 when it was said before."""
    require_known(gateway, person=new.person)
    request = ReceiptRequest(new.state, new.reason_code, new.person)
    added, chain = await asyncio.to_thread(caller.receiving.inbox.record_receipt, delivery_id, caller.contact, request)
    body = {"delivery_id": delivery_id, "receipts": [describe_receipt(receipt) for receipt in chain]}
    return JSONResponse(body, status_code=201 if added else 200, headers=_NO_STORE)


def describe_entry(entry: InboxEntry, mark: RecallMark | None) -> dict[str, Any]:
    """Return one line of the inbox as JSON. ``risk`` and ``immediate_danger`` are null where the sender's grade is not shared with this recipient.

    ``recalled`` is null, or when its sender recalled it; ``deleted`` when it was deleted here after that.
    """
    return {
        "delivery_id": entry.delivery_id,
        "message_id": entry.message_id,
        "referral_id": entry.referral_id,
        "revision": entry.revision,
        "sender": entry.sender,
        "kind": entry.kind,
        "role": entry.role,
        "contact": entry.contact,
        "risk": entry.grade.value if entry.grade is not None else None,
        "immediate_danger": entry.immediate_danger,
        "received_at": entry.received_at.isoformat(),
        "state": entry.state.value,
        "release": entry.release,
        "supersedes": entry.supersedes,
        "recalled": mark.recalled if mark else None,
        "deleted": mark.deleted if mark else None,
    }


def describe_receipt(receipt: StoredReceipt) -> dict[str, Any]:
    """Return one receipt as JSON, without its signature."""
    return {
        "state": receipt.state.value,
        "reason_code": receipt.reason_code,
        "at": receipt.at.isoformat(),
        "digest": receipt.digest,
    }


async def _describe_entries(caller: Caller, entries: Sequence[InboxEntry]) -> list[dict[str, Any]]:
    recalls = caller.receiving.registers.recalls
    marks = await asyncio.to_thread(recalls.find_marks, [entry.delivery_id for entry in entries])
    return [describe_entry(entry, marks.get(entry.delivery_id)) for entry in entries]


async def _open_item(delivery_id: str, caller: Caller) -> InboxItem:
    inbox = caller.receiving.inbox
    await asyncio.to_thread(inbox.read, delivery_id, caller.contact)  # may not be theirs: nothing is signed then
    await asyncio.to_thread(inbox.note_opened, delivery_id, caller.contact)
    return await asyncio.to_thread(inbox.read, delivery_id, caller.contact)


def _write_cursor(entry: InboxEntry) -> str:
    return encode_base64url(f"{write_instant(entry.received_at)} {entry.delivery_id}".encode())


def _read_cursor(cursor: str | None) -> tuple[str, str] | None:
    if cursor is None:
        return None
    try:
        received_at, _, delivery_id = decode_base64url(cursor, field="cursor").decode().partition(" ")
        datetime.fromisoformat(received_at)
    except (SafelaneError, ValueError):
        raise Rejected("is not a cursor of this list", field="cursor") from None
    return received_at, delivery_id
