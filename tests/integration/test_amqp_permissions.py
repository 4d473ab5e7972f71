"""An agency cannot publish as another, read another's queue, or change anything: with real certificates and permissions."""

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiormq import ChannelAccessRefused
from aiormq.abc import AbstractChannel
from aiormq.exceptions import AMQPError, ChannelPreconditionFailed
from pamqp import commands as spec

from broker.amqp.administration import ProvisionedAgency
from broker.amqp.connection import BrokerRefused, BrokerUnavailable, close_quietly, open_channel, open_connection
from broker.amqp.consumer import BatchConsumer
from broker.amqp.frames import Outgoing
from broker.amqp.publisher import BatchPublisher, Outcome
from broker.amqp.topology import (
    DELIVERY_EXCHANGE,
    INTAKE_EXCHANGE,
    INTAKE_QUEUES,
    QUARANTINE_EXCHANGE,
    QUARANTINE_QUEUE,
    intake_routing_key,
    new_delivery_queue_name,
)
from deploy.local.pki import Pki
from schemas.errors import ConfigInvalid
from tests.support.servers import RabbitVhost

MALLORY, ALICE = "school.mallory", "csc.alice"


@pytest_asyncio.fixture
async def agencies(rabbit_vhost: RabbitVhost) -> dict[str, ProvisionedAgency]:
    made = await rabbit_vhost.administration.provision_agencies([MALLORY, ALICE])
    return {agency.agency_id: agency for agency in made}


@pytest_asyncio.fixture
async def channel(rabbit_vhost: RabbitVhost, agencies: dict[str, ProvisionedAgency]) -> AsyncIterator[AbstractChannel]:
    """A channel of the attacker's, with its own, valid certificate."""
    connection = await open_connection(rabbit_vhost.amqp_settings(MALLORY))
    opened = await open_channel(connection, confirms=True)
    yield await opened.get_underlay_channel()  # raw methods, as an attacker would send them
    await close_quietly(connection)


@pytest.mark.parametrize(
    ("exchange", "routing_key"),
    [
        (INTAKE_EXCHANGE, intake_routing_key(ALICE, "referral")),
        (INTAKE_EXCHANGE, intake_routing_key(ALICE, "referral", urgent=True)),
        (INTAKE_EXCHANGE, f"from.{MALLORY}.referral.more"),
        (INTAKE_EXCHANGE, f"from.{MALLORY.replace('.', 'x')}.referral"),
        (INTAKE_EXCHANGE, "from.#"),
        (INTAKE_EXCHANGE, ""),
        (DELIVERY_EXCHANGE, "safelane.delivery.anything"),
        (QUARANTINE_EXCHANGE, "delivery"),
        ("", INTAKE_QUEUES["routine"]),
        ("amq.topic", "from.anyone"),
    ],
)
async def test_agency_publishes_only_to_intake_under_its_own_topic(
    rabbit_vhost: RabbitVhost, channel: AbstractChannel, exchange: str, routing_key: str
) -> None:
    with pytest.raises(ChannelAccessRefused):
        await channel.basic_publish(b"{}", exchange=exchange, routing_key=routing_key, timeout=10)


async def test_agency_cannot_bear_anothers_user_id(channel: AbstractChannel) -> None:
    with pytest.raises(ChannelPreconditionFailed):
        await channel.basic_publish(
            b"{}",
            exchange=INTAKE_EXCHANGE,
            routing_key=intake_routing_key(MALLORY, "referral"),
            properties=spec.Basic.Properties(user_id=ALICE),
            timeout=10,
        )


@pytest.mark.parametrize("queue", [ALICE, *INTAKE_QUEUES.values(), QUARANTINE_QUEUE])
async def test_agency_reads_no_queue_but_its_own(
    agencies: dict[str, ProvisionedAgency], channel: AbstractChannel, queue: str
) -> None:
    name = agencies[queue].delivery_queue if queue in agencies else queue

    async def ignore(_: object) -> None:
        return

    with pytest.raises(ChannelAccessRefused):
        await channel.basic_consume(name, ignore, timeout=10)


