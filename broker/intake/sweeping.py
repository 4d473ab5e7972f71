"""The sweeper: what is overdue is said aloud. A clock that runs out breaches, with a negative receipt; a hold whose time is over is escalated.

Time is injected, so that a year passes in seconds. One worker at a time sweeps, a bounded batch in one transaction, so that each thing is said once (a
hold again each day); a crash in between says it later. Whom a breach is escalated to is data: the pack's, or local policy's ``escalation``.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from broker.delivery.dispatch import pause
from broker.intake.clocking import ClockLedger
from broker.intake.committing import RacedByAnother, commit_effects
from broker.intake.effects import Effects
from broker.intake.expiring import take_expiries
from broker.intake.notifying import tell, tell_of
from broker.intake.ports import IntakeParts
from broker.registry import DirectorySnapshot
from broker.store import clocks as clock_store
from broker.store import reviewing
from broker.store.pool import Connection, translate_errors
from schemas.errors import DependencyUnavailable

_log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 64
_AGAIN_AFTER = timedelta(days=1)
_LOOK_FOR_ENDS_EVERY = 5.0
"""Seconds. What ends by itself is decided by its end at any time; only the word that it ended may take so long."""


class Sweeper:
    """Looks regularly for what is overdue."""

    def __init__(self, parts: IntakeParts) -> None:
        """Keep what it works with."""
        self._parts = parts
        self._ends_next = 0.0

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
        """Escalate what is overdue now; return how much that was: none while another worker sweeps."""
        with translate_errors():
            snapshot = await self._parts.snapshots.current()
            async with self._parts.pool.acquire(timeout=10) as connection:
                if not await clock_store.lock_sweeping(connection):
                    return 0
                try:
                    count = await self._sweep(connection, snapshot, self._parts.times.business())
                finally:
                    await clock_store.unlock_sweeping(connection)
        if count:
            _log.warning("sweep.overdue", items=count)
        return count

    async def _sweep(self, connection: Connection, snapshot: DirectorySnapshot, now: datetime) -> int:
        decider, _ = self._parts.deciders(snapshot)
        rules = decider.clock_rules
        actions = rules.list_approvals()
        looks_for_ends = asyncio.get_running_loop().time() >= self._ends_next
        if not looks_for_ends and not await has_overdue(connection, now, now - _AGAIN_AFTER, actions):
            return 0
        effects = Effects(now=self._parts.times.real(), lease_until=self._parts.times.real())
        ledger = ClockLedger(rules, snapshot.directory, now)
        ledger.take_reviews(await clock_store.find_reviewed_clocks(connection, actions, _MOST_AT_ONCE))
        ledger.breach(await clock_store.find_overdue_clocks(connection, now, _MOST_AT_ONCE))
        count = await ledger.write(connection, effects)
        count += await self._gather(connection, effects, now)
        if looks_for_ends:
            count += await take_expiries(connection, effects, snapshot, now, _MOST_AT_ONCE)
        if not effects.is_empty():
            await commit_effects(
                self._parts.pool, connection, self._parts.log, effects, snapshot=snapshot, observe=self._parts.observe
            )
        if looks_for_ends:
            self._ends_next = asyncio.get_running_loop().time() + _LOOK_FOR_ENDS_EVERY
        return count

    async def _gather(self, connection: Connection, effects: Effects, now: datetime) -> int:
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
        return len(requests) + len(overdue)


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


async def has_overdue(
    connection: Connection, now: datetime, again_before: datetime, actions: Sequence[str] = ()
) -> bool:
    """Tell whether there is anything to sweep: one cheap look."""
    found = await connection.fetchval(
        "SELECT EXISTS (SELECT 1 FROM clocks WHERE state = 'running' AND due_at < $1)"
        " OR EXISTS (SELECT 1 FROM approvals a JOIN clocks c USING (message_id) WHERE a.action = ANY($3::text[])"
        " AND c.recipient IS NULL AND c.met_at IS NULL AND a.received_at > c.changed_at)"
        " OR EXISTS (SELECT 1 FROM requests WHERE state = 'running' AND step = 'asked' AND answer_due_at <= $1)"
        " OR EXISTS (SELECT 1 FROM holds WHERE state = 'open' AND deadline_at <= $1 AND (escalated_at IS NULL OR escalated_at <= $2))"
        " OR EXISTS (SELECT 1 FROM retrospective_reviews WHERE state = 'open' AND deadline_at <= $1"
        " AND (escalated_at IS NULL OR escalated_at <= $2))",
        now,
        again_before,
        list(actions),
    )
    return bool(found)


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
