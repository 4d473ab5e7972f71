"""Consuming in micro-batches, acknowledged with as few frames as possible.

Up to ``max_messages`` or ``linger`` of waiting, and no wait when idle (DESIGN, "The hot path"). A batch from a connection that has broken
cannot be settled: RabbitMQ hands its messages out again, and the receiver recognises duplicates.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp.commands import Basic

from broker.amqp.connection import (
    LINK_ERRORS,
    BrokerUnavailable,
    close_quietly,
    open_channel,
    open_connection,
    retry_delay,
)
from broker.amqp.settings import AmqpSettings
from schemas.errors import ConfigInvalid

_log = structlog.get_logger(__name__)

#: RabbitMQ scans what is outstanding for each multiple acknowledgement: beyond this it costs more than it saves (DESIGN, RabbitMQ).
MAX_PREFETCH = 512

_SETTLE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message as RabbitMQ handed it over. Everything but ``body`` is a hint: only ``user_id`` is checked, by RabbitMQ.

    Attributes:
        tag: delivery tag on this connection.
        queue: queue it came from.
        body: sealed bytes.
        delivery_id: AMQP message id (``""`` when absent).
        user_id: RabbitMQ user that published it (``None`` when the publisher left it out).
        type: claimed kind of object.
        redelivered: whether it was handed out before.
        delivery_count: how often it was handed out and given back before (quorum queues count).
        routing_key: routing key that it was published with.
        exchange: exchange that it was published to.
        headers: remaining headers (``x-death`` …).
    """

    tag: int
    queue: str
    body: bytes
    delivery_id: str
    user_id: str | None
    type: str | None
    redelivered: bool
    delivery_count: int
    routing_key: str
    exchange: str
    headers: Mapping[str, Any]


class _ConsumeChannel:
    """A channel of aio-pika's with what it has delivered, in order, and what is not settled yet.

    Messages are taken one level below aio-pika, which would make an object and two tasks of each (``docs/decisions/0005``).
    """

    def __init__(self, channel: AbstractChannel, underlay: Channel) -> None:
        self.channel = channel  # aio-pika closes the channel of an object that nobody holds
        self.underlay = underlay
        self.queues: dict[str, str] = {}
        self.inbox: deque[Incoming] = deque()
        self.unsettled: dict[int, None] = {}
        """Delivery tags, oldest first."""
        self.arrived = asyncio.Event()
        self._is_given_up = False

    @classmethod
    async def open(cls, connection: AbstractConnection, queues: Sequence[str], prefetch: int) -> "_ConsumeChannel":
        """Consume ``queues`` on a new channel; raise ``BrokerUnavailable`` or one of ``LINK_ERRORS`` when a queue is not there."""
        channel = await open_channel(connection, confirms=False)
        underlay = await channel.get_underlay_channel()
        if not isinstance(underlay, Channel):
            raise BrokerUnavailable("aio-pika stands on another channel than the one that we know")
        consuming = cls(channel, underlay)
        channel.close_callbacks.add(consuming._on_close)
        underlay.on_consumer_cancel_callbacks.add(consuming.give_up)
        await channel.set_qos(prefetch_count=prefetch, timeout=10)
        for number, name in enumerate(queues):
            tag = f"safelane.{number}"
            consuming.queues[tag] = name
            await underlay.basic_consume(name, consuming._on_message, consumer_tag=tag, timeout=10)
        return consuming

    @property
    def is_closed(self) -> bool:
        """Whether nothing more comes from here, and nothing can be settled."""
        return self._is_given_up or self.channel.is_closed

    async def _on_message(self, message: DeliveredMessage) -> None:
        delivery, properties = message.delivery, message.header.properties
        if not isinstance(delivery, Basic.Deliver):
            return
        tag, headers = delivery.delivery_tag or 0, properties.headers or {}
        count = headers.get("x-delivery-count", 0)
        self.inbox.append(
            Incoming(
                tag=tag,
                queue=self.queues.get(delivery.consumer_tag or "", ""),
                body=message.body,
                delivery_id=properties.message_id or "",
                user_id=properties.user_id or None,
                type=properties.message_type,
                redelivered=bool(delivery.redelivered),
                delivery_count=count if isinstance(count, int) else 0,
                routing_key=delivery.routing_key or "",
                exchange=delivery.exchange or "",
                headers=headers,
            )
        )
        self.unsettled[tag] = None
        self.arrived.set()

    def give_up(self, *_: Any) -> None:
        """Take nothing more from here: RabbitMQ ended a consumer (its queue is gone, or moved), or does not take acknowledgements."""
        self._is_given_up = True
        self.arrived.set()

    def _on_close(self, *_: Any) -> None:
        self.arrived.set()


