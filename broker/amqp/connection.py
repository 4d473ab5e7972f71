"""Opening a connection to RabbitMQ, with limits and jitter, and every library error turned into ours.

Publish and consume on separate connections: RabbitMQ stops reading from a connection that publishes during a memory or disk alarm, and with
it the acknowledgements of a consumer on the same connection (rabbitmq.com/docs/connections, "Flow Control").
"""

import asyncio
import random
from typing import TypeVar

import structlog
from aiormq.channel import Channel
from aiormq.connection import Connection
from aiormq.exceptions import AMQPError, AuthenticationError, ProbableAuthenticationError
from yarl import URL

from broker.amqp.settings import AmqpSettings
from schemas.errors import DependencyUnavailable, NotPermitted

_log = structlog.get_logger(__name__)

C = TypeVar("C", bound=Channel)

#: The one channel of each connection: frames are marshalled ahead of time, so its number is fixed.
CHANNEL_NUMBER = 1

#: What aiormq lets through when a connection breaks at an awkward moment.
LINK_ERRORS = (AMQPError, OSError, TimeoutError, RuntimeError, EOFError)


class BrokerUnavailable(DependencyUnavailable):
    """RabbitMQ does not answer, or the connection broke: try again later."""

    code = "broker-unavailable"
    public_message = "The message broker is not available. Try again in a minute."


class BrokerRefused(NotPermitted):
    """RabbitMQ knows who we are and refuses: no user of the certificate's name."""

    code = "broker-refused"
    public_message = "The message broker does not accept this certificate. Check the enrolment."


async def open_connection(settings: AmqpSettings) -> Connection:
    """Return one open connection within ``connect_timeout_seconds``.

    Raises:
        BrokerUnavailable: nothing answers, or the virtual host is not open to us (it also is not while a node recovers).
        BrokerRefused: RabbitMQ has no user of the certificate's name.
    """
    url = URL.build(
        scheme="amqps",
        host=settings.host,
        port=settings.port,
        path=f"/{settings.vhost.replace('/', '%2F')}",
        query={"auth": "external", "heartbeat": str(settings.heartbeat_seconds), "name": settings.name},
    )
    connection = Connection(url, context=settings.tls_context(), server_hostname=settings.server_name or settings.host)
    try:
        await asyncio.wait_for(connection.connect(), timeout=settings.connect_timeout_seconds)
    except (AuthenticationError, ProbableAuthenticationError) as error:
        raise BrokerRefused from error
    except LINK_ERRORS as error:
        raise BrokerUnavailable from error
    return connection


async def open_channel(connection: Connection, kind: type[C], *, confirms: bool, within: float = 10.0) -> C:
    """Open our own channel class ``kind`` as channel 1 of ``connection``, which then carries nothing else.

    Raises:
        BrokerUnavailable: the connection broke meanwhile.
    """
    channel = kind(connection, CHANNEL_NUMBER, publisher_confirms=confirms)
    connection.channels[CHANNEL_NUMBER] = channel
    try:
        await channel.open(timeout=within)
    except LINK_ERRORS as error:
        raise BrokerUnavailable from error
    return channel


async def close_quietly(connection: Connection | None, *, within: float = 5.0) -> None:
    """Close ``connection``; a connection that is already broken, or does not answer in time, is simply left."""
    if connection is None or connection.is_closed:
        return
    try:
        await asyncio.wait_for(connection.close(), timeout=within)
    except LINK_ERRORS as error:
        _log.debug("amqp.close-failed", error=type(error).__name__)


def retry_delay(attempt: int, *, base: float = 0.1, ceiling: float = 10.0) -> float:
    """Return seconds to wait before retry number ``attempt`` (from 0): exponential, capped, with full jitter."""
    return random.uniform(base / 2, min(ceiling, base * 2**attempt))  # noqa: S311 (jitter, not a secret)
