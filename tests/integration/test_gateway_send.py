"""A record system hands a referral to a gateway; what leaves on a real RabbitMQ is sealed, signed, and keyed to nobody but its recipients."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.gateway.wiring import build_gateway
from broker.amqp.consumer import BatchConsumer
from broker.amqp.topology import INTAKE_QUEUES
from schemas.envelope import parse_envelope, verify_envelope
from tests.support.gateways import SAMPLES, StubHub, write_gateway
from tests.support.proxy import CutProxy
from tests.support.servers import RabbitVhost

SENDER = "police.marchshire"
RECIPIENTS = ("csc.marchshire", "health.marchshire-ft", "school.oakfield", "gp.millbrook")
SIBLINGS = SAMPLES / "police-ppn-json" / "ppn-0041877-s47-siblings.json"
RECEIVED_AT = datetime(2026, 11, 16, 22, 32, tzinfo=UTC)
CANARY = b"Underhay-Test"


@pytest.fixture
async def hub(rabbit_vhost: RabbitVhost, tmp_path: Path) -> StubHub:
    await rabbit_vhost.administration.provision_agency(SENDER)
    hub = StubHub.make(rabbit_vhost.stack.pki.ca_file.read_text(), lambda: RECEIVED_AT)
    write_gateway(tmp_path / "others", hub, RECIPIENTS)
    return hub


@asynccontextmanager
async def running_gateway(hub: StubHub, rabbit: RabbitVhost, folder: Path, **options: Any):
    port = options.pop("port", rabbit.amqp_settings(SENDER).port)
    amqp = {"host": "localhost", "port": port, "vhost": rabbit.vhost}
    config = write_gateway(folder, hub, [SENDER], amqp=amqp, pki=rabbit.stack.pki, **options)
    gateway = build_gateway(config, clock=lambda: RECEIVED_AT, transport=hub.transport())
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(gateway.run(stop, ready=lambda _port: ready.set()))
    await asyncio.wait_for(ready.wait(), 10)
    await gateway.agencies[SENDER].keeper.refresh()
    token = (folder / SENDER / "token").read_text()
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{gateway.port}", headers={"Authorization": f"Bearer {token}"}, timeout=20
        ) as client:
            yield gateway, client
    finally:
        stop.set()
        await asyncio.wait_for(running, 20)


async def wait_for_state(
    client: httpx.AsyncClient, referral_id: str, *states: str, seconds: int = 10
) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for _ in range(seconds * 20):
        answer = (await client.get(f"/referrals/{referral_id}")).json()
        if answer["state"] in states:
            return answer
        await asyncio.sleep(0.05)
    raise AssertionError(f"still {answer['state']}: {answer['reason']}")


async def take_from_intake(rabbit: RabbitVhost) -> list[Any]:
    """Take what is in the intake queues: wait for the first message, then until nothing more comes."""
    consumer = BatchConsumer(rabbit.amqp_settings("hub"), list(INTAKE_QUEUES.values()))
    found: list[Any] = []
    try:
        for _ in range(20):
            batch = await consumer.next_batch(max_messages=64, linger=0.05, within=0.5)
            found += batch.messages
            await batch.ack()
            if found and not batch.messages:
                break
    finally:
        await consumer.close()
    return found


async def test_a_referral_leaves_sealed_for_its_recipients(
    hub: StubHub, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    async with running_gateway(hub, rabbit_vhost, tmp_path) as (gateway, client):
        answer = await client.post(
            "/referrals", content=SIBLINGS.read_bytes(), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 202, answer.text
        referral_id = answer.json()["referral_id"]
        described = await wait_for_state(client, referral_id, "published")
        [message] = await take_from_intake(rabbit_vhost)

        assert message.user_id == SENDER
        assert message.delivery_id == described["message_id"]
        signer = gateway.agencies[SENDER].keystore.signing_keys().public
        envelope = verify_envelope(parse_envelope(message.body), [signer], now=datetime.now(UTC))
        assert envelope.manifest.referral_id == referral_id
        assert {d.agency for d in envelope.header.deliveries} == set(RECIPIENTS)
        assert CANARY in SIBLINGS.read_bytes()
        assert CANARY not in message.body


async def test_the_same_request_has_one_effect(hub: StubHub, rabbit_vhost: RabbitVhost, tmp_path: Path) -> None:
    async with running_gateway(hub, rabbit_vhost, tmp_path) as (_, client):
        headers = {"Content-Type": "application/json", "Idempotency-Key": "k1"}
        first = await client.post("/referrals", content=SIBLINGS.read_bytes(), headers=headers)
        again = await client.post("/referrals", content=SIBLINGS.read_bytes(), headers=headers)
        without_key = await client.post(
            "/referrals", content=SIBLINGS.read_bytes(), headers={"Content-Type": "application/json"}
        )
        assert first.json() == again.json()
        assert without_key.json()["referral_id"] == first.json()["referral_id"]
        await wait_for_state(client, first.json()["referral_id"], "published")
        assert len(await take_from_intake(rabbit_vhost)) == 1


async def test_nothing_leaves_while_the_hub_is_down_and_all_of_it_afterwards(
    hub: StubHub, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    async with running_gateway(hub, rabbit_vhost, tmp_path) as (_, client):
        hub.down = True
        answer = await client.post(
            "/referrals", content=SIBLINGS.read_bytes(), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 202
        await asyncio.sleep(0.5)
        described = (await client.get(f"/referrals/{answer.json()['referral_id']}")).json()
        assert described["state"] == "received"
        hub.down = False
        await wait_for_state(client, answer.json()["referral_id"], "published")
        assert len(await take_from_intake(rabbit_vhost)) == 1


async def test_a_cut_connection_loses_and_doubles_nothing(
    hub: StubHub, rabbit_vhost: RabbitVhost, cut_proxy: CutProxy, tmp_path: Path
) -> None:
    async with running_gateway(hub, rabbit_vhost, tmp_path, port=cut_proxy.port, publish_timeout=2) as (_, client):
        cut_proxy.cut()
        answer = await client.post(
            "/referrals", content=SIBLINGS.read_bytes(), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 202
        referral_id = answer.json()["referral_id"]
        await wait_for_state(client, referral_id, "sealed")
        await asyncio.sleep(0.5)
        cut_proxy.restore()
        await wait_for_state(client, referral_id, "published", seconds=30)
        messages = await take_from_intake(rabbit_vhost)
        assert len({bytes(message.body) for message in messages}) == 1
