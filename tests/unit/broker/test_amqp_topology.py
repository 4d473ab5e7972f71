"""Topology as data: what DESIGN demands of every queue, and permissions that match exactly."""

import asyncio
import re

import pytest
from aiormq.channel import Channel
from aiormq.connection import Connection
from pamqp import commands as spec

from broker.amqp.topology import (
    INTAKE_EXCHANGE,
    QUARANTINE_EXCHANGE,
    QUARANTINE_QUEUE,
    agency_permissions,
    agency_topic_permissions,
    build_topology,
    delivery_queue,
    intake_routing_key,
)

QUEUES = [*build_topology().queues, delivery_queue("safelane.delivery.x.0")]


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.name)
def test_every_queue_is_a_bounded_quorum_queue_that_refuses_when_full(queue) -> None:  # type: ignore[no-untyped-def]
    assert queue.arguments["x-queue-type"] == "quorum"
    assert queue.arguments["x-overflow"] == "reject-publish"
    assert queue.arguments["x-max-length-bytes"] > 0
    assert queue.arguments["x-quorum-initial-group-size"] == 3
    if queue.name != QUARANTINE_QUEUE:
        assert queue.arguments["x-delivery-limit"] == 20
        assert queue.arguments["x-dead-letter-strategy"] == "at-least-once"
        assert queue.arguments["x-dead-letter-exchange"] == QUARANTINE_EXCHANGE


def test_every_exchange_that_is_named_exists() -> None:
    names = {exchange.name for exchange in build_topology().exchanges}
    assert {queue.exchange for queue in QUEUES} | {QUARANTINE_EXCHANGE} <= names


@pytest.mark.parametrize(
    ("routing_key", "allowed"),
    [
        (intake_routing_key("csc.a", "receipt"), True),
        (intake_routing_key("csc.a", "referral", urgent=True), True),
        (intake_routing_key("csc.b", "receipt"), False),
        ("from.cscxa.receipt", False),
        ("from.csc.a", False),
        ("from.csc.a.", False),
        ("from.csc.a.b.receipt", False),
        ("xfrom.csc.a.receipt", False),
        ("from.csc.a.receipt\nx", False),
    ],
)
def test_topic_permission_is_exact(routing_key: str, allowed: bool) -> None:
    permission = agency_topic_permissions("csc.a")
    assert permission["exchange"] == INTAKE_EXCHANGE
    assert bool(re.search(permission["write"], routing_key)) is allowed


def test_agency_reads_its_queue_alone() -> None:
    permission = agency_permissions("safelane.delivery.csc.a.12")
    assert re.search(permission["read"], "safelane.delivery.csc.a.12")
    for other in ("safelane.delivery.csc.a.123", "safelane.delivery.cscxa.12", "xsafelane.delivery.csc.a.12", ""):
        assert not re.search(permission["read"], other)
    assert not re.search(permission["configure"], "anything")


async def test_the_library_still_has_what_the_publisher_reaches_for() -> None:
    connection = Connection("amqp://localhost")
    connection.server_properties = {"capabilities": {"publisher_confirms": True}}
    connection.connection_tune = spec.Connection.Tune(frame_max=4096)
    channel = Channel(connection, 1)
    await asyncio.sleep(0)  # its reader starts
    assert (channel.delivery_tag, channel.confirmations, channel.message_id_delivery_tag) == (0, {}, {})
    assert channel.write_queue is connection.write_queue
    assert channel.on_consumer_cancel_callbacks == set()
    channel._close_locally()
