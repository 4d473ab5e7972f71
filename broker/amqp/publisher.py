"""Publishing a batch with confirms: one write, one wait, and an outcome for every message.

``publish_batch`` never retries: the outbox does, from what it stored, so that a retry sends the same bytes (DESIGN, "Nothing is silently
dropped"). An outcome of ``UNKNOWN`` means that the message may or may not have arrived; the receiver recognises a duplicate.

Connection and channel are aio-pika's. Only the publish itself goes one level down, to the channel under it, whose table of confirms it fills and
whose write queue it feeds with frames marshalled ahead; ``docs/decisions/0005-publish-below-aio-pika.md`` has the reason, in figures.
"""

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import Any

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import DeliveryError
from aiormq.abc import ChannelFrame, DeliveredMessage
from aiormq.channel import Channel

from broker.amqp.connection import (
    LINK_ERRORS,
    BrokerUnavailable,
    close_quietly,
    open_channel,
    open_connection,
    retry_delay,
)
from broker.amqp.frames import Outgoing, marshal_publish
from broker.amqp.settings import AmqpSettings
from schemas.errors import Conflict

_log = structlog.get_logger(__name__)

_WRITE_BYTES = 1 << 19
"""A batch is megabytes. Encrypted in one piece, it went through TLS's buffers at the speed of memory; pieces of this size stay in a processor's cache."""


class Outcome(StrEnum):
    """What became of one published message."""

    CONFIRMED = "confirmed"
    """RabbitMQ has it on disk on a quorum of nodes."""
    UNROUTABLE = "unroutable"
    """No queue is bound for it: nothing was stored."""
    REFUSED = "refused"
    """RabbitMQ answered with a negative confirm (queue full, queue leader lost): nothing was stored; try later."""
    UNKNOWN = "unknown"
    """The connection broke or time ran out before the answer: send the same bytes again."""


class _Flight:
    """A batch on its way: outcomes so far, and a future for the last."""

    __slots__ = ("done", "outcomes", "waiting")

    def __init__(self, size: int, done: "asyncio.Future[None]") -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.waiting = size
        self.done = done

    def settle(self, delivery_id: str, outcome: Outcome) -> None:
        """Record an outcome, and wake the waiter after the last."""
        self.outcomes[delivery_id] = outcome
        self.waiting -= 1
        if self.waiting == 0 and not self.done.done():
            self.done.set_result(None)


class _PublishChannel:
    """The channel under one of aio-pika's, and what is in flight on it."""

    def __init__(self, channel: AbstractChannel, underlay: Channel) -> None:
        self._channel = channel  # aio-pika closes the channel of an object that nobody holds
        self._underlay = underlay
        self._flying: dict[str, asyncio.Future[Any]] = {}
        self._sending = asyncio.Lock()
        underlay.closing.add_done_callback(self._abandon)

    @classmethod
    async def open(cls, connection: AbstractConnection) -> "_PublishChannel":
        """Open a confirming channel; raise ``BrokerUnavailable`` when the connection broke meanwhile."""
        channel = await open_channel(connection, confirms=True)
        underlay = await channel.get_underlay_channel()
        if not isinstance(underlay, Channel):
            raise BrokerUnavailable("aio-pika stands on another channel than the one that we know")
        return cls(channel, underlay)

    @property
    def is_closed(self) -> bool:
        """Whether nothing more can be published here."""
        return self._underlay.is_closed

    async def launch(self, messages: Sequence[Outgoing]) -> _Flight:
        """Write ``messages`` to the connection and return their flight.

        Raises:
            Conflict: a delivery id is in flight already, or twice in the batch.
        """
        underlay, loop = self._underlay, self._underlay.loop
        frame_max = underlay.connection.connection_tune.frame_max
        async with self._sending:  # tags must be given out in the order in which bytes are queued
            ids = {message.delivery_id for message in messages}
            if len(ids) != len(messages) or not ids.isdisjoint(self._flying):
                raise Conflict("a delivery id is in flight already", field="delivery_id")
            payloads = _join_frames(messages, channel=underlay.number, frame_max=frame_max)
            flight = _Flight(len(messages), loop.create_future())
            for delivery_id in [message.delivery_id for message in messages]:
                confirm = self._flying[delivery_id] = loop.create_future()
                confirm.add_done_callback(partial(self._land, flight, delivery_id))
                underlay.delivery_tag += 1
                underlay.confirmations[underlay.delivery_tag] = confirm
                underlay.message_id_delivery_tag[delivery_id] = underlay.delivery_tag
            for payload in payloads:
                await underlay.write_queue.put(ChannelFrame(payload=payload, should_close=False))
        if self.is_closed:
            self._abandon()  # it closed while the batch was being queued
        return flight

    def _land(self, flight: _Flight, delivery_id: str, confirm: "asyncio.Future[Any]") -> None:
        del self._flying[delivery_id]
        self._underlay.message_id_delivery_tag.pop(delivery_id, None)
        flight.settle(delivery_id, _read_outcome(confirm))

    def _abandon(self, *_: object) -> None:
        """Settle everything in flight as unknown: the channel is gone."""
        for confirm in list(self._flying.values()):
            confirm.cancel()


