"""The batch publisher and consumer against a real RabbitMQ node."""

import asyncio
import struct
import uuid

import pamqp.frame
import pytest
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from pamqp import commands as spec

from broker.amqp.connection import BrokerRefused, BrokerUnavailable, close_quietly, open_channel, open_connection
from broker.amqp.consumer import BatchConsumer, Incoming
from broker.amqp.frames import Outgoing
from broker.amqp.publisher import BatchPublisher, Outcome
from broker.amqp.queue_state import read_queue
from broker.amqp.topology import (
    DELIVERY_EXCHANGE,
    INTAKE_EXCHANGE,
    INTAKE_QUEUES,
    QUARANTINE_QUEUE,
    Queue,
    Topology,
    declare_topology,
    intake_routing_key,
)
from schemas.errors import Conflict
from tests.support.proxy import CutProxy
from tests.support.servers import RabbitVhost

AGENCY = "police.test"


def intake_message(body: bytes = b"{}", *, urgent: bool = False, user_id: str = AGENCY) -> Outgoing:
    return Outgoing(
        delivery_id=uuid.uuid4().hex,
        exchange=INTAKE_EXCHANGE,
        routing_key=intake_routing_key(AGENCY, "referral", urgent=urgent),
        body=body,
        user_id=user_id,
    )


def hub_message(routing_key: str, body: bytes = b"{}") -> Outgoing:
    return Outgoing(uuid.uuid4().hex, DELIVERY_EXCHANGE, routing_key, body, "hub", "delivery")


async def collect(consumer: BatchConsumer, count: int) -> list[Incoming]:
    """Take ``count`` messages and acknowledge each batch."""
    taken: list[Incoming] = []
    async with asyncio.timeout(20):
        while len(taken) < count:
            batch = await consumer.next_batch()
            taken += batch.messages
            assert await batch.ack()
    return taken


async def test_batch_arrives_whole_and_in_both_lanes(rabbit_vhost: RabbitVhost) -> None:
    await rabbit_vhost.administration.provision_agency(AGENCY)
    publisher = BatchPublisher(rabbit_vhost.amqp_settings(AGENCY))
    bodies = [bytes([n % 256]) * (n * 1500) for n in range(200)]  # from empty to more than one frame
    messages = [intake_message(body, urgent=n % 2 == 0) for n, body in enumerate(bodies)]
    outcomes = await publisher.publish_batch(messages)
    assert set(outcomes.values()) == {Outcome.CONFIRMED}
    assert len(outcomes) == 200

    consumer = BatchConsumer(rabbit_vhost.amqp_settings("hub"), list(INTAKE_QUEUES.values()), prefetch=100)
    taken = {message.delivery_id: message for message in await collect(consumer, 200)}
    for sent in messages:
        got = taken[sent.delivery_id]
        assert got.body == sent.body
        assert (got.user_id, got.type, got.redelivered, got.delivery_count) == (AGENCY, "referral", False, 0)
        assert got.queue == INTAKE_QUEUES["urgent" if sent.routing_key.startswith("urgent") else "routine"]
    await publisher.close()
    await consumer.close()


async def test_unroutable_is_told_apart_within_a_batch(rabbit_vhost: RabbitVhost) -> None:
    agency = await rabbit_vhost.administration.provision_agency("csc.test")
    publisher = BatchPublisher(rabbit_vhost.amqp_settings("hub"))
    good = [hub_message(agency.delivery_queue) for _ in range(20)]
    lost = [hub_message("safelane.delivery.nobody") for _ in range(20)]
    mixed = [message for pair in zip(good, lost, strict=True) for message in pair]
    outcomes = await publisher.publish_batch(mixed)
    assert {outcomes[m.delivery_id] for m in good} == {Outcome.CONFIRMED}
    assert {outcomes[m.delivery_id] for m in lost} == {Outcome.UNROUTABLE}
    await publisher.close()


async def test_full_queue_refuses(rabbit_vhost: RabbitVhost) -> None:
    small = Queue(
        "safelane.small",
        DELIVERY_EXCHANGE,
        "safelane.small",
        {"x-queue-type": "quorum", "x-max-length": 5, "x-overflow": "reject-publish"},
    )
    settings = rabbit_vhost.amqp_settings("hub")
    await declare_topology(settings, Topology((), (small,)), settle=0)
    publisher = BatchPublisher(settings)
    refused = 0
    for _ in range(50):  # the limit is enforced with a delay of a few messages
        outcomes = await publisher.publish_batch([hub_message("safelane.small") for _ in range(5)])
        refused += sum(outcome is Outcome.REFUSED for outcome in outcomes.values())
    assert refused > 150
    await publisher.close()


