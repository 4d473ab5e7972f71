"""The message log for anyone (C2SP tlog-tiles, tlog-checkpoint): no token, because nothing here says anything of a person.

Entries about persons and referrals are salted commitments; directory, key, enrolment, revocation and policy events are readable. Tiles never change
once they are served, so caches may keep them for ever; checkpoints may not be kept.
"""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from broker.api.answers import describe
from broker.api.context import Context
from broker.log.reading import prove_growth, read_checkpoint
from broker.log.tiles import read_entries, read_size, read_tile
from broker.registry import versions
from broker.store.pool import translate_errors
from schemas.errors import NotFound
from schemas.tiles import read_tile_path

router = APIRouter(prefix="/log", tags=["log"])

TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}
LARGEST = 2**53


@router.get("/checkpoint", summary="The newest checkpoint", openapi_extra=describe(answer="…", media_type="text/plain"))
async def get_checkpoint(context: Context) -> Response:
    """Return the newest checkpoint, signed by the log's key."""
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
            note = await read_checkpoint(connection)
    if note is None:
        raise NotFound
    return Response(note, media_type=TEXT)


@router.get("/key", summary="The log's verifier key", openapi_extra=describe(answer="…", media_type="text/plain"))
async def get_key(context: Context) -> Response:
    """Return the log's verifier key (C2SP signed-note vkey). Believe the one in the signed directory, not this one."""
    return Response(f"{context.log.verifier}\n", media_type=TEXT)


@router.get(
    "/tile/entries/{path:path}",
    summary="Entries (C2SP tlog-tiles entry bundle)",
    openapi_extra=describe(answer="…", media_type=BYTES),
)
async def get_entries(path: Annotated[str, Path(max_length=40)], context: Context) -> Response:
    """Return up to 256 entries, each after its length (uint16, big-endian)."""
    number, width = read_tile_path(path)
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
            bundle = await read_entries(connection, number, width)
    return Response(bundle, media_type=BYTES, headers=IMMUTABLE)


@router.get(
    "/tile/{level}/{path:path}",
    summary="Hashes of the tree (C2SP tlog-tiles tile)",
    openapi_extra=describe(answer="…", media_type=BYTES),
)
async def get_tile(
    level: Annotated[int, Path(ge=0, le=63)], path: Annotated[str, Path(max_length=40)], context: Context
) -> Response:
    """Return up to 256 hashes of 32 bytes."""
    number, width = read_tile_path(path)
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
            tile = await read_tile(connection, level, number, width)
    return Response(tile, media_type=BYTES, headers=IMMUTABLE)


@router.get(
    "/consistency/{first}/{second}",
    summary="Proof that the log only grew",
    openapi_extra=describe(answer="…", media_type="text/plain"),
)
async def get_consistency(
    first: Annotated[int, Path(ge=1, lt=LARGEST)], second: Annotated[int, Path(ge=1, lt=LARGEST)], context: Context
) -> Response:
    """Return the consistency proof (RFC 9162) from ``first`` to ``second`` entries, one hex hash a line. The same can be made from tiles."""
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
            if not first <= second <= await read_size(connection):
                raise NotFound("no checkpoint covers this size", field="size")
            proof = await prove_growth(connection, first, second)
    return Response("".join(f"{node.hex()}\n" for node in proof), media_type=TEXT, headers=IMMUTABLE)
