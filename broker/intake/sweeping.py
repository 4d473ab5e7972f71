"""The sweeper: what is overdue is said aloud. A clock that runs out breaches, with a negative receipt; a hold whose time is over is escalated.

Time is injected, so that a year passes in seconds. Each thing is said once (a hold again each day), by whichever worker comes first; a crash in
between says it later. Whom a breach is escalated to is the directory's data (``local_policy.escalation``: clock or ``default`` to roles).
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import structlog

from broker.delivery.dispatch import pause
from broker.delivery.ports import Observe
from broker.intake.clocking import log_clock
from broker.intake.committing import RacedByAnother, commit_effects
from broker.intake.effects import Effects
from broker.intake.notifying import tell, tell_of
from broker.intake.ports import SnapshotSource, Times
from broker.log import LogWriter
from broker.registry import DirectorySnapshot
from broker.store import reviewing
from broker.store.pool import Connection, translate_errors
from schemas.errors import DependencyUnavailable

_log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 64
_AGAIN_AFTER = timedelta(days=1)


class Sweeper:
    """Looks regularly for what is overdue."""

    def __init__(
        self, *, pool: asyncpg.Pool, log: LogWriter, snapshots: SnapshotSource, times: Times, observe: Observe
    ) -> None:
        """Keep what it works with."""
        self._pool = pool
        self._log = log
        self._snapshots = snapshots
        self._times = times
        self._observe = observe

    async def run(self, stop: asyncio.Event, *, every_seconds: float) -> None:
        """Sweep until ``stop``. What a dependency interrupts is done next time."""
        while not stop.is_set():
            try:
                count = await self.sweep_once()
            except (DependencyUnavailable, RacedByAnother) as error:
                _log.warning("sweep.interrupted", error=type(error).__name__)
                count = 0
            if count < _MOST_AT_ONCE:
                await pause(stop, every_seconds)

    async def sweep_once(self) -> int:
        """Escalate what is overdue now; return how much that was."""
        now = self._times.business()
        with translate_errors():
            async with self._pool.acquire(timeout=10) as connection:
                if not await has_overdue(connection, now, now - _AGAIN_AFTER):
                    return 0
                snapshot = await self._snapshots.current()
                effects = Effects(now=self._times.real(), lease_until=self._times.real())
                count = await self._gather(connection, effects, snapshot, now)
                await commit_effects(
                    self._pool, connection, self._log, effects, snapshot=snapshot, observe=self._observe
                )
        if count:
            _log.warning("sweep.overdue", items=count)
        return count

    async def _gather(
        self, connection: Connection, effects: Effects, snapshot: DirectorySnapshot, now: datetime
    ) -> int:
        clocks = await list_due_clocks(connection, now, _MOST_AT_ONCE)
        for row in clocks:
            breach_clock(row, effects, snapshot, now)
        requests = await connection.fetch(
            "SELECT object_digest, request_id, requester, recipient, answer_due_at FROM requests"
            " WHERE state = 'running' AND step = 'asked' AND answer_due_at <= $1 ORDER BY answer_due_at LIMIT $2",
            now,
            _MOST_AT_ONCE,
        )
        for row in requests:
            for agency in (row["requester"], row["recipient"]):
                tell(effects, agency, "REQUEST_OVERDUE", None, None, now)
        if requests:
            digests = [row["object_digest"] for row in requests]
            effects.writes.append(
                lambda writer: writer.execute(
                    "UPDATE requests SET state = 'breached' WHERE object_digest = ANY($1::text[]) AND state = 'running'",
                    digests,
                )
            )
        overdue = await list_overdue(connection, now, now - _AGAIN_AFTER, _MOST_AT_ONCE)
        for item in overdue:
            escalate(item, effects, now)
        if overdue:
            effects.writes.append(lambda writer: reviewing.mark_escalated(writer, overdue, now))
        return len(clocks) + len(requests) + len(overdue)


def breach_clock(row: Any, effects: Effects, snapshot: DirectorySnapshot, now: datetime) -> None:
    """A clock ran out: an event, a negative receipt for its sender where it binds a recipient, and word to both, for the roles to act."""
    log_clock(row, "breached", effects, now)
    roles = find_escalation(snapshot, row["clock"])
    bound = row["recipient"]
    if bound is not None:
        tell_of(
            effects,
            row["sender"],
            "negative_receipt",
            {
                "at": now.isoformat(),
                "message_id": str(row["message_id"]),
                "delivery_id": row["delivery_id"],
                "manifest_digest": row["manifest_digest"],
                "recipient": bound,
                "clock": row["clock"],
                "last_state": row["last_state"],
                "none_logged_by": row["due_at"].isoformat(),
                "log_size": row["log_size"],
                "roles": roles,
            },
        )
    for agency in dict.fromkeys(a for a in (bound, row["sender"]) if a):
        tell(
            effects,
            agency,
            f"CLOCK_BREACHED:{row['clock']}:{','.join(roles)}",
            row["message_id"],
            row["delivery_id"],
            now,
        )
    clock_id = row["clock_id"]
    effects.writes.append(lambda connection: set_breached(connection, clock_id, now))


def find_escalation(snapshot: DirectorySnapshot, topic: str) -> list[str]:
    """Return the roles that are told of a breach."""
    settings: dict[str, Any] = snapshot.directory.local_policy.get("escalation", {})
    return [str(role) for role in settings.get(topic, settings.get("default", ["safeguarding_lead"]))]


def escalate(item: dict[str, Any], effects: Effects, now: datetime) -> None:
    """A hold or review is overdue: an event, and its owner is told."""
    members = {
        "at": now.isoformat(),
        "message_id": str(item["message_id"]),
        "delivery_id": item["delivery_id"],
        "review": item["review"],
        "owner": item["owner"],
        "deadline_at": item["deadline_at"].isoformat(),
        "escalation": item["escalations"] + 1,
    }
    tell_of(effects, item["owner"], "overdue", members)


async def has_overdue(connection: Connection, now: datetime, again_before: datetime) -> bool:
    """Tell whether there is anything to sweep: one cheap look."""
    found = await connection.fetchval(
        "SELECT EXISTS (SELECT 1 FROM clocks WHERE state = 'running' AND due_at <= $1)"
        " OR EXISTS (SELECT 1 FROM requests WHERE state = 'running' AND step = 'asked' AND answer_due_at <= $1)"
        " OR EXISTS (SELECT 1 FROM holds WHERE state = 'open' AND deadline_at <= $1 AND (escalated_at IS NULL OR escalated_at <= $2))"
        " OR EXISTS (SELECT 1 FROM retrospective_reviews WHERE state = 'open' AND deadline_at <= $1"
        " AND (escalated_at IS NULL OR escalated_at <= $2))",
        now,
        again_before,
    )
    return bool(found)


async def list_due_clocks(connection: Connection, now: datetime, most: int) -> Sequence[Any]:
    """Return clocks that ran out, with what a negative receipt says. Another sweeper's are passed over."""
    return await connection.fetch(
        "SELECT c.*, m.sender, m.manifest_digest, d.delivery_id, CASE WHEN d.state = 'open' THEN NULL ELSE d.state END AS last_state,"
        " (SELECT max(size) FROM log_checkpoints) AS log_size FROM clocks c JOIN messages m USING (message_id)"
        " LEFT JOIN LATERAL (SELECT delivery_id, state FROM deliveries d WHERE d.message_id = c.message_id AND d.recipient = c.recipient"
        " AND d.outcome = 'delivered' ORDER BY number LIMIT 1) d ON true"
        " WHERE c.state = 'running' AND c.due_at <= $1 ORDER BY c.due_at LIMIT $2",
        now,
        most,
    )