async def test_same_id_in_flight_is_a_conflict(rabbit_vhost: RabbitVhost) -> None:
    await rabbit_vhost.administration.provision_agency(AGENCY)
    publisher = BatchPublisher(rabbit_vhost.amqp_settings(AGENCY))
    message = intake_message()
    with pytest.raises(Conflict):
        await publisher.publish_batch([message, message])
    assert await publisher.publish_batch([message]) == {message.delivery_id: Outcome.CONFIRMED}
    assert await publisher.publish_batch([message]) == {
        message.delivery_id: Outcome.CONFIRMED
    }  # once it has landed, a resend is fine
    await publisher.close()


async def test_cut_connection_leaves_unknown_and_next_batch_reconnects(
    rabbit_vhost: RabbitVhost, cut_proxy: CutProxy
) -> None:
    await rabbit_vhost.administration.provision_agency(AGENCY)
    publisher = BatchPublisher(rabbit_vhost.amqp_settings(AGENCY, port=cut_proxy.port), confirm_timeout=20)
    await publisher.ensure_connected()
    cut_proxy.hold()
    message = intake_message()
    flying = asyncio.create_task(publisher.publish_batch([message]))
    await asyncio.sleep(0.2)
    cut_proxy.cut()
    async with asyncio.timeout(5):
        assert await flying == {message.delivery_id: Outcome.UNKNOWN}
    with pytest.raises(BrokerUnavailable):
        await publisher.publish_batch([message])
    cut_proxy.restore()
    async with asyncio.timeout(10):
        assert await publisher.publish_batch([message]) == {message.delivery_id: Outcome.CONFIRMED}
    await publisher.close()


async def test_silent_network_ends_in_unknown_after_the_timeout(rabbit_vhost: RabbitVhost, cut_proxy: CutProxy) -> None:
    await rabbit_vhost.administration.provision_agency(AGENCY)
    publisher = BatchPublisher(rabbit_vhost.amqp_settings(AGENCY, port=cut_proxy.port), confirm_timeout=0.5)
    await publisher.ensure_connected()
    cut_proxy.hold()
    message = intake_message()
    async with asyncio.timeout(10):
        assert await publisher.publish_batch([message]) == {message.delivery_id: Outcome.UNKNOWN}
    assert not publisher.is_connected
    cut_proxy.restore()
    assert await publisher.publish_batch([message]) == {message.delivery_id: Outcome.CONFIRMED}
    await publisher.close()


async def test_channel_closed_by_server_leaves_unknown_not_a_hang(rabbit_vhost: RabbitVhost) -> None:
    await rabbit_vhost.administration.provision_agency(AGENCY)
    publisher = BatchPublisher(rabbit_vhost.amqp_settings(AGENCY))
    forged = intake_message(user_id="csc.test")
    async with asyncio.timeout(10):
        assert await publisher.publish_batch([forged]) == {forged.delivery_id: Outcome.UNKNOWN}
        honest = intake_message()
        assert await publisher.publish_batch([honest]) == {honest.delivery_id: Outcome.CONFIRMED}
    await publisher.close()


async def test_unsettled_messages_come_again_after_a_cut(rabbit_vhost: RabbitVhost, cut_proxy: CutProxy) -> None:
    await rabbit_vhost.administration.provision_agency(AGENCY)
    publisher = BatchPublisher(rabbit_vhost.amqp_settings(AGENCY))
    messages = [intake_message() for _ in range(10)]
    await publisher.publish_batch(messages)
    consumer = BatchConsumer(rabbit_vhost.amqp_settings("hub", port=cut_proxy.port), [INTAKE_QUEUES["routine"]])
    batch = await consumer.next_batch(linger=0.5)
    assert len(batch) == 10
    await batch.ack(batch.messages[:4])
    await asyncio.sleep(0.2)
    cut_proxy.break_connections()
    await asyncio.sleep(0.2)
    assert not await batch.ack(batch.messages[4:])  # this connection is gone: nothing to settle
    again = await collect(consumer, 6)
    assert {m.delivery_id for m in again} == {m.delivery_id for m in messages[4:]}
    assert all(m.redelivered for m in again)
    await publisher.close()
    await consumer.close()


