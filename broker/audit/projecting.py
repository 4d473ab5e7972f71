"""The projector: reads the log in order and keeps tables that can be searched. The log's payloads are bytes that no index can filter.

A batch is applied to a projection in the same transaction that moves its cursor, under one advisory lock for all processes: a kill at any instant
repeats the batch or has done it. Positions are gap-free and appear in order (``broker.log.append``), so that nothing is ever passed over.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

import asyncpg
import orjson
import structlog

from broker.store.pool import Connection, translate_errors
from schemas.errors import DependencyUnavailable, NotFound

PROJECTOR_LOCK: Final = 0x5AFE_A0D1
"""Advisory lock of the transaction that applies a batch, and of the one that erases payloads."""
BATCH_EVENTS: Final = 1000
POLL_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 5.0

_log = structlog.get_logger("safelane.audit")


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One entry of the log. ``members`` is the parsed event, none once its payload was erased; ``at`` is the instant of logging."""

    position: int
    event_id: UUID
    kind: str
    at: datetime
    members: Mapping[str, Any] | None = field(repr=False)


class Projection(Protocol):
    """A table, or several, made from the log's events alone, so that it can be made again."""

    @property
    def name(self) -> str:
        """Its name, for its cursor and for operators."""

    async def apply(self, connection: Connection, events: Sequence[LoggedEvent]) -> None:
        """Take in the next events, in order of position, within the caller's transaction."""

    async def clear(self, connection: Connection) -> None:
        """Remove everything, within the caller's transaction, before it is made again from position 0."""


@dataclass(frozen=True, slots=True)
class ProjectionState:
    """How far a projection is: every event below ``position`` is in it, the last of them logged at ``at``; the log holds ``log_size``."""

    name: str
    position: int
    at: datetime | None
    log_size: int
    log_at: datetime | None

    @property
    def behind(self) -> int:
        """Events that are logged and not yet in the projection."""
        return max(0, self.log_size - self.position)

    def lag_seconds(self) -> float:
        """Return how much older the last event taken in is than the log's last; 0 when nothing is missing."""
        if not self.behind or self.log_at is None or self.at is None:
            return 0.0
        return max(0.0, (self.log_at - self.at).total_seconds())


class Projector:
    """Applies registered projections. Any number of processes may run one: each batch is done by whichever has the lock."""

    def __init__(
        self, pool: asyncpg.Pool, projections: Sequence[Projection], *, batch_events: int = BATCH_EVENTS
    ) -> None:
        """Take a pool whose role may write the projections' tables, and the projections."""
        self._pool = pool
        self.projections = tuple(projections)
        self._batch_events = batch_events

    async def run(self) -> None:
        """Project until cancelled. What a dependency or a fault interrupts is tried again; how far behind it is shows in ``read_projections``."""
        while True:
            try:
                pause = 0.0 if await self.project_once() else POLL_SECONDS
            except DependencyUnavailable as error:
                _log.warning("audit.projection_postponed", code=error.code)
                pause = _PAUSE_SECONDS
            except asyncpg.PostgresError as error:
                _log.error("audit.projection_failed", exception=type(error).__name__)
                pause = _PAUSE_SECONDS
            await asyncio.sleep(pause)

    async def project_once(self) -> int:
        """Apply one batch to each projection that is behind; return how many events that were: none when nothing is new, or another has the lock.

        Raises:
            StoreUnavailable: PostgreSQL does not answer.
        """
        done = 0
        for projection in self.projections:
            with translate_errors():
                async with self._pool.acquire(timeout=10) as connection:
                    done += await self._apply_batch(connection, projection)
        return done

    async def catch_up(self) -> int:
        """Apply batches until nothing is new; return how many events that were."""
        total = 0
        while done := await self.project_once():
            total += done
        return total

    async def rebuild(self, name: str) -> None:
        """Empty one projection and put its cursor back to 0; ``project_once`` fills it again.

        Raises:
            NotFound: there is no such projection.
        """
        projection = next((p for p in self.projections if p.name == name), None)
        if projection is None:
            raise NotFound("there is no such projection", field="projection")
        with translate_errors():
            async with self._pool.acquire(timeout=10) as connection, connection.transaction():
                # Waits for the batch under way; the statement after it sees what that batch did.
                await connection.fetchval("SELECT pg_advisory_xact_lock($1)", PROJECTOR_LOCK)
                await projection.clear(connection)
                await connection.execute("DELETE FROM projection_cursors WHERE name = $1", name)

    async def _apply_batch(self, connection: Connection, projection: Projection) -> int:
        if not await _is_behind(connection, projection.name):
            return 0
        async with connection.transaction():
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", PROJECTOR_LOCK):
                return 0
            first = await _read_position(connection, projection.name)
            events = await _read_events(connection, first, self._batch_events)
            if events:
                await projection.apply(connection, events)
                await connection.execute(
                    "INSERT INTO projection_cursors (name, position, at) VALUES ($1, $2, $3)"
                    " ON CONFLICT (name) DO UPDATE SET position = excluded.position, at = excluded.at",
                    projection.name,
                    events[-1].position + 1,
                    events[-1].at,
                )
            return len(events)


async def read_projections(connection: Connection, names: Sequence[str]) -> list[ProjectionState]:
    """Return how far these projections are, in the order of ``names``."""
    rows = await connection.fetch(
        "SELECT n.name, coalesce(c.position, 0) AS position, c.at, coalesce(l.size, 0) AS size, l.at AS log_at"
        " FROM unnest($1::text[]) WITH ORDINALITY AS n (name, number) LEFT JOIN projection_cursors c USING (name)"
        " LEFT JOIN (SELECT size, at FROM log_checkpoints ORDER BY size DESC LIMIT 1) l ON true ORDER BY n.number",
        list(names),
    )
    return [ProjectionState(row["name"], row["position"], row["at"], row["size"], row["log_at"]) for row in rows]


async def _is_behind(connection: Connection, name: str) -> bool:
    (state,) = await read_projections(connection, [name])
    return state.behind > 0


async def _read_position(connection: Connection, name: str) -> int:
    found = await connection.fetchval("SELECT position FROM projection_cursors WHERE name = $1", name)
    return int(found or 0)


async def _read_events(connection: Connection, first: int, count: int) -> list[LoggedEvent]:
    rows = await connection.fetch(
        "SELECT e.position, e.event_id, e.kind, e.at, p.event FROM log_entries e LEFT JOIN log_payloads p USING (event_id)"
        " WHERE e.position >= $1 AND e.position < $2 ORDER BY e.position",
        first,
        first + count,
    )
    return [
        LoggedEvent(
            position=row["position"],
            event_id=row["event_id"],
            kind=row["kind"],
            at=row["at"],
            members=orjson.loads(row["event"]) if row["event"] else None,
        )
        for row in rows
    ]
