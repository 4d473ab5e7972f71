"""The hub's message log as this agency's witness sees it."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from adapters.gateway.api.access import CallingAgency

router = APIRouter(tags=["log"])


@router.get("/log", summary="What the witness sees")
async def get_log(gateway: CallingAgency) -> dict[str, Any]:
    """Return sizes, instants and alarms. ``state``: ok, alarm, or stopped (then ``advice`` says what to do)."""
    return await asyncio.to_thread(gateway.witness.watch.describe)


@router.get("/log/state", summary="The checkpoints seen, to compare notes", response_class=Response)
async def get_state(gateway: CallingAgency) -> Response:
    """Return the checkpoints that this agency saw, as signed: ``safelane verify --compare`` holds them against another's."""
    verifier = gateway.keeper.current().directory.hub.log_verifier
    state = await asyncio.to_thread(gateway.witness.watch.export, gateway.agency, verifier)
    return Response(state.to_bytes(), media_type="application/json")


@router.post("/log/resume", summary="Send again after a proven contradiction")
async def resume(
    gateway: CallingAgency,
    by: Annotated[
        str, Query(min_length=1, max_length=80, description="Who says so, after speaking to the partnership.")
    ],
) -> dict[str, Any]:
    """Go on: the log is looked at as if for the first time. The evidence of what happened stays."""
    resumed = await asyncio.to_thread(gateway.witness.watch.resume, by, gateway.parts.real_clock())
    gateway.sender.wake()
    return {"resumed": resumed}