class IncomingBatch:
    """Messages taken together, and the means to settle them. Settle each message exactly once."""

    __slots__ = ("_channel", "messages")

    def __init__(self, messages: Sequence[Incoming], channel: _ConsumeChannel | None) -> None:
        self.messages = messages
        self._channel = channel

    def __len__(self) -> int:
        return len(self.messages)

    async def ack(self, messages: Iterable[Incoming] | None = None) -> bool:
        """Acknowledge ``messages`` (default: all): after the database has committed, never before.

        Returns ``False`` when the connection is gone, in which case RabbitMQ will hand them out again.
        """
        tags = [message.tag for message in (self.messages if messages is None else messages)]
        channel = self._channel
        if channel is None or channel.is_closed:
            return not tags
        settled = set(tags)
        last = None
        for tag in list(channel.unsettled):  # the oldest run that is settled goes in one frame
            if tag not in settled:
                break
            settled.discard(tag)
            del channel.unsettled[tag]
            last = tag
        single = [tag for tag in sorted(settled) if tag in channel.unsettled]
        for tag in single:
            del channel.unsettled[tag]
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                if last is not None:
                    await channel.underlay.basic_ack(last, multiple=True)
                for tag in single:
                    await channel.underlay.basic_ack(tag)
        except LINK_ERRORS as error:
            channel.give_up()
            _log.warning("amqp.ack-failed", error=type(error).__name__, messages=len(tags))
            return False
        return True

    async def reject(self, messages: Iterable[Incoming], *, requeue: bool) -> bool:
        """Give ``messages`` back (``requeue``) or dead-letter them into quarantine; return as ``ack`` does."""
        channel = self._channel
        if channel is None or channel.is_closed:
            return False
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                for message in messages:
                    if message.tag in channel.unsettled:
                        del channel.unsettled[message.tag]
                        await channel.underlay.basic_nack(message.tag, requeue=requeue)
        except LINK_ERRORS as error:
            channel.give_up()
            _log.warning("amqp.reject-failed", error=type(error).__name__)
            return False
        return True


class BatchConsumer:
    """Consumes one or more queues over one connection of its own, opened when first needed and again after it breaks."""

    def __init__(self, settings: AmqpSettings, queues: Sequence[str], *, prefetch: int = 256) -> None:
        """Keep ``settings``; nothing is opened yet.

        ``prefetch`` bounds each queue's unsettled messages; that of all queues together is at most ``MAX_PREFETCH``.
        """
        if not queues or not 1 <= prefetch * len(queues) <= MAX_PREFETCH:
            raise ConfigInvalid(f"prefetch times queues is from 1 to {MAX_PREFETCH}", field="amqp.prefetch")
        self._settings = settings
        self._queues = tuple(queues)
        self._prefetch = prefetch
        self._connection: AbstractConnection | None = None
        self._channel: _ConsumeChannel | None = None
        self._failures = 0

    async def next_batch(self, *, max_messages: int = 64, linger: float = 0.002, within: float = 1.0) -> IncomingBatch:
        """Return up to ``max_messages``: what is there, plus what arrives within ``linger`` seconds of the first.

        The batch is empty when nothing arrives ``within`` so many seconds. A broken connection is opened again first.

        Raises:
            BrokerUnavailable: RabbitMQ could not be reached, or a queue is not there; call again (this waits before the next attempt).
            BrokerRefused: RabbitMQ has no user of our certificate's name.
        """
        channel = await self._ensure_channel()
        inbox = channel.inbox
        if not inbox and not await self._wait_arrival(channel, within):
            return IncomingBatch((), channel)
        clock = asyncio.get_running_loop().time
        deadline = clock() + linger
        while len(inbox) < max_messages and (left := deadline - clock()) > 0:
            if not await self._wait_arrival(channel, left):
                break
        return IncomingBatch([inbox.popleft() for _ in range(min(max_messages, len(inbox)))], channel)

    @property
    def is_connected(self) -> bool:
        """Whether a channel is open at this moment."""
        return self._channel is not None and not self._channel.is_closed

    async def close(self) -> None:
        """Close the connection; RabbitMQ hands out again what is not settled."""
        self._channel = None
        connection, self._connection = self._connection, None
        await close_quietly(connection)

    @staticmethod
    async def _wait_arrival(channel: _ConsumeChannel, seconds: float) -> bool:
        channel.arrived.clear()
        try:
            await asyncio.wait_for(channel.arrived.wait(), seconds)
        except TimeoutError:
            return False
        return not channel.is_closed

    async def _ensure_channel(self) -> _ConsumeChannel:
        if self._channel is not None and not self._channel.is_closed:
            return self._channel
        await self.close()
        if self._failures:
            await asyncio.sleep(retry_delay(self._failures))
        self._failures = min(self._failures + 1, 10)
        self._connection = await open_connection(self._settings)
        try:
            channel = await _ConsumeChannel.open(self._connection, self._queues, self._prefetch)
        except LINK_ERRORS as error:
            await self.close()
            raise BrokerUnavailable from error
        self._failures = 0
        self._channel = channel
        return channel