def _join_frames(messages: Sequence[Outgoing], *, channel: int, frame_max: int) -> list[bytes]:
    """Return the frames of ``messages``, in order, joined to few writes of about ``_WRITE_BYTES`` each."""
    payloads: list[bytes] = []
    pieces: list[bytes] = []
    size = 0
    for message in messages:
        pieces += marshal_publish(message, channel=channel, frame_max=frame_max)
        size += len(message.body)
        if size >= _WRITE_BYTES:
            payloads.append(b"".join(pieces))
            pieces, size = [], 0
    return [*payloads, b"".join(pieces)] if pieces else payloads


def _read_outcome(confirm: "asyncio.Future[Any]") -> Outcome:
    if confirm.cancelled():
        return Outcome.UNKNOWN
    if (error := confirm.exception()) is not None:
        return Outcome.REFUSED if isinstance(error, DeliveryError) else Outcome.UNKNOWN
    return Outcome.UNROUTABLE if isinstance(confirm.result(), DeliveredMessage) else Outcome.CONFIRMED


class BatchPublisher:
    """Publishes batches over one connection of its own, opened when first needed and again after it breaks.

    Several batches may be in flight at once. Use one per process and event loop.
    """

    def __init__(self, settings: AmqpSettings, *, confirm_timeout: float = 20.0) -> None:
        """Keep ``settings``; nothing is opened yet. ``confirm_timeout`` (seconds) bounds each batch, as alarms block publishers for ever."""
        self._settings = settings
        self._confirm_timeout = confirm_timeout
        self._connection: AbstractConnection | None = None
        self._channel: _PublishChannel | None = None
        self._opening = asyncio.Lock()
        self._failures = 0
        self._retry_at = 0.0

    async def publish_batch(self, messages: Sequence[Outgoing]) -> dict[str, Outcome]:
        """Publish ``messages`` and return the outcome of each by delivery id.

        Raises:
            BrokerUnavailable: no connection could be had: nothing of the batch was sent.
            BrokerRefused: RabbitMQ has no user of our certificate's name.
            Conflict: a delivery id is in flight already: nothing of the batch was sent.
        """
        if not messages:
            return {}
        channel = await self._ensure_channel()
        flight: _Flight | None = None
        try:
            async with asyncio.timeout(self._confirm_timeout):
                flight = await channel.launch(messages)
                await asyncio.shield(flight.done)
        except LINK_ERRORS as error:
            waiting = flight.waiting if flight else len(messages)
            _log.warning("amqp.publish-unsure", error=type(error).__name__, waiting=waiting, messages=len(messages))
            await self._drop(channel)
        outcomes = flight.outcomes if flight else {}
        return {message.delivery_id: outcomes.get(message.delivery_id, Outcome.UNKNOWN) for message in messages}

    async def ensure_connected(self) -> None:
        """Open the connection if there is none; raise ``BrokerUnavailable`` or ``BrokerRefused`` when that fails."""
        await self._ensure_channel()

    @property
    def is_connected(self) -> bool:
        """Whether a channel is open at this moment."""
        return self._channel is not None and not self._channel.is_closed

    async def close(self) -> None:
        """Close the connection; what is in flight ends as unknown."""
        self._channel = None
        connection, self._connection = self._connection, None
        await close_quietly(connection)

    async def _ensure_channel(self) -> _PublishChannel:
        if self._channel is not None and not self._channel.is_closed:
            return self._channel
        async with self._opening:
            if self._channel is not None and not self._channel.is_closed:
                return self._channel
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._retry_at - loop.time()))
            await close_quietly(self._connection)
            self._connection = None
            try:
                self._connection = await open_connection(self._settings)
                channel = await _PublishChannel.open(self._connection)
            except BrokerUnavailable:
                self._retry_at = loop.time() + retry_delay(self._failures)
                self._failures = min(self._failures + 1, 10)
                raise
            self._failures, self._retry_at = 0, 0.0
            self._channel = channel
            return channel

    async def _drop(self, channel: _PublishChannel) -> None:
        if self._channel is channel:
            connection, self._connection, self._channel = self._connection, None, None
            await close_quietly(connection)
