"""Replays: what a person sends back from quarantine goes through intake again, as who sent it then (RabbitMQ validated the user when it came)."""

import asyncio

import asyncpg
import structlog

from broker.amqp.consumer import Incoming
from broker.delivery.dispatch import Dispatcher, pause
from broker.intake.batch import Intake
from broker.store import reviews
from broker.store.pool import translate_errors
from schemas.errors import DependencyUnavailable

_log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 16


class Replayer:
    """Takes messages in that were marked for replay. A message that is refused again is open in quarantine again."""

    def __init__(self, pool: asyncpg.Pool, intake: Intake, dispatcher: Dispatcher) -> None:
        """Keep what it works with."""
        self._pool = pool
        self._intake = intake
        self._dispatcher = dispatcher

    async def run(self, stop: asyncio.Event, *, every_seconds: float) -> None:
        """Replay until ``stop``."""
        while not stop.is_set():
            try:
                await self.replay_once()
            except DependencyUnavailable as error:
                _log.warning("replay.interrupted", code=error.code)
            await pause(stop, every_seconds)

    async def replay_once(self) -> int:
        """Replay what is marked and return how many messages that were. A crash in between replays again, with one effect."""
        with translate_errors():
            async with self._pool.acquire(timeout=10) as connection:
                rows = await reviews.list_replaying(connection, _MOST_AT_ONCE)
        for row in rows:
            message = Incoming(
                tag=0,
                queue=row["queue"],
                body=row["body"],
                delivery_id=row["claimed_id"],
                user_id=row["user_id"],
                type=row["type"] or None,
                redelivered=True,
                delivery_count=100,  # a replay is not deferred again
                routing_key="",
                exchange="",
                headers={},
            )
            taken = await self._intake.take([message])
            with translate_errors():
                async with self._pool.acquire(timeout=10) as connection:
                    await reviews.finish_replay(connection, row["quarantine_id"])
            await self._dispatcher.publish(taken.parcels)
        return len(rows)
