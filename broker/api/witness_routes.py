"""Witnessing: the checkpoint to cosign, cosignatures taken in, and the newest checkpoint that a quorum covers."""

from fastapi import APIRouter, Request, Response

from broker.api.answers import answer_json, describe, read_json
from broker.api.context import AgencyCaller, Context
from broker.api.guard import KIB
from broker.log.witnessing import add_cosignature, propose_checkpoint, read_witnessed_checkpoint
from broker.registry import versions
from broker.store.pool import translate_errors
from schemas.errors import MalformedMessage, NotFound, NotPermitted

public = APIRouter(prefix="/log", tags=["log"])
for_agencies = APIRouter(prefix="/v1/log", tags=["log"])

TEXT = "text/plain; charset=utf-8"
LINE_EXAMPLE = {"size": 42, "line": "— csc.marchshire base64 of key id, time and signature\n— csc.marchshire …\n"}


@public.get(
    "/checkpoint/proposed",
    summary="The checkpoint for witnesses to cosign",
    openapi_extra=describe(answer="…", media_type="text/plain"),
)
async def get_proposed(context: Context) -> Response:
    """Return the checkpoint that all witnesses are asked to cosign now; it stays the same for a few seconds."""
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
            note = await propose_checkpoint(connection, now=context.clock())
    return Response(note, media_type=TEXT)


@public.get(
    "/checkpoint/witnessed",
    summary="The newest checkpoint that a quorum of witnesses cosigned",
    openapi_extra=describe(answer="…", media_type="text/plain"),
)
async def get_witnessed(context: Context) -> Response:
    """Return that checkpoint with its cosignatures (C2SP tlog-cosignature); 404 while there is none."""
    snapshot = await context.registry.current()
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
            note = await read_witnessed_checkpoint(connection, snapshot.directory)
    if note is None:
        raise NotFound("no quorum has cosigned a checkpoint yet", field="checkpoint")
    return Response(note, media_type=TEXT)


@for_agencies.post(
    "/cosignatures",
    summary="Hand in a cosignature",
    openapi_extra=describe(body=LINE_EXAMPLE, answer={"added": True}, status=201),
)
async def post_cosignature(request: Request, context: Context, caller: AgencyCaller) -> Response:
    """Take in the calling agency's cosignature of the checkpoint of ``size`` (201); the same again changes nothing (200).

    ``line`` holds one signature line for each of its witness keys in the directory: Ed25519, then ML-DSA-44.
    """
    body = await read_json(request, max_bytes=8 * KIB, members=frozenset({"size", "line"}))
    size, line = body["size"], body["line"]
    if not isinstance(size, int) or isinstance(size, bool) or not isinstance(line, str) or not 0 < size < 2**53:
        raise MalformedMessage("must be a number and signature lines", field="body")
    directory = caller.snapshot.directory
    if caller.agency not in directory.witnesses.agencies:
        raise NotPermitted("the directory does not name this agency as a witness")
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
            added = await add_cosignature(connection, directory, caller.agency, size, line, now=context.clock())
    return answer_json({"added": added}, status=201 if added else 200)


router = APIRouter()
router.include_router(public)
router.include_router(for_agencies)
