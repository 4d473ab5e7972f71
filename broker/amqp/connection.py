"""Opening a connection to RabbitMQ, with limits and jitter, and every library error turned into ours.

Publish and consume on separate connections: RabbitMQ stops reading from a connection that publishes during a memory or disk alarm, and with
it the acknowledgements of a consumer on the same connection (rabbitmq.com/docs/connections, "Flow Control").
"""

import asyncio
import random

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, ConnectionParameter
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, AMQPError, AuthenticationError, ProbableAuthenticationError
from yarl import URL

from broker.amqp.properties import tolerate_unreadable_properties
from broker.amqp.settings import AmqpSettings
from schemas.errors import DependencyUnavailable, NotPermitted

_log = structlog.get_logger(__name__)

#: What aio-pika lets through when a connection breaks at an awkward moment.
LINK_ERRORS = (*CONNECTION_EXCEPTIONS, AMQPError, TimeoutError, EOFError)


class BrokerUnavailable(DependencyUnavailable):
    """RabbitMQ does not answer, or the connection broke: try again later."""

    code = "broker-unavailable"
    public_message = "The message broker is not available. Try again in a minute."


class BrokerRefused(NotPermitted):
    """RabbitMQ knows who we are and refuses: no user of the certificate's name."""

    code = "broker-refused"
    public_message = "The message broker does not accept this certificate. Check the enrolment."


class _Connection(aio_pika.Connection):
    """aio-pika's connection, which also passes on the name that the server's certificate must carry."""

    PARAMETERS = (*aio_pika.Connection.PARAMETERS, ConnectionParameter("server_hostname", str, is_kwarg=True))


async def open_connection(settings: AmqpSettings) -> AbstractConnection:
    """Return one open connection within ``connect_timeout_seconds``.

    It is not aio-pika's robust connection: that one reconnects but does not publish again what was lost. Our publisher and consumer open another
    connection themselves, and the outbox sends again.

    Raises:
        BrokerUnavailable: nothing answers, or the virtual host is not open to us (it also is not while a node recovers).
        BrokerRefused: RabbitMQ has no user of the certificate's name.
    """
    tolerate_unreadable_properties()
    url = URL.build(
        scheme="amqps",
        host=settings.host,
        port=settings.port,
        path=f"/{settings.vhost.replace('/', '%2F')}",
        query={"auth": "external", "heartbeat": str(settings.heartbeat_seconds), "name": settings.name},
    )
    try:
        async with asyncio.timeout(settings.connect_timeout_seconds):
            return await aio_pika.connect(
                url,
                ssl_context=settings.tls_context(),
                connection_class=_Connection,
                server_hostname=settings.server_name or settings.host,
            )
    except (AuthenticationError, ProbableAuthenticationError) as error:
        raise BrokerRefused from error
    except LINK_ERRORS as error:
        raise BrokerUnavailable from error


async def open_channel(connection: AbstractConnection, *, confirms: bool, within: float = 10.0) -> AbstractChannel:
    """Open a channel of ``connection``; an unroutable publish on it is an answer, not an exception.

    Raises:
        BrokerUnavailable: the connection broke meanwhile.
    """
    try:
        channel = connection.channel(publisher_confirms=confirms, on_return_raises=False)
        await asyncio.wait_for(channel.initialize(), timeout=within)  # whose own timeout aio-pika ignores
    except LINK_ERRORS as error:
        raise BrokerUnavailable from error
    return channel


async def close_quietly(connection: AbstractConnection | None, *, within: float = 5.0) -> None:
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