async def test_agency_cannot_get_one_message_from_anothers_queue(
    agencies: dict[str, ProvisionedAgency], channel: AbstractChannel
) -> None:
    with pytest.raises((ChannelAccessRefused, asyncio.CancelledError, AMQPError)):
        await channel.basic_get(agencies[ALICE].delivery_queue, timeout=5)


@pytest.mark.parametrize("attempt", ["declare", "purge", "delete", "bind", "exchange", "exchange_delete"])
async def test_agency_configures_nothing(
    agencies: dict[str, ProvisionedAgency], channel: AbstractChannel, attempt: str
) -> None:
    own, other = agencies[MALLORY].delivery_queue, agencies[ALICE].delivery_queue
    actions = {
        "declare": lambda: channel.queue_declare(f"mine-{uuid.uuid4().hex}", durable=True, timeout=5),
        "purge": lambda: channel.queue_purge(other, timeout=5),
        "delete": lambda: channel.queue_delete(own, timeout=5),
        "bind": lambda: channel.queue_bind(own, INTAKE_EXCHANGE, "from.#", timeout=5),
        "exchange": lambda: channel.exchange_declare("mine", exchange_type="fanout", timeout=5),
        "exchange_delete": lambda: channel.exchange_delete(INTAKE_EXCHANGE, timeout=5),
    }
    with pytest.raises(ChannelAccessRefused):
        await actions[attempt]()


async def test_agency_can_do_what_it_must(rabbit_vhost: RabbitVhost, agencies: dict[str, ProvisionedAgency]) -> None:
    publisher = BatchPublisher(rabbit_vhost.amqp_settings(MALLORY))
    message = Outgoing("m1", INTAKE_EXCHANGE, intake_routing_key(MALLORY, "keyring_addendum"), b"{}", MALLORY)
    assert await publisher.publish_batch([message]) == {"m1": Outcome.CONFIRMED}
    hub = BatchPublisher(rabbit_vhost.amqp_settings("hub"))
    await hub.publish_batch([Outgoing("d1", DELIVERY_EXCHANGE, agencies[MALLORY].delivery_queue, b"yours", "hub")])
    consumer = BatchConsumer(rabbit_vhost.amqp_settings(MALLORY), [agencies[MALLORY].delivery_queue])
    batch = await consumer.next_batch(within=5)
    assert [(m.body, m.user_id) for m in batch.messages] == [(b"yours", "hub")]
    assert await batch.ack()
    for client in (publisher, hub, consumer):
        await client.close()


async def test_agency_enters_no_other_virtual_host(
    rabbit_vhost: RabbitVhost, agencies: dict[str, ProvisionedAgency]
) -> None:
    with pytest.raises(BrokerUnavailable):
        await open_connection(rabbit_vhost.stack.amqp_settings(MALLORY, vhost="/"))


async def test_certificate_of_another_authority_is_refused(
    rabbit_vhost: RabbitVhost, agencies: dict[str, ProvisionedAgency], tmp_path
) -> None:  # type: ignore[no-untyped-def]
    forged = Pki(tmp_path / "forged").issue_client(ALICE)
    honest = rabbit_vhost.amqp_settings(ALICE)
    with pytest.raises(BrokerUnavailable):
        await open_connection(honest.model_copy(update={"cert_file": forged.cert_file, "key_file": forged.key_file}))
    with pytest.raises(BrokerUnavailable):  # and we refuse a server that our authority did not certify
        await open_connection(honest.model_copy(update={"ca_file": forged.ca_file}))