async def test_acknowledging_out_of_order_settles_only_what_is_named(rabbit_vhost: RabbitVhost) -> None:
    await rabbit_vhost.administration.provision_agency(AGENCY)
    publisher = BatchPublisher(rabbit_vhost.amqp_settings(AGENCY))
    messages = [intake_message() for _ in range(30)]
    await publisher.publish_batch(messages)
    consumer = BatchConsumer(rabbit_vhost.amqp_settings("hub"), [INTAKE_QUEUES["routine"]])
    first = await consumer.next_batch(max_messages=10, linger=0.5)
    second = await consumer.next_batch(max_messages=10, linger=0.5)
    third = await consumer.next_batch(max_messages=10, linger=0.5)
    await second.ack()
    await third.ack(third.messages[5:])
    await first.ack(first.messages[:3])
    await asyncio.sleep(0.2)
    await consumer.close()
    left = {m.delivery_id for m in (*first.messages[3:], *third.messages[:5])}
    rest = await collect(consumer, len(left))
    assert {m.delivery_id for m in rest} == left
    lane = await read_queue(rabbit_vhost.amqp_settings("hub"), INTAKE_QUEUES["routine"])
    assert lane is not None
    assert lane.waiting == 0
    await publisher.close()
    await consumer.close()


async def test_rejected_message_goes_to_quarantine_with_its_bytes(rabbit_vhost: RabbitVhost) -> None:
    await rabbit_vhost.administration.provision_agency(AGENCY)
    publisher = BatchPublisher(rabbit_vhost.amqp_settings(AGENCY))
    poison = intake_message(b"poison")
    await publisher.publish_batch([poison])
    consumer = BatchConsumer(rabbit_vhost.amqp_settings("hub"), [INTAKE_QUEUES["routine"]])
    batch = await consumer.next_batch()
    assert await batch.reject(batch.messages, requeue=False)
    quarantine = BatchConsumer(rabbit_vhost.amqp_settings("hub"), [QUARANTINE_QUEUE])
    (caught,) = await collect(quarantine, 1)
    assert (caught.body, caught.delivery_id, caught.user_id) == (b"poison", poison.delivery_id, AGENCY)
    for client in (publisher, consumer, quarantine):
        await client.close()


async def test_message_given_back_too_often_goes_to_quarantine(rabbit_vhost: RabbitVhost) -> None:
    await rabbit_vhost.administration.provision_agency(AGENCY)
    publisher = BatchPublisher(rabbit_vhost.amqp_settings(AGENCY))
    await publisher.publish_batch([intake_message()])
    consumer = BatchConsumer(rabbit_vhost.amqp_settings("hub"), [INTAKE_QUEUES["routine"]])
    counts = []
    while (batch := await consumer.next_batch()).messages:
        counts.append(batch.messages[0].delivery_count)
        await batch.reject(batch.messages, requeue=True)
    assert counts == list(range(21))  # the limit is explicit: 20 hand-outs after the first
    quarantine = BatchConsumer(rabbit_vhost.amqp_settings("hub"), [QUARANTINE_QUEUE])
    assert len(await collect(quarantine, 1)) == 1
    for client in (publisher, consumer, quarantine):
        await client.close()


async def test_unknown_user_is_refused(rabbit_vhost: RabbitVhost) -> None:
    publisher = BatchPublisher(rabbit_vhost.amqp_settings("nobody.enrolled"))
    with pytest.raises(BrokerRefused):
        await publisher.ensure_connected()


async def test_idle_consumer_returns_an_empty_batch(rabbit_vhost: RabbitVhost) -> None:
    consumer = BatchConsumer(rabbit_vhost.amqp_settings("hub"), list(INTAKE_QUEUES.values()))
    batch = await consumer.next_batch(within=0.1)
    assert len(batch) == 0
    assert await batch.ack()
    await consumer.close()


