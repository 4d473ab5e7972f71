"""Exchanges, queues, bindings, users and permissions of RabbitMQ, as data.

Every argument is explicit, because defaults differ between versions (3.10 has no delivery limit, 4.x has 20). At-least-once dead-lettering needs
a quorum queue whose overflow is ``reject-publish`` (rabbitmq.com/docs/quorum-queues, "Dead Lettering").
"""

import asyncio
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from broker.amqp.connection import LINK_ERRORS, BrokerUnavailable, close_quietly, open_channel, open_connection
from broker.amqp.queue_state import look_at_queue
from broker.amqp.settings import AmqpSettings
from schemas.errors import ConfigInvalid

INTAKE_EXCHANGE = "safelane.intake"
DELIVERY_EXCHANGE = "safelane.delivery"
QUARANTINE_EXCHANGE = "safelane.quarantine"
QUARANTINE_QUEUE = "safelane.quarantine"

_LANES = {"urgent": "urgent", "routine": "from"}
"""First word of the routing key by lane. Two intake queues, so that a child in danger never waits behind a bulk export."""
INTAKE_QUEUES: Mapping[str, str] = MappingProxyType({lane: f"safelane.intake.{lane}" for lane in _LANES})

HUB_USER = "hub"
RESERVED_USERS = frozenset({HUB_USER, "guest", "safelane-admin"})

SETTLE_SECONDS = 2.0
"""Wait after making a quorum queue, before anyone may rely on it. A lone node that is killed within about a second of the declaration has not
yet written the queue's name to disk, and never finds the queue again, with all that it had confirmed (seen with 3.10.8)."""

_AGENCY_ID = re.compile(r"[a-z][a-z0-9._:-]{1,79}")
_SUFFIX_BYTES = 16


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable quorum queue with its explicit arguments, and how it is bound."""

    name: str
    exchange: str
    routing_key: str
    arguments: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the queues: a full queue refuses a publisher (negative confirm), who keeps the message in its outbox.

    Attributes:
        delivery_limit: hand-outs after which a message goes to quarantine.
        intake_messages: most messages in one intake lane.
        intake_bytes: most bytes in one intake lane.
        delivery_messages: most messages waiting for one agency.
        delivery_bytes: most bytes waiting for one agency.
        quarantine_bytes: most bytes in quarantine; when it is full, dead letters wait in their queue (at-least-once).
        quorum_size: members of each queue; a smaller cluster uses all its nodes.
    """

    delivery_limit: int = 20
    intake_messages: int = 200_000
    intake_bytes: int = 4 << 30
    delivery_messages: int = 50_000
    delivery_bytes: int = 2 << 30
    quarantine_bytes: int = 2 << 30
    quorum_size: int = 3


@dataclass(frozen=True, slots=True)
class Topology:
    """What must exist before anything is published."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]


def build_topology(limits: Limits | None = None) -> Topology:
    """Return the hub's own exchanges and queues; delivery queues come with each agency (``delivery_queue``)."""
    bounds = limits or Limits()
    intake = tuple(
        Queue(
            name=INTAKE_QUEUES[lane],
            exchange=INTAKE_EXCHANGE,
            routing_key=f"{word}.#",
            arguments=_quorum(
                bounds, messages=bounds.intake_messages, size=bounds.intake_bytes, origin=f"intake.{lane}"
            ),
        )
        for lane, word in _LANES.items()
    )
    quarantine = Queue(
        name=QUARANTINE_QUEUE,
        exchange=QUARANTINE_EXCHANGE,
        routing_key="#",
        arguments={
            "x-queue-type": "quorum",
            "x-quorum-initial-group-size": bounds.quorum_size,
            "x-overflow": "reject-publish",
            "x-max-length-bytes": bounds.quarantine_bytes,
        },
    )
    return Topology(
        exchanges=(
            Exchange(INTAKE_EXCHANGE, "topic"),
            Exchange(DELIVERY_EXCHANGE, "direct"),
            Exchange(QUARANTINE_EXCHANGE, "topic"),
        ),
        queues=(quarantine, *intake),
    )


