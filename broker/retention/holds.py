"""Legal holds: by a referral (its whole conversation with it) or by a subject's token. Nothing under one is erased, by time or on request.

One person places a hold, at once; lifting one takes two (``broker.approvals``). Both are events of the log, with a token's digest in its place.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from broker.log import LogWriter, NewEvent
from broker.log.events import new_event_id
from broker.store import erasing as erasing_store
from broker.store.pool import Connection, translate_errors
from schemas.canonical import sha256_base64url
from schemas.clear_codes import Reason
from schemas.errors import MalformedMessage, NotFound

SCOPES = ("referral", "subject")


async def place_hold(
    pool: asyncpg.Pool, log: LogWriter, *, scope: str, subject: str, reason_code: str, by: str, now: datetime
) -> UUID:
    """Place a hold on a referral id or a subject token (``scheme|pepper|value``); return its id. It need not be here yet.

    Raises:
        MalformedMessage: the scope or what it names is not of its form.
        StoreUnavailable: nothing was placed.
    """
    if scope not in SCOPES or not subject or (scope == "subject" and subject.count("|") != 2):
        raise MalformedMessage("must be a referral's id, or a subject's token as scheme|pepper|value", field="subject")
    if reason_code not in set(Reason):
        # It is in the log in clear, where no name may stand.
        raise MalformedMessage(f"must be one of {', '.join(sorted(Reason))}", field="reason_code")
    if not by:
        raise MalformedMessage("must say who", field="by")
    hold_id = new_event_id()
    members = {
        "at": now.isoformat(),
        "hold_id": str(hold_id),
        "action": "placed",
        "scope": scope,
        "subject": name_subject(scope, subject),
        "reason_code": reason_code,
        "by": by,
        "approvers": [],
    }
    event = NewEvent.salted("legal_hold", members)
    values = {
        "hold_id": hold_id,
        "scope": scope,
        "subject": subject,
        "reason_code": reason_code,
        "placed_by": by,
        "placed_at": now,
        "event_id": event.event_id,
    }
    with translate_errors():
        async with pool.acquire(timeout=10) as connection, connection.transaction():
            await erasing_store.insert_hold(connection, values)
            await log.append(connection, [event], at=now)
    return hold_id


async def count_of_referral(pool: asyncpg.Pool, referral_id: str) -> int:
    """Return how many messages of a referral are here: none where the id is of nothing that came, or is mistyped.

    Raises:
        StoreUnavailable: PostgreSQL does not answer.
    """
    with translate_errors():
        async with pool.acquire(timeout=10) as connection:
            return int(await connection.fetchval("SELECT count(*) FROM messages WHERE referral_id = $1", referral_id))


async def lift_hold(
    connection: Connection,
    log: LogWriter,
    hold_id: UUID,
    *,
    by: str,
    approvers: list[str],
    reason_code: str,
    now: datetime,
) -> None:
    """Lift a hold, in the caller's transaction, as its last statements; ``approvers`` are the two who approved.

    Raises:
        NotFound: there is none of that id in force.
    """
    held = await connection.fetchrow("SELECT scope, subject FROM legal_holds WHERE hold_id = $1", hold_id)
    if held is None:
        raise NotFound("there is no such hold", field="hold_id")
    members = {
        "at": now.isoformat(),
        "hold_id": str(hold_id),
        "action": "lifted",
        "scope": held["scope"],
        "subject": name_subject(held["scope"], held["subject"]),
        "reason_code": reason_code,
        "by": by,
        "approvers": approvers,
    }
    event = NewEvent.salted("legal_hold", members)
    if not await erasing_store.lift_hold(connection, hold_id, at=now, event_id=event.event_id):
        raise NotFound("it is lifted already", field="hold_id")
    await log.append(connection, [event], at=now)


async def list_holds(pool: asyncpg.Pool, *, in_force: bool = True) -> list[dict[str, Any]]:
    """Return legal holds, newest first; a token stands there as its digest.

    Raises:
        StoreUnavailable: PostgreSQL does not answer.
    """
    with translate_errors():
        async with pool.acquire(timeout=10) as connection:
            rows = await erasing_store.list_holds(connection, in_force=in_force)
    return [dict(row) | {"subject": name_subject(row["scope"], row["subject"])} for row in rows]


def name_subject(scope: str, subject: str) -> str:
    """Return what events and lists call the subject of a hold: a referral by its id, a token by its digest."""
    return subject if scope == "referral" else sha256_base64url(subject.encode())