async def list_overdue(
    connection: Connection, now: datetime, again_before: datetime, most: int
) -> list[dict[str, Any]]:
    """Return holds and reviews that are overdue and were not escalated lately."""
    rows = await connection.fetch(
        "SELECT 'hold' AS review, message_id, delivery_id, owner, deadline_at, escalations FROM holds WHERE state = 'open'"
        " AND deadline_at <= $1 AND (escalated_at IS NULL OR escalated_at <= $2)"
        " UNION ALL SELECT kind, message_id, delivery_id, owner, deadline_at, escalations FROM retrospective_reviews"
        " WHERE state = 'open' AND deadline_at <= $1 AND (escalated_at IS NULL OR escalated_at <= $2)"
        " ORDER BY deadline_at LIMIT $3",
        now,
        again_before,
        most,
    )
    return [dict(row) for row in rows]


async def set_breached(connection: Connection, clock_id: Any, now: datetime) -> None:
    """Mark a clock as breached.

    Raises:
        RacedByAnother: another sweeper was faster: nothing is said twice.
    """
    done = await connection.execute(
        "UPDATE clocks SET state = 'breached', breached_at = $2, changed_at = $2 WHERE clock_id = $1 AND state = 'running'",
        clock_id,
        now,
    )
    if done != "UPDATE 1":
        raise RacedByAnother
