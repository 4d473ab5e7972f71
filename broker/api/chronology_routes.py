"""Who knew what, when, of one child: for people, after two of them approved it."""

from fastapi import APIRouter, Request, Response

from broker.api.answers import answer_json, describe, read_json
from broker.api.context import Context, PersonCaller
from broker.api.guard import KIB
from broker.audit.chronology import read_chronology
from schemas.errors import MalformedMessage, NotPermitted

router = APIRouter(prefix="/v1", tags=["audit"])

ANSWER = {"subject": "digest of the token", "checkpoint": "…", "agencies": {"csc.marchshire": [{"act": "opened"}]}}


@router.post(
    "/chronology",
    summary="Who knew what, when, of one child",
    openapi_extra=describe(body={"token": "scheme|pepper|value"}, answer=ANSWER),
)
async def post_chronology(request: Request, context: Context, caller: PersonCaller) -> Response:
    """Use the caller's and another person's approvals of this question, log that, and answer it; the token travels in the body, never in a URL."""
    body = await read_json(request, max_bytes=4 * KIB, members=frozenset({"token"}))
    if not isinstance(body["token"], str):
        raise MalformedMessage("must be a subject's token", field="token")
    if caller.person is None:
        raise NotPermitted("only a person may do this")
    found = await read_chronology(
        context.pool,
        context.log,
        caller.snapshot.directory,
        token=body["token"],
        person=caller.person.id,
        now=context.clock(),
    )
    return answer_json(found.to_json())
