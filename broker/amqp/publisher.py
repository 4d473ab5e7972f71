"""Publishing a batch with confirms: one write, one wait, and an outcome for every message.

``publish_batch`` never retries: the outbox does, from what it stored, so that a retry sends the same bytes (DESIGN, "Nothing is silently
dropped"). An outcome of ``UNKNOWN`` means that the message may or may not have arrived; the receiver recognises a duplicate.
"""

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import structlog
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.connection import Connection
from pamqp import commands as spec
from pamqp.header import ContentHeader

from broker.amqp.connection import (
    CHANNEL_NUMBER,
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
    """A batch on its way: outcomes so far and a future for the last."""

    __slots__ = ("done", "outcomes", "waiting")

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.waiting = size
        self.done: asyncio.Future[None] = loop.create_future()

    def settle(self, delivery_id: str, outcome: Outcome) -> None:
        """Record an outcome; a return stays a return when its positive confirm follows."""
        self.outcomes.setdefault(delivery_id, outcome)
        self.waiting -= 1
        if self.waiting == 0 and not self.done.done():
            self.done.set_result(None)


class PublishChannel(Channel):
    """A channel that keeps confirms of whole batches, without a future per message.

    aiormq scans every outstanding confirm for each multiple acknowledgement; here tags are settled from the oldest on, once each.
    """

    def __init__(self, connector: Connection, number: int, **options: Any) -> None:
        super().__init__(connector, number, **options)
        self._flying: dict[int, tuple[_Flight, str]] = {}
        self._tag_of: dict[str, int] = {}
        self._sending = asyncio.Lock()

    async def launch(self, messages: Sequence[Outgoing]) -> _Flight:
        """Write ``messages`` to the connection and return their flight.

        Raises:
            Conflict: a delivery id is in flight already, or twice in the batch.
        """
        frame_max = self.connection.connection_tune.frame_max
        async with self._sending:  # tags must be given out in the order in which bytes are queued
            ids = {message.delivery_id for message in messages}
            if len(ids) != len(messages) or not ids.isdisjoint(self._tag_of):
                raise Conflict("a delivery id is in flight already", field="delivery_id")
            payload = b"".join([marshal_publish(m, channel=CHANNEL_NUMBER, frame_max=frame_max) for m in messages])
            flight = _Flight(len(messages), self.loop)
            for message in messages:
                self.delivery_tag += 1
                self._flying[self.delivery_tag] = (flight, message.delivery_id)
                self._tag_of[message.delivery_id] = self.delivery_tag
            await self.write_queue.put(ChannelFrame(payload=payload, should_close=False))
        return flight

    def _settle_tag(self, tag: int, outcome: Outcome) -> None:
        entry = self._flying.pop(tag, None)
        if entry is None:
            return
        flight, delivery_id = entry
        self._tag_of.pop(delivery_id, None)
        flight.settle(delivery_id, outcome)

    async def _on_confirm_frame(self, frame: spec.Basic.Ack | spec.Basic.Nack | spec.Basic.Reject) -> None:
        outcome = Outcome.CONFIRMED if isinstance(frame, spec.Basic.Ack) else Outcome.REFUSED
        last = frame.delivery_tag or 0
        if getattr(frame, "multiple", False):
            for tag in list(self._flying):  # insertion order is tag order
                if tag > last:
                    break
                self._settle_tag(tag, outcome)
        else:
            self._settle_tag(last, outcome)

    async def _on_return_frame(self, frame: spec.Basic.Return) -> None:
        header = await self._get_frame()
        if not isinstance(header, ContentHeader):
            raise BrokerUnavailable("RabbitMQ returned a message without its header")
        await self._read_content(frame, header)
        tag = self._tag_of.get(header.properties.message_id or "")
        if tag is not None:
            flight, delivery_id = self._flying[tag]
            flight.outcomes[delivery_id] = Outcome.UNROUTABLE  # its confirm comes next and settles it

    def abandon(self) -> None:
        """Settle everything in flight as unknown: the channel is gone."""
        for tag in list(self._flying):
            self._settle_tag(tag, Outcome.UNKNOWN)


class BatchPublisher:
    """Publishes batches over one connection of its own, opened when first needed and again after it breaks.

    Several batches may be in flight at once. Use one per process and event loop.
    """

    def __init__(self, settings: AmqpSettings, *, confirm_timeout: float = 30.0) -> None:
        """Keep ``settings``; nothing is opened yet. ``confirm_timeout`` (seconds) bounds each batch, as alarms block publishers for ever."""
        self._settings = settings
        self._confirm_timeout = confirm_timeout
        self._connection: Connection | None = None
        self._channel: PublishChannel | None = None
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
        try:
            flight = await asyncio.wait_for(channel.launch(messages), timeout=self._confirm_timeout)
        except LINK_ERRORS as error:
            await self._drop(channel)
            _log.warning("amqp.publish-write-failed", error=type(error).__name__, messages=len(messages))
            return {message.delivery_id: Outcome.UNKNOWN for message in messages}
        if channel.is_closed:
            channel.abandon()  # it closed while the batch was being queued
        try:
            await asyncio.wait_for(asyncio.shield(flight.done), timeout=self._confirm_timeout)
        except TimeoutError:
            _log.warning("amqp.confirm-timeout", missing=flight.waiting, messages=len(messages))
            await self._drop(channel)
        return {message.delivery_id: flight.outcomes.get(message.delivery_id, Outcome.UNKNOWN) for message in messages}

    async def ensure_connected(self) -> None:
        """Open the connection if there is none; raise ``BrokerUnavailable`` or ``BrokerRefused`` when that fails."""
        await self._ensure_channel()

    @property
    def is_connected(self) -> bool:
        """Whether a channel is open at this moment."""
        return self._channel is not None and not self._channel.is_closed

    async def close(self) -> None:
        """Close the connection; what is in flight ends as unknown."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.abandon()
        connection, self._connection = self._connection, None
        await close_quietly(connection)

    async def _ensure_channel(self) -> PublishChannel:
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
                channel = await open_channel(self._connection, PublishChannel, confirms=True)
            except BrokerUnavailable:
                self._retry_at = loop.time() + retry_delay(self._failures)
                self._failures = min(self._failures + 1, 10)
                raise
            self._failures, self._retry_at = 0, 0.0
            channel.closing.add_done_callback(lambda _: channel.abandon())
            self._channel = channel
            return channel

    async def _drop(self, channel: PublishChannel) -> None:
        channel.abandon()
        if self._channel is channel:
            connection, self._connection, self._channel = self._connection, None, None
            await close_quietly(connection)
