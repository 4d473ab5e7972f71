"""What a person may do with the quarantine: list, show, send back to intake, or reject for good. Each decision is an event of the log.

Bodies are shown to nobody: they may be sealed content. A replay goes through the whole of intake again, as the user who sent it then.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from broker.log import LogWriter, NewEvent
from broker.store import reviews
from broker.store.pool import Connection, translate_errors
from schemas.errors import NotFound

STATES = ("open", "replaying", "replayed", "rejected")


async def list_quarantined(pool: asyncpg.Pool, *, state: str | None = "open", most: int = 100) -> list[dict[str, Any]]:
    """Return quarantined messages, newest first: ids, user, error code, rule and field; never a body.

    Raises:
        StoreUnavailable: PostgreSQL does not answer.
    """
    with translate_errors():
        async with pool.acquire(timeout=10) as connection:
            return await reviews.list_quarantine(connection, state=state, most=most)


async def show_quarantined(pool: asyncpg.Pool, quarantine_id: UUID) -> dict[str, Any]:
    """Return one quarantined message, without its body.

    Raises:
        NotFound: there is none of that id.
        StoreUnavailable: PostgreSQL does not answer.
    """
    with translate_errors():
        async with pool.acquire(timeout=10) as connection:
            found = await reviews.read_quarantine(connection, quarantine_id)
    if found is None:
        raise NotFound("there is no such message in quarantine", field="quarantine_id")
    return found


async def replay_quarantined(
    pool: asyncpg.Pool, log: LogWriter, quarantine_id: UUID, *, by: str, reason: str, now: datetime
) -> None:
    """Send a message back to intake: a worker takes it within seconds, with one effect however often it is replayed.

    Raises:
        NotFound: there is no open message of that id.
        StoreUnavailable: PostgreSQL does not answer.
    """
    await _decide(pool, log, quarantine_id, ("replaying", "replayed"), by=by, reason=reason, now=now)


async def reject_quarantined(
    pool: asyncpg.Pool, log: LogWriter, quarantine_id: UUID, *, by: str, reason: str, now: datetime
) -> None:
    """Close a message for good. Its bytes stay, its sender was told when it came.

    Raises:
        NotFound: there is no open message of that id.
        StoreUnavailable: PostgreSQL does not answer.
    """
    await _decide(pool, log, quarantine_id, ("rejected", "rejected"), by=by, reason=reason, now=now)


async def _decide(
    pool: asyncpg.Pool,
    log: LogWriter,
    quarantine_id: UUID,
    change: tuple[str, str],
    *,
    by: str,
    reason: str,
    now: datetime,
) -> None:
    state, action = change
    with translate_errors():
        async with pool.acquire(timeout=10) as connection, connection.transaction():
            taken = await reviews.take_quarantined(connection, quarantine_id, state=state, by=by, at=now, reason=reason)
            if taken is None:
                raise NotFound("there is no open message of that id in quarantine", field="quarantine_id")
            await _log_decision(connection, log, quarantine_id, action, by=by, now=now)


async def _log_decision(
    connection: Connection, log: LogWriter, quarantine_id: UUID, action: str, *, by: str, now: datetime
) -> None:
    # The reason's words stay in the table: an event holds codes and ids.
    members = {"at": now.isoformat(), "quarantine_id": str(quarantine_id), "action": action, "by": by}
    await log.append(connection, [NewEvent.salted("quarantine_decided", members)], at=now)
