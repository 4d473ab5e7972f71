"""Joining: an invited agency asks, officers of the authority look and decide on their own machine, the signed welcome comes back through here."""

from typing import Any

from fastapi import APIRouter, Request, Response

from broker.api.answers import answer_json, describe, read_json
from broker.api.context import ApiContext, Context, OfficerCaller, read_bearer_token
from broker.api.directory_routes import SIGNED_EXAMPLE, amqp_address
from broker.api.guard import KIB
from broker.log import NewEvent
from broker.registry import agency_queues, enrolments, versions
from broker.registry.enrolments import ENROLLED, PENDING, Enrolment, InvitationRefused
from broker.store.pool import translate_errors
from schemas.canonical import canonical_bytes
from schemas.enrolment import MAX_ENROLMENT_BYTES, verify_welcome
from schemas.errors import MalformedMessage, NotFound
from schemas.keys import pair_verifying_keys
from schemas.signed_directory import read_key_announcement

router = APIRouter(prefix="/v1/enrolments", tags=["enrolment"])

MAX_BODY = 2 * MAX_ENROLMENT_BYTES
STATUS_EXAMPLE = {"enrolment_id": "enr_…", "state": "pending", "fingerprint": "3f2a 91bc 04de 77a1 5c0b e8d2 6f13 a94e"}


@router.post(
    "",
    status_code=201,
    summary="Ask to join, with a one-time invitation",
    openapi_extra=describe(
        body={"invitation": "one-time secret", "request": SIGNED_EXAMPLE}, answer=STATUS_EXAMPLE, status=201
    ),
)
async def ask_to_join(request: Request, context: Context) -> Response:
    """Take in a request, signed by the new keys that it brings. The same invitation with the same bytes gives the same answer."""
    found = await read_json(request, max_bytes=MAX_BODY, members=frozenset({"invitation", "request"}))
    secret, body = found["invitation"], found["request"]
    if not isinstance(secret, str) or not isinstance(body, dict) or not 20 <= len(secret) <= 200:
        raise MalformedMessage("must hold an invitation and a signed request", field="body")
    try:
        checked = enrolments.check_request(secret, body)
    except NotFound:
        raise InvitationRefused from None
    now = context.clock()
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection, connection.transaction():
            enrolment, fresh = await enrolments.accept_request(connection, secret, body, checked, now=now)
            if fresh:
                await _log(context, connection, enrolment, PENDING)
    return answer_json(_status(enrolment), status=201 if fresh else 200)


@router.get(
    "",
    summary="Requests that wait for an officer",
    openapi_extra=describe(
        answer={"pending": [STATUS_EXAMPLE | {"agency": "school.oakfield", "request": SIGNED_EXAMPLE}]}
    ),
)
async def list_requests(context: Context, _officer: OfficerCaller) -> Response:
    """Return the pending requests as they came in; the officer's own machine verifies them again."""
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
            pending = await enrolments.list_pending(connection)
    rows = [
        _status(e) | {"agency": e.agency, "request": e.request, "created_at": e.created_at.isoformat()} for e in pending
    ]
    return answer_json({"pending": rows})


@router.get(
    "/{enrolment_id}",
    summary="What became of one's own request",
    openapi_extra=describe(answer=STATUS_EXAMPLE | {"state": "enrolled", "welcome": SIGNED_EXAMPLE, "queue": "…"}),
)
async def get_status(enrolment_id: str, request: Request, context: Context) -> Response:
    """Return the state to whoever holds the request's API key, which proves possession of it."""
    token = read_bearer_token(request)
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
            enrolment = await enrolments.find_enrolment(connection, enrolment_id)
            queue = await agency_queues.read_queue(connection, enrolment.agency) if enrolment else None
    if enrolment is None:
        raise NotFound
    claims = context.tokens.verify(token, enrolment.verified_request().api)
    if claims["iss"] != enrolment.agency:
        raise NotFound
    await context.tokens.use_up(enrolment.agency, claims)
    answer = _status(enrolment)
    if enrolment.state == ENROLLED and queue is None:
        # The way into RabbitMQ is not open yet: to the agency that is still waiting, and asking again tries again.
        await context.provisioner.reconcile_quietly(await context.registry.current())
        answer["state"] = PENDING
    elif enrolment.state == ENROLLED:
        answer |= {"welcome": enrolment.welcome, "queue": queue, "amqp": amqp_address(context)}
    return answer_json(answer)


@router.post(
    "/{enrolment_id}/welcome",
    status_code=201,
    summary="Hand in the authority's signed welcome",
    openapi_extra=describe(body=SIGNED_EXAMPLE, answer=STATUS_EXAMPLE | {"state": "enrolled"}, status=201),
)
async def hand_in_welcome(enrolment_id: str, request: Request, context: Context) -> Response:
    """Complete an enrolment with a welcome that the authority signed, after the directory that holds the agency's keys was published."""
    jws = await read_json(request, max_bytes=MAX_BODY, members=frozenset({"payload", "signatures"}))
    welcome = verify_welcome(jws, context.registry.authority_keys)
    snapshot = await context.registry.current()
    if snapshot.version < welcome.directory_version:
        raise MalformedMessage("publish its directory version first", field="directory_version")
    now = context.clock()
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection, connection.transaction():
            done = await enrolments.complete_enrolment(connection, enrolment_id, jws, welcome, now=now)
            enrolment = await enrolments.find_enrolment(connection, enrolment_id)
            if enrolment is None:
                raise NotFound
            if done:
                await _announce_first_key(context, connection, enrolment)
                await _log(context, connection, enrolment, ENROLLED)
    await context.provisioner.reconcile_quietly(await context.registry.current())
    return answer_json(_status(enrolment), status=201 if done else 200)


@router.post(
    "/{enrolment_id}/refusal",
    summary="Refuse a request (officers)",
    openapi_extra=describe(body={"reason_code": "fingerprint_differs"}, answer=STATUS_EXAMPLE | {"state": "refused"}),
)
async def refuse_request(enrolment_id: str, request: Request, context: Context, _officer: OfficerCaller) -> Response:
    """Record an officer's refusal; the agency sees the state, and needs a new invitation to ask again."""
    await read_json(request, max_bytes=4 * KIB, members=frozenset({"reason_code"}))
    now = context.clock()
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection, connection.transaction():
            await enrolments.refuse_enrolment(connection, enrolment_id, now=now)
            enrolment = await enrolments.find_enrolment(connection, enrolment_id)
            if enrolment is None:
                raise NotFound
            await _log(context, connection, enrolment, enrolments.REFUSED)
    return answer_json(_status(enrolment))


def _status(enrolment: Enrolment) -> dict[str, Any]:
    return {
        "enrolment_id": enrolment.enrolment_id,
        "state": enrolment.state,
        "fingerprint": enrolment.fingerprint,
    }


async def _announce_first_key(context: ApiContext, connection: versions.Connection, enrolment: Enrolment) -> None:
    """Take the request's own encryption-key announcement into the registry, so that others can seal to the agency from now on."""
    request = enrolment.verified_request()
    body = canonical_bytes(request.encryption_key)
    key = read_key_announcement(body, request.agency, pair_verifying_keys(request.signing))
    await versions.insert_announcement(connection, request.agency, key, body, context.clock())


async def _log(context: ApiContext, connection: versions.Connection, enrolment: Enrolment, state: str) -> None:
    now = context.clock()
    members = {
        "agency": enrolment.agency,
        "enrolment_id": enrolment.enrolment_id,
        "state": state,
        "at": now.isoformat(),
    }
    await context.log.append(connection, [NewEvent.clear("enrolment", members)], at=now)