async def test_missing_queue_is_reported_and_waited_for(rabbit_vhost: RabbitVhost) -> None:
    consumer = BatchConsumer(rabbit_vhost.amqp_settings("hub"), ["safelane.later"])
    with pytest.raises(BrokerUnavailable):
        await consumer.next_batch()
    later = Queue("safelane.later", DELIVERY_EXCHANGE, "safelane.later", {"x-queue-type": "quorum"})
    await declare_topology(rabbit_vhost.amqp_settings("hub"), Topology((), (later,)), settle=0)
    assert len(await consumer.next_batch(within=0.1)) == 0
    await consumer.close()


async def test_queue_that_disappears_is_noticed_and_waited_for(rabbit_vhost: RabbitVhost) -> None:
    settings = rabbit_vhost.amqp_settings("hub")
    queue = Queue("safelane.passing", DELIVERY_EXCHANGE, "safelane.passing", {"x-queue-type": "quorum"})
    await declare_topology(settings, Topology((), (queue,)), settle=0)
    consumer = BatchConsumer(settings, ["safelane.passing"])
    assert len(await consumer.next_batch(within=0.1)) == 0
    connection = await open_connection(settings)
    channel = await open_channel(connection, confirms=False)
    await channel.queue_delete("safelane.passing", timeout=10)
    async with asyncio.timeout(10):
        for _ in range(500):
            if not consumer.is_connected:
                break
            await asyncio.sleep(0.02)
        with pytest.raises(BrokerUnavailable):
            await consumer.next_batch()
        await declare_topology(settings, Topology((), (queue,)), settle=0)
        publisher = BatchPublisher(settings)
        await publisher.publish_batch([hub_message("safelane.passing", b"back")])
        assert [message.body for message in (await consumer.next_batch(within=5)).messages] == [b"back"]
    await close_quietly(connection)
    for client in (publisher, consumer):
        await client.close()


async def publish_raw(vhost: RabbitVhost, properties: bytes, flags: int) -> bool:
    """Publish an empty message with hand-made properties; tell whether RabbitMQ took it."""
    connection = await open_connection(vhost.amqp_settings(AGENCY))
    channel = await (await open_channel(connection, confirms=False)).get_underlay_channel()
    assert isinstance(channel, Channel)
    header = struct.pack(">HHQH", 60, 0, 0, flags) + properties
    frames = pamqp.frame.marshal(
        spec.Basic.Publish(exchange=INTAKE_EXCHANGE, routing_key=intake_routing_key(AGENCY, "referral")), channel.number
    ) + (struct.pack(">BHI", 2, channel.number, len(header)) + header + b"\xce")
    await channel.write_queue.put(ChannelFrame(payload=frames, should_close=False))
    await asyncio.sleep(0.5)
    taken = not channel.is_closed
    await close_quietly(connection)
    return taken


@pytest.mark.parametrize(
    ("properties", "flags", "is_taken"),
    [
        (b"\xff" * 8, 1 << 6, True),  # a timestamp beyond the year 9999
        (b"\x02\xff\xfe", 1 << 5, True),  # a type that is not UTF-8
        (b"\x00\x00\x00\x0b\x01aT" + b"\xff" * 8, 1 << 13, True),  # the same timestamp among the headers
        (b"\x07", 1 << 12, False),  # no such delivery mode: RabbitMQ's own refusal
        (b"\x01x", 1 << 8, False),  # an expiration that is no number, likewise
    ],
)
async def test_unreadable_properties_harm_only_their_own_message(
    rabbit_vhost: RabbitVhost, properties: bytes, flags: int, is_taken: bool
) -> None:
    await rabbit_vhost.administration.provision_agency(AGENCY)
    publisher = BatchPublisher(rabbit_vhost.amqp_settings(AGENCY))
    before, after = intake_message(), intake_message()
    await publisher.publish_batch([before])
    assert await publish_raw(rabbit_vhost, properties, flags) is is_taken
    await publisher.publish_batch([after])
    consumer = BatchConsumer(rabbit_vhost.amqp_settings("hub"), [INTAKE_QUEUES["routine"]])
    taken = await collect(consumer, 3 if is_taken else 2)
    assert [m.delivery_id for m in taken] == [before.delivery_id, *([""] if is_taken else []), after.delivery_id]
    assert [m.user_id for m in taken] == [AGENCY, *([None] if is_taken else []), AGENCY]
    assert all(m.delivery_count == 0 for m in taken)
    await publisher.close()
    await consumer.close()
