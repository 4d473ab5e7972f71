"""Pseudonyms of children, for those who may ask the hub by them: a chronology, a legal hold, an erasure. The hub cannot make them, and the
identifier goes no further than this machine."""

import asyncio
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Body

from adapters.gateway.api.access import CallingAgency
from adapters.gateway.api.people import require_known
from adapters.gateway.api.registers import Form, Identifier
from schemas.clear_forms import PersonId

_log = structlog.get_logger(__name__)

router = APIRouter(tags=["registers"])


class TokenForm(Form):
    """Whose pseudonyms are wanted, and who wants them."""

    person: PersonId
    identifiers: tuple[Identifier, ...]


@router.post("/subject-tokens", summary="Make the tokens by which the hub knows a child")
async def make_tokens(form: Annotated[TokenForm, Body()], gateway: CallingAgency) -> dict[str, Any]:
    """Return each identifier's token as ``scheme|pepper|value``. Who asked is logged; the identifier and the token are not."""
    require_known(gateway, person=form.person)
    desk = gateway.receiving.registers.requests
    tokens = await asyncio.to_thread(desk.make_tokens, [(i.scheme, i.value) for i in form.identifiers])
    _log.info("subject_tokens_made", agency=gateway.agency, person=form.person, number=len(tokens))
    return {"tokens": [{"scheme": t.scheme, "token": f"{t.scheme}|{t.pepper_id}|{t.value}"} for t in tokens]}