def delivery_queue(name: str, limits: Limits | None = None) -> Queue:
    """Return the delivery queue ``name`` of one agency; the hub publishes to it with the name as routing key."""
    bounds = limits or Limits()
    arguments = _quorum(bounds, messages=bounds.delivery_messages, size=bounds.delivery_bytes, origin="delivery")
    return Queue(name=name, exchange=DELIVERY_EXCHANGE, routing_key=name, arguments=arguments)


def new_delivery_queue_name(agency_id: str) -> str:
    """Return a queue name with a random suffix of 128 bits: before RabbitMQ 4.2.6 any user can read the depth of a queue it can name."""
    return f"safelane.delivery.{check_agency_id(agency_id)}.{secrets.token_hex(_SUFFIX_BYTES)}"


def intake_routing_key(agency_id: str, message_type: str, *, urgent: bool = False) -> str:
    """Return the routing key under which ``agency_id`` publishes to the intake exchange; RabbitMQ lets it use no other agency's."""
    return f"{_LANES['urgent' if urgent else 'routine']}.{agency_id}.{message_type}"


def check_agency_id(agency_id: str) -> str:
    """Return ``agency_id`` when it may be a RabbitMQ user name; raise ``ConfigInvalid`` when not."""
    if not _AGENCY_ID.fullmatch(agency_id) or agency_id in RESERVED_USERS or agency_id.startswith("unresolved:"):
        raise ConfigInvalid("not an agency id, or a reserved one", field="agency_id")
    return agency_id


def hub_permissions() -> dict[str, str]:
    """Return what the hub's user may do in its virtual host: only things of ours."""
    return {"configure": r"^safelane\.", "write": r"^safelane\.", "read": r"^safelane\."}


def agency_permissions(queue: str) -> dict[str, str]:
    """Return what an agency's user may do: configure nothing, write only to intake, read only its own delivery queue."""
    return {"configure": "^$", "write": f"^{re.escape(INTAKE_EXCHANGE)}$", "read": f"^{re.escape(queue)}$"}


def agency_topic_permissions(agency_id: str) -> dict[str, str]:
    """Return the topics under which an agency may publish; without these RabbitMQ allows every topic."""
    return {
        "exchange": INTAKE_EXCHANGE,
        "write": rf"^({'|'.join(_LANES.values())})\.{re.escape(agency_id)}\.[a-z_]+$",
        "read": "^$",
    }


async def declare_topology(
    settings: AmqpSettings, topology: Topology | None = None, *, settle: float = SETTLE_SECONDS
) -> None:
    """Declare ``topology`` (default: the hub's own) as the hub's user; declaring again changes nothing.

    Waits ``settle`` seconds when a queue is new: see ``SETTLE_SECONDS``.

    Raises:
        BrokerUnavailable: RabbitMQ does not answer, or something of another shape exists under one of the names.
    """
    wanted = topology or build_topology()
    connection = await open_connection(settings)
    try:
        known = [await look_at_queue(connection, queue.name) is not None for queue in wanted.queues]
        channel = await open_channel(connection, confirms=False)
        for exchange in wanted.exchanges:
            await channel.declare_exchange(exchange.name, exchange.kind, durable=True, timeout=10)
        for queue in wanted.queues:
            declared = await channel.declare_queue(
                queue.name, durable=True, arguments=dict(queue.arguments), timeout=30
            )
            await declared.bind(queue.exchange, queue.routing_key, timeout=10)
        if not all(known):
            await asyncio.sleep(settle)
    except LINK_ERRORS as error:
        raise BrokerUnavailable("the topology could not be declared") from error
    finally:
        await close_quietly(connection)


def _quorum(bounds: Limits, *, messages: int, size: int, origin: str) -> dict[str, str | int]:
    return {
        "x-queue-type": "quorum",
        "x-quorum-initial-group-size": bounds.quorum_size,
        "x-delivery-limit": bounds.delivery_limit,
        "x-overflow": "reject-publish",
        "x-max-length": messages,
        "x-max-length-bytes": size,
        "x-dead-letter-exchange": QUARANTINE_EXCHANGE,
        "x-dead-letter-routing-key": origin,
        "x-dead-letter-strategy": "at-least-once",
    }
