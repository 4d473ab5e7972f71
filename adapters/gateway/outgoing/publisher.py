"""Publishing to the intake exchange: confirmed, mandatory, persistent, under our own user and topic. What is published was stored before.

A confirm says that RabbitMQ has the message on disk; it does not say that the hub accepted it. Whoever calls keeps the bytes until there is proof.
"""

import asyncio
from datetime import timedelta

from broker.amqp.frames import Outgoing
from broker.amqp.publisher import BatchPublisher, Outcome
from broker.amqp.settings import AmqpSettings
from broker.amqp.topology import INTAKE_EXCHANGE, intake_routing_key
from schemas.errors import DependencyUnavailable, Undeliverable

CONTENT_TYPE = "application/safelane+json"


class Publisher:
    """The one way out of a gateway for one agency. Use within one event loop."""

    def __init__(self, agency: str, settings: AmqpSettings, *, timeout: timedelta = timedelta(seconds=15)) -> None:
        """Keep the settings; the connection is opened at the first publish and again after it breaks."""
        self._agency = agency
        self._timeout = timeout
        self._batches = BatchPublisher(settings, confirm_timeout=timeout.total_seconds())

    async def publish(self, message_type: str, body: bytes, message_id: str, *, urgent: bool = False) -> None:
        """Publish one stored message and wait for its confirm. Publishing the same bytes again is safe: the hub knows the message id.

        Raises:
            DependencyUnavailable: no confirm came (connection, alarm, full queue, timeout): the message may or may not have arrived.
            Undeliverable: RabbitMQ has no queue for it: the hub's topology is missing.
        """
        message = Outgoing(
            exchange=INTAKE_EXCHANGE,
            routing_key=intake_routing_key(self._agency, message_type, urgent=urgent),
            body=body,
            delivery_id=message_id,
            type=message_type,
            user_id=self._agency,
        )
        try:
            outcomes = await asyncio.wait_for(
                self._batches.publish_batch([message]), timeout=3 * self._timeout.total_seconds()
            )
        except TimeoutError:
            raise DependencyUnavailable("the message broker does not confirm", field="amqp") from None
        outcome = outcomes[message_id]
        if outcome is Outcome.UNROUTABLE:
            raise Undeliverable("the message broker has no queue for our messages", field="amqp")
        if outcome is not Outcome.CONFIRMED:
            raise DependencyUnavailable("the message broker did not confirm", field="amqp")

    async def close(self) -> None:
        """Close the connection."""
        await self._batches.close()
