"""The worker's loop: take from the intake queues, commit, ack, publish.

While one batch waits for PostgreSQL or for confirms, the next is read and verified: a bounded number of batches is under way, and a batch is acked only
after its COMMIT. A dependency that is away stops nothing for good: what is not committed is not acked, and RabbitMQ hands it out again.
"""

import asyncio
import itertools

import structlog

from broker.amqp.connection import retry_delay
from broker.amqp.consumer import BatchConsumer, IncomingBatch
from broker.delivery.dispatch import Dispatcher, Parcel, pause
from broker.delivery.ports import Observe
from broker.intake.batch import Intake, Taken
from broker.intake.refusals import Stuck
from schemas.errors import DependencyUnavailable, IntegrityBroken

_log = structlog.get_logger(__name__)


class IntakeLoop:
    """Moves batches until it is told to stop."""

    def __init__(
        self,
        *,
        consumer: BatchConsumer,
        intake: Intake,
        dispatcher: Dispatcher,
        observe: Observe,
        batch_messages: int,
        batch_linger_seconds: float,
        most_under_way: int,
    ) -> None:
        """Keep what it works with; ``most_under_way`` bounds batches being committed, and batches being published, each."""
        self._consumer = consumer
        self._intake = intake
        self._dispatcher = dispatcher
        self._observe = observe
        self._batch_messages = batch_messages
        self._linger = batch_linger_seconds
        self._committing = asyncio.Semaphore(most_under_way)
        self._publishing = asyncio.Semaphore(most_under_way)
        self._stop = asyncio.Event()
        self.taken = 0
        """Messages committed and acked since the start."""
        self._publications = 0

    @property
    def idle(self) -> bool:
        """Whether nothing but the one publication that asks is under way."""
        return self._publications <= 1

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop``; then finish what is under way.

        Raises:
            IntegrityBroken: something must not be released on; the process must end and be looked at.
        """
        self._stop = stop
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                await self._committing.acquire()
                try:
                    batch = await self._next_batch(stop)
                except BaseException:
                    self._committing.release()
                    raise
                if batch is None:
                    self._committing.release()
                    continue
                tasks.create_task(self._move(batch, tasks))

    async def _next_batch(self, stop: asyncio.Event) -> IncomingBatch | None:
        try:
            batch = await self._consumer.next_batch(max_messages=self._batch_messages, linger=self._linger, within=0.5)
        except DependencyUnavailable as error:
            _log.warning("intake.broker-unavailable", code=error.code)
            await asyncio.sleep(0 if stop.is_set() else retry_delay(0))
            return None
        return batch if batch.messages else None

    async def _move(self, batch: IncomingBatch, tasks: asyncio.TaskGroup) -> None:
        try:
            parcels = await self._commit(batch)
            if parcels:
                # Only then may another batch be committed: what waits to be published is bounded too.
                self._publications += 1
                await self._publishing.acquire()
                tasks.create_task(self._publish(parcels))
        finally:
            self._committing.release()

    async def _commit(self, batch: IncomingBatch) -> list[Parcel]:
        self._observe("received")
        taken = await self._take(batch)
        if taken is None:
            await batch.reject(batch.messages, requeue=True)
            return []
        later = {message.tag for message in taken.deferred}
        await batch.ack([message for message in batch.messages if message.tag not in later])
        self._observe("acked")
        if taken.deferred:
            await batch.reject(taken.deferred, requeue=True)
        self.taken += len(batch.messages) - len(later)
        return taken.parcels

    async def _take(self, batch: IncomingBatch) -> Taken | None:
        """Take a batch in, however long a dependency is away; none if it must be handed out again.

        A batch is kept, not given back, while PostgreSQL or the directory is away: RabbitMQ counts hand-outs, and an outage must not send
        referrals to quarantine. What fails for a reason of its own is given back, so that the count ends it.
        """
        for attempt in itertools.count():
            try:
                return await self._intake.take(batch.messages)
            except Stuck as error:
                _log.error("intake.stuck", code=error.code, messages=len(batch.messages))
                await pause(self._stop, retry_delay(0, base=1.0))
                return None
            except DependencyUnavailable as error:
                _log.warning("intake.waiting", code=error.code, messages=len(batch.messages), attempt=attempt)
                if self._stop.is_set():
                    return None
                await pause(self._stop, retry_delay(min(attempt, 6), base=0.25, ceiling=15.0))
            except IntegrityBroken as error:
                _log.critical("intake.integrity-broken", code=error.code, field=error.field)
                await batch.reject(batch.messages, requeue=True)
                raise
        return None

    async def _publish(self, parcels: list[Parcel]) -> None:
        try:
            await self._dispatcher.publish(parcels)
        except DependencyUnavailable as error:
            _log.warning("intake.publish-interrupted", code=error.code, parcels=len(parcels))
        finally:
            self._publications -= 1
            self._publishing.release()