async def test_server_takes_tls_1_3_only_and_wants_a_certificate(rabbit_vhost: RabbitVhost) -> None:
    settings = rabbit_vhost.amqp_settings("hub")
    old = settings.tls_context()
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await asyncio.open_connection("127.0.0.1", settings.port, ssl=old)
    bare = ssl.create_default_context(cafile=str(settings.ca_file))
    reader, writer = await asyncio.open_connection("127.0.0.1", settings.port, ssl=bare)
    writer.write(b"AMQP\x00\x00\x09\x01")
    with pytest.raises(
        (ssl.SSLError, ConnectionResetError, asyncio.IncompleteReadError)
    ):  # in TLS 1.3 the refusal comes with the first read
        await reader.readexactly(8)


async def test_revoked_agency_is_thrown_out_at_once(
    rabbit_vhost: RabbitVhost, agencies: dict[str, ProvisionedAgency]
) -> None:
    publisher = BatchPublisher(rabbit_vhost.amqp_settings(MALLORY))
    await publisher.ensure_connected()
    await rabbit_vhost.administration.remove_user(MALLORY)
    for _ in range(200):
        if not publisher.is_connected:
            break
        await asyncio.sleep(0.05)
    with pytest.raises(BrokerRefused):
        await publisher.ensure_connected()


async def test_revocation_survives_a_connection_that_closes_by_itself(
    rabbit_vhost: RabbitVhost, agencies: dict[str, ProvisionedAgency], monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ ends a deleted user's connections itself, and answers 500 to whoever closes one at that instant (seen on 3.10)."""
    administration = rabbit_vhost.administration
    request, refused = administration._client.request, 0

    async def refuse_twice(method: str, path: str, **rest: Any) -> httpx.Response:
        nonlocal refused
        if refused < 2 and path == f"/api/connections/username/{MALLORY}":
            return httpx.Response(200, json=[{"name": "127.0.0.1:1 -> 127.0.0.1:2"}])
        if refused < 2 and method == "DELETE" and path.startswith("/api/connections/"):
            refused += 1
            return httpx.Response(500)
        return await request(method, path, **rest)

    monkeypatch.setattr(administration._client, "request", refuse_twice)
    await administration.remove_user(MALLORY)
    assert refused == 2
    with pytest.raises(BrokerRefused):
        await BatchPublisher(rabbit_vhost.amqp_settings(MALLORY)).ensure_connected()


async def test_provisioning_again_keeps_queue_and_messages(
    rabbit_vhost: RabbitVhost, agencies: dict[str, ProvisionedAgency]
) -> None:
    queue = agencies[ALICE].delivery_queue
    hub = BatchPublisher(rabbit_vhost.amqp_settings("hub"))
    await hub.publish_batch([Outgoing("d1", DELIVERY_EXCHANGE, queue, b"kept", "hub")])
    assert (await rabbit_vhost.administration.provision_agency(ALICE, queue=queue)).delivery_queue == queue
    consumer = BatchConsumer(rabbit_vhost.amqp_settings(ALICE), [queue])
    assert [m.body for m in (await consumer.next_batch(within=5)).messages] == [b"kept"]
    await hub.close()
    await consumer.close()


async def test_management_api_lets_no_agency_in(
    rabbit_vhost: RabbitVhost, agencies: dict[str, ProvisionedAgency]
) -> None:
    settings = rabbit_vhost.stack.administration_settings()
    context = ssl.create_default_context(cafile=str(settings.ca_file))
    async with httpx.AsyncClient(base_url=settings.url, verify=context, trust_env=False) as client:
        for password in ("", "guest", MALLORY):
            assert (await client.get("/api/overview", auth=(MALLORY, password))).status_code == 401


@pytest.mark.parametrize(
    "agency_id", ["hub", "guest", "safelane-admin", "a b", "A.b", "", "unresolved:gp:x", "x" * 90, "a/b", "a|b"]
)
def test_ids_that_could_widen_a_permission_are_refused(agency_id: str) -> None:
    with pytest.raises(ConfigInvalid):
        new_delivery_queue_name(agency_id)


def test_queue_names_are_unguessable() -> None:
    names = {new_delivery_queue_name("csc.alice") for _ in range(50)}
    assert len(names) == 50
    assert all(len(name.rpartition(".")[2]) == 32 for name in names)
