"""The dispatcher: publishes what is committed, and settles its rows of the outbox. It sends nothing that is not in the outbox.

A notice or forwarded receipt is done when RabbitMQ has confirmed it. A delivery is only offered: its row stays, due again later and later, until a
receipt removes it. What RabbitMQ refused is due again later and later, what did not reach it soon, so that nothing waits long after an outage; both with
jitter. A crash anywhere leaves a row whose lease runs out.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg
import structlog

from broker.amqp.frames import Outgoing
from broker.amqp.publisher import BatchPublisher, Outcome
from broker.amqp.topology import DELIVERY_EXCHANGE, HUB_USER
from broker.delivery.ports import Clock, Observe
from broker.delivery.queues import QueueNames
from broker.store import outbox
from broker.store.outbox import OutboxRow
from broker.store.pool import Connection, translate_errors
from schemas.errors import Conflict, DependencyUnavailable

_log = structlog.get_logger(__name__)


OFFERED = frozenset({"delivery", "ticket"})
"""Kinds that a confirm does not settle: they are offered again until their recipient's receipt is here."""


@dataclass(frozen=True, slots=True)
class DispatchTimes:
    """When what is due again. A retry waits ``retry_first`` doubled each time up to ``retry_most``; an offer likewise; each with jitter.

    While RabbitMQ is away it is ``outage_most``: what was committed for a child in danger must not wait ten minutes more once it is back.
    """

    lease: timedelta = timedelta(seconds=30)
    retry_first: timedelta = timedelta(seconds=2)
    retry_most: timedelta = timedelta(minutes=10)
    outage_most: timedelta = timedelta(seconds=15)
    offer_first: timedelta = timedelta(minutes=10)
    offer_most: timedelta = timedelta(hours=6)

    def after_failure(self, attempts: int) -> timedelta:
        """Return how long to wait after attempt number ``attempts`` (from 0) that RabbitMQ refused."""
        return _backed_off(self.retry_first, self.retry_most, attempts)

    def after_outage(self, attempts: int) -> timedelta:
        """Return how long to wait after attempt number ``attempts`` (from 0) that did not reach RabbitMQ, or whose confirm did not come back."""
        return _backed_off(self.retry_first, self.outage_most, attempts)

    def after_offer(self, offers: int) -> timedelta:
        """Return how long a receipt may take after offer number ``offers`` (from 0) before the delivery is offered again."""
        return _backed_off(self.offer_first, self.offer_most, offers)


class Parcel(NamedTuple):
    """A row of the outbox with the body to publish."""

    row: OutboxRow
    body: bytes

    def __repr__(self) -> str:
        return f"Parcel({self.row!r})"

    @property
    def amqp_id(self) -> str:
        """The AMQP message id: unique among what is in flight, whatever ids senders choose."""
        if self.row.kind == "delivery":
            return f"{self.row.message_id}/{self.row.delivery_id}"
        return f"{self.row.kind}/{self.row.outbox_id}"


class Dispatcher:
    """Publishes parcels over one publisher and settles them."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        publisher: BatchPublisher,
        queues: QueueNames,
        clock: Clock,
        times: DispatchTimes,
        observe: Observe,
    ) -> None:
        """Take the pool, the publisher, queue names, the real clock, intervals and the step hook."""
        self._pool = pool
        self._publisher = publisher
        self._queues = queues
        self._clock = clock
        self._times = times
        self._observe = observe

    async def publish(self, parcels: Sequence[Parcel]) -> int:
        """Publish ``parcels``, whose rows this process holds on lease, and settle them. Return how many RabbitMQ confirmed.

        A broken connection is no error: the rows are due again later.
        """
        outgoing, outcomes = [], {}
        for parcel in parcels:
            queue = self._queues.find(parcel.row.recipient)
            if queue is None:
                outcomes[parcel.amqp_id] = Outcome.UNROUTABLE
                continue
            outgoing.append(
                Outgoing(
                    delivery_id=parcel.amqp_id,
                    exchange=DELIVERY_EXCHANGE,
                    routing_key=queue,
                    body=parcel.body,
                    user_id=HUB_USER,
                    type=parcel.row.kind,
                    sent_at_epoch=int(self._clock().timestamp()),
                )
            )
        try:
            outcomes |= await self._publisher.publish_batch(outgoing)
        except (DependencyUnavailable, Conflict) as error:
            # A conflict: an earlier attempt is still in flight after its lease ran out. Either way the rows are due again.
            _log.warning("dispatch.not-sent", code=error.code, parcels=len(outgoing))
        self._observe("published")
        await self._settle(parcels, outcomes)
        self._observe("settled")
        return sum(1 for outcome in outcomes.values() if outcome is Outcome.CONFIRMED)

    async def _settle(self, parcels: Sequence[Parcel], outcomes: dict[str, Outcome]) -> None:
        now = self._clock()
        done, offered, failed, failed_until = [], [], [], []
        for parcel in parcels:
            row, outcome = parcel.row, outcomes.get(parcel.amqp_id, Outcome.UNKNOWN)
            if outcome is not Outcome.CONFIRMED:
                wait = self._times.after_outage if outcome is Outcome.UNKNOWN else self._times.after_failure
                failed.append(row)
                failed_until.append(now + wait(row.attempts))
            elif row.kind in OFFERED:
                offered.append(row)
            else:
                done.append(row)
        if failed:
            _log.warning("dispatch.not-confirmed", parcels=len(failed))
        with translate_errors():
            async with self._pool.acquire(timeout=10) as connection:
                if done:
                    await outbox.finish(connection, [row.outbox_id for row in done])
                if offered:
                    await self._postpone(
                        connection,
                        offered,
                        [now + self._times.after_offer(row.offers) for row in offered],
                        offered=True,
                    )
                if failed:
                    await self._postpone(connection, failed, failed_until, offered=False)

    async def _postpone(
        self, connection: Connection, rows: Sequence[OutboxRow], due_at: list[datetime], *, offered: bool
    ) -> None:
        await outbox.postpone(connection, [row.outbox_id for row in rows], due_at, offered=offered)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait ``seconds`` (give or take a tenth), or until ``stop``."""
    try:
        await asyncio.wait_for(stop.wait(), timeout=seconds * random.uniform(0.9, 1.1))  # noqa: S311 (jitter, not a secret)
    except TimeoutError:
        return


def _backed_off(first: timedelta, most: timedelta, times: int) -> timedelta:
    jitter = random.uniform(0.75, 1.25)  # noqa: S311 (jitter, not a secret)
    return min(most, first * (1 << min(times, 20))) * jitter
