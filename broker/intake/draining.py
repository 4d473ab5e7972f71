"""Draining RabbitMQ's quarantine queue into the database: what was handed out too often, or refused by a recipient's gateway, waits for a person there.

A delivery that a recipient's gateway refused stays in the outbox too: it is offered again, whatever becomes of this copy.
"""

import asyncio

import structlog

from broker.amqp.consumer import BatchConsumer
from broker.delivery.dispatch import Dispatcher, pause
from broker.intake.batch import Intake
from schemas.errors import DependencyUnavailable

_log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 16


class Drainer:
    """Moves dead letters into quarantine, each logged, and acknowledges them after COMMIT."""

    def __init__(self, consumer: BatchConsumer, intake: Intake, dispatcher: Dispatcher) -> None:
        """Take a consumer of the quarantine queue alone."""
        self._consumer = consumer
        self._intake = intake
        self._dispatcher = dispatcher

    async def run(self, stop: asyncio.Event) -> None:
        """Drain until ``stop``."""
        while not stop.is_set():
            try:
                count = await self.drain_once()
            except DependencyUnavailable as error:
                _log.warning("drain.interrupted", code=error.code)
                await pause(stop, 2.0)
            else:
                if count:
                    _log.error("drain.dead-letters", messages=count)

    async def drain_once(self) -> int:
        """Move one batch and return how many messages that were."""
        batch = await self._consumer.next_batch(max_messages=_MOST_AT_ONCE, within=0.5)
        if not batch.messages:
            return 0
        try:
            taken = await self._intake.condemn(batch.messages)
        except DependencyUnavailable:
            await batch.reject(batch.messages, requeue=True)
            raise
        await batch.ack(batch.messages)
        await self._dispatcher.publish(taken.parcels)
        return len(batch.messages)
