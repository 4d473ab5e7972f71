"""The message log for agencies: the newest checkpoint, and a proof of one entry. Entries about persons are salted commitments.

``router`` joins what anyone may read (``tile_routes``) and what witnesses do (``witness_routes``).
"""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from broker.api import tile_routes, witness_routes
from broker.api.answers import describe
from broker.api.context import AgencyCaller, Context
from broker.log.reading import prove_entry, read_checkpoint
from broker.registry import versions
from broker.store.pool import translate_errors
from schemas.errors import NotFound

for_agencies = APIRouter(prefix="/v1/log", tags=["log"])

TEXT = "text/plain; charset=utf-8"
CHECKPOINT_EXAMPLE = "log.example.org/marchshire\n42\nroot hash, base64\n\n— log.example.org/marchshire signature\n"


@for_agencies.get(
    "/checkpoint",
    summary="The newest signed checkpoint (C2SP tlog-checkpoint)",
    openapi_extra=describe(answer=CHECKPOINT_EXAMPLE, media_type="text/plain"),
)
async def get_checkpoint(context: Context, _caller: AgencyCaller) -> Response:
    """Return the newest checkpoint as signed by the hub's log key."""
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
            note = await read_checkpoint(connection)
    if note is None:
        raise NotFound
    return Response(note, media_type=TEXT)


@for_agencies.get(
    "/entries/{position}/proof",
    summary="Proof that an entry is in the log (C2SP tlog-proof)",
    openapi_extra=describe(answer="c2sp.org/tlog-proof@v1\n…", media_type="text/plain"),
)
async def get_proof(
    position: Annotated[int, Path(ge=0, lt=2**53)], context: Context, _caller: AgencyCaller
) -> Response:
    """Return the self-contained proof of the entry at a position, under the newest checkpoint."""
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
            proof = await prove_entry(connection, position, latest=True)
    return Response(proof, media_type=TEXT)


router = APIRouter()
router.include_router(for_agencies)
router.include_router(tile_routes.router)
router.include_router(witness_routes.router)
