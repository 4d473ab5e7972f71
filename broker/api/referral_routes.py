"""Plans, and what became of one's own referrals. Another agency's referral and one that does not exist give the same answer."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from broker.api.answers import answer_json, describe, read_json
from broker.api.context import AgencyCaller, Context
from broker.api.guard import KIB
from broker.api.planning import read_header
from broker.registry import sent_referrals, versions
from broker.store.pool import translate_errors
from schemas.errors import NotFound

router = APIRouter(prefix="/v1", tags=["referrals"])

MAX_PLAN_BYTES = 512 * KIB
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")

HEADER_EXAMPLE = {
    "case": {"kind": "CP_S47", "area": "E10999001"},
    "risk": {"grade": "high"},
    "lawful_basis": {"art6": "e"},
    "policy": {"tell_status": {"value": "told"}, "compartments": ["C01", "C04", "C14", "C17"]},
    "subjects": [{"subject_id": "Zb3kq9x2vwTn0aLcQe71Gg", "type": "person", "age_band": "5-9"}],
    "deliveries": [
        {
            "delivery_id": "p8fj2k1mzV0sXr4tYw6uAQ",
            "agency": "csc.marchshire",
            "role": "csc",
            "purpose": "safeguard_child",
        }
    ],
}
COMPARTMENT_EXAMPLE = {"C10": {"result": "held", "row": "D12", "reason": "A source in confidence needs an approver."}}
PLAN_EXAMPLE = {
    "decisions": [
        {
            "delivery_id": "p8fj2k1mzV0sXr4tYw6uAQ",
            "recipient": "csc.marchshire",
            "role": "csc",
            "purpose": "safeguard_child",
            "outcome": "delivered",
            "row": "D3",
            "compartments": COMPARTMENT_EXAMPLE,
        }
    ],
    "policy_digest": "base64url SHA-256",
    "directory_version": 2,
    "as_of": "2026-11-22T18:30:00+00:00",
}
REFERRAL_EXAMPLE = {
    "referral_id": "ref_3kq9x2vw",
    "messages": [
        {
            "message_id": "0193…",
            "revision": 1,
            "kind": "CP_S47",
            "outcome": "accepted",
            "received_at": "2026-11-22T18:30:02+00:00",
            "manifest_digest": "base64url SHA-256",
            "deliveries": [
                {
                    "delivery_id": "p8fj2k1mzV0sXr4tYw6uAQ",
                    "recipient": "csc.marchshire",
                    "outcome": "delivered",
                    "state": "opened",
                    "compartments": COMPARTMENT_EXAMPLE,
                    "receipts": [{"state": "accepted", "at": "2026-11-22T18:30:03+00:00"}],
                }
            ],
        }
    ],
}


@router.post(
    "/plan",
    summary="Who would get what of this referral, and why",
    openapi_extra=describe(body={"header": HEADER_EXAMPLE}, answer=PLAN_EXAMPLE),
)
async def make_plan(request: Request, context: Context, caller: AgencyCaller) -> Response:
    """Decide every requested delivery as if the caller sent this header now. Nothing is stored and nothing is sent."""
    found = await read_json(request, max_bytes=MAX_PLAN_BYTES, members=frozenset({"header"}))
    header = read_header(found["header"])
    caller.snapshot.require_fresh(context.clock())
    caller.snapshot.known_ids.check_header(header)
    plan = await context.planner.plan(header, caller.agency, caller.snapshot)
    for decision in plan.decisions:
        context.metrics.planned.labels(outcome=decision.outcome.value).inc()
    return answer_json(plan.to_json())


@router.get(
    "/referrals/{referral_id}",
    summary="What became of one's own referral",
    openapi_extra=describe(answer=REFERRAL_EXAMPLE),
)
async def get_referral(referral_id: str, context: Context, caller: AgencyCaller) -> Response:
    """Return the messages, decisions and receipts of a referral that the caller sent."""
    if not _ID.fullmatch(referral_id):
        raise NotFound
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
            messages = await sent_referrals.find_by_referral(connection, caller.agency, referral_id)
    return _answer(messages)


@router.get(
    "/referrals", summary="One's own referral by native reference", openapi_extra=describe(answer=REFERRAL_EXAMPLE)
)
async def find_referral(
    context: Context, caller: AgencyCaller, native_ref_digest: Annotated[str, Query(min_length=16, max_length=128)]
) -> Response:
    """Return the referral that the caller sent under this reference, given as the keyed digest of its routing header."""
    if not _ID.fullmatch(native_ref_digest):
        raise NotFound
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
            messages = await sent_referrals.find_by_native_reference(connection, caller.agency, native_ref_digest)
    return _answer(messages)


def _answer(messages: list[dict[str, Any]]) -> Response:
    if not messages:
        raise NotFound
    return answer_json({"referral_id": messages[0]["referral_id"], "messages": messages})
