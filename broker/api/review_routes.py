"""The review queue, approvals, and collection by claim ticket. People call with their own token; what they decide is signed with their own key."""

from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Request, Response

from broker.api.answers import answer_json, describe
from broker.api.context import AgencyCaller, Context, PersonCaller
from broker.api.guard import KIB, read_body
from broker.intake.approving import read_members
from broker.intake.collecting import collect_delivery
from broker.intake.handing_in import HandingIn
from broker.intake.people import PARTNERSHIP_ROLE, list_approver_roles
from broker.log import NewEvent
from broker.registry.access import Caller
from broker.registry.packs import PackShelf
from broker.store import registers as register_store
from broker.store import reviewing
from broker.store.pool import translate_errors
from schemas.canonical import parse_object
from schemas.errors import Conflict, MalformedMessage, NotFound, NotPermitted

router = APIRouter(prefix="/v1", tags=["reviews"])

MAX_APPROVAL_BYTES = 64 * KIB
MAX_COLLECTED_BYTES = 32 * 1024 * KIB

log = structlog.get_logger("safelane.api")


@router.get(
    "/reviews", summary="What waits for a person, the most urgent first", openapi_extra=describe(answer={"reviews": []})
)
async def list_reviews(context: Context, caller: PersonCaller, state: str = "open") -> Response:
    """List holds and retrospective reviews of the caller's agency."""
    with translate_errors():
        async with context.pool.acquire(timeout=10) as connection:
            rows = await reviewing.list_queue(connection, owner=_scope(caller), state=None if state == "all" else state)
    now = context.planner.clock()
    return answer_json({"reviews": [_describe(dict(row), now, context.shelf) for row in rows]})


@router.post(
    "/reviews/{message_id}/{delivery_id}/claim",
    summary="Take a hold on oneself",
    openapi_extra=describe(answer={"claimed_by": "p-1"}),
)
async def claim_review(message_id: str, delivery_id: str, context: Context, caller: PersonCaller) -> Response:
    """Claim an open hold: nobody else decides it then, except where two are needed."""
    person = _require_person(caller)
    now = context.planner.clock()
    with translate_errors():
        async with context.pool.acquire(timeout=10) as connection, connection.transaction():
            line = await register_store.read_delivery(connection, delivery_id, read_uuid(message_id))
            if line is None or line["hold_state"] is None or _scope(caller) not in {None, line["hold_owner"]}:
                raise NotFound("there is no such hold", field="delivery_id")
            if not await reviewing.claim_hold(
                connection, line["message_id"], delivery_id, owner=_scope(caller), by=person, at=now
            ):
                raise Conflict("it is decided, or somebody else has claimed it", field="delivery_id")
            members = {
                "at": now.isoformat(),
                "message_id": message_id,
                "delivery_id": delivery_id,
                "action": "claimed",
                "by": person,
            }
            await context.log.append(connection, [NewEvent.salted("review", members)], at=context.clock())
    return answer_json({"claimed_by": person})


@router.post(
    "/approvals",
    summary="Hand in an approval, signed by the approver",
    openapi_extra=describe(answer={"object_digest": "…"}, status=201),
)
async def hand_in_approval(request: Request, context: Context, caller: PersonCaller) -> Response:
    """Verify, register and log an approval (release, refuse, disclosure_token, lift_embargo, review_embargo, review_break_glass, activate_policy, and one of two for chronology, erase, lift_hold)."""
    body = await read_body(request, max_bytes=MAX_APPROVAL_BYTES)
    parse_object(body, max_bytes=MAX_APPROVAL_BYTES)
    person = _require_person(caller)
    handing_in = HandingIn(context.pool, context.log, context.registry)
    digest = await handing_in.take(body, person, real_now=context.clock(), now=context.planner.clock())
    return answer_json({"object_digest": digest}, status=201)


@router.post(
    "/deliveries/{delivery_id}/collect",
    summary="Collect what a claim ticket names; it is decided once more",
    openapi_extra=describe(answer={"manifest": {}, "decision": {}, "proof": "…"}),
)
async def collect(delivery_id: str, context: Context, caller: AgencyCaller) -> Response:
    """Decide a ticket's delivery again, log ``collected``, and only then hand out its ciphertext."""
    if context.planner is None:  # pragma: no cover - a context always has one
        raise NotFound("there is no such delivery", field="delivery_id")
    body = await collect_delivery(
        pool=context.pool,
        log=context.log,
        snapshots=context.registry,
        engine_for=context.planner.engine_for,
        delivery_id=delivery_id,
        agency=caller.agency,
        real_clock=context.clock,
        business_clock=context.planner.clock,
    )
    return Response(body, media_type="application/json")


def read_uuid(text: str) -> UUID:
    """Read a message id.

    Raises:
        MalformedMessage: it is not one.
    """
    try:
        return UUID(text)
    except ValueError:
        raise MalformedMessage("must be a message id", field="message_id") from None


def _require_person(caller: Caller) -> str:
    if caller.person is None:
        raise NotPermitted("only a person may do this")
    return caller.person.id


def _scope(caller: Caller) -> str | None:
    """Return whose queue the caller sees: their agency's, or everybody's (none)."""
    person = caller.person
    if person is None or not list_approver_roles(caller.snapshot.directory).intersection(person.roles):
        raise NotPermitted("only an approver may do this")
    return None if PARTNERSHIP_ROLE in person.roles else caller.agency


def _describe(row: dict[str, Any], now: datetime, shelf: PackShelf) -> dict[str, Any]:
    decision = read_members(row.pop("decision")) if row.get("decision") else {}
    pack = shelf.find_loaded(decision.get("policy_digest", ""))
    held = {
        code: {"row": verdict["row"], "reason": verdict["reason"]}
        for code, verdict in decision.get("compartments", {}).items()
        if verdict["result"] == "held"
    }
    # Withheld by a policy that wants a person to look: nobody can release it, and refusing it closes the line.
    withheld = {
        code: {"row": verdict["row"], "reason": verdict["reason"]}
        for code, verdict in decision.get("compartments", {}).items()
        if verdict["result"] == "withheld" and pack is not None and pack.wants_a_person(verdict["policy"])
    }
    shown = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
        if value is not None
    }
    shown["message_id"] = str(row["message_id"])
    return shown | {"overdue": row["state"] == "open" and row["deadline_at"] <= now, "held": held, "withheld": withheld}
