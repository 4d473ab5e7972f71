"""What RabbitMQ says of a queue: how much waits in it, and how many take from it."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from broker.amqp.connection import LINK_ERRORS, BrokerUnavailable, close_quietly, open_channel, open_connection
from broker.amqp.settings import AmqpSettings

_ANSWER_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class QueueState:
    """One look at a queue. ``waiting`` counts what nobody has taken yet, ``consumers`` who takes from it now."""

    waiting: int
    consumers: int


async def read_queues(settings: AmqpSettings, queues: Iterable[str]) -> dict[str, QueueState | None]:
    """Return the state of each of ``queues`` over one connection, ``None`` for one that does not exist.

    Raises:
        BrokerUnavailable: RabbitMQ does not answer.
    """
    connection = await open_connection(settings)
    try:
        return {queue: await look_at_queue(connection, queue) for queue in queues}
    except LINK_ERRORS as error:
        raise BrokerUnavailable from error
    finally:
        await close_quietly(connection)


async def read_queue(settings: AmqpSettings, queue: str) -> QueueState | None:
    """Return the state of one queue; see ``read_queues``."""
    return (await read_queues(settings, [queue]))[queue]


async def look_at_queue(connection: AbstractConnection, queue: str) -> QueueState | None:
    """Return the state of ``queue``, or ``None`` when it does not exist (RabbitMQ then closes the channel, so it has its own)."""
    channel = await open_channel(connection, confirms=False)
    try:
        found = (await channel.declare_queue(queue, passive=True, timeout=_ANSWER_SECONDS)).declaration_result
    except ChannelNotFoundEntity:
        return None
    await asyncio.wait_for(channel.close(), timeout=_ANSWER_SECONDS)
    return QueueState(found.message_count or 0, found.consumer_count or 0)
