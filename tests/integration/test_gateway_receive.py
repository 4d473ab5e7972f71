"""The receiving half on a real RabbitMQ: stored before acknowledged, receipts back on the intake exchange, poison set aside."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.gateway.incoming.consumer import DeliveryConsumer
from adapters.gateway.incoming.inbox_config import FolderConfig, InboxConfig
from adapters.gateway.incoming.outputs import OutputMaker, OutputParts, ReceiptSender
from adapters.gateway.outgoing.publisher import Publisher
from broker.amqp.consumer import BatchConsumer
from broker.amqp.frames import Outgoing
from broker.amqp.publisher import BatchPublisher, Outcome
from broker.amqp.topology import DELIVERY_EXCHANGE, INTAKE_QUEUES
from schemas.codes import ReceiptState
from schemas.objects.receipt import Receipt
from schemas.objects.registry import read_object
from tests.support.envelopes import NOW, seeded_signer
from tests.support.proxy import CutProxy
from tests.support.receiving import DELIVERY, RECIPIENT, ReceivingHalf, make_delivery, make_receiving_half
from tests.support.servers import RabbitVhost


@dataclass
class Station:
    """A provisioned recipient: its queue, its receiving half, its folder."""

    rabbit: RabbitVhost
    queue: str
    folder: Path
    half: ReceivingHalf

    async def hand_out(self, *bodies: bytes, message_type: str = "delivery") -> None:
        """Publish as the hub does."""
        publisher = BatchPublisher(self.rabbit.amqp_settings("hub"))
        messages = [
            Outgoing(
                delivery_id=f"m/{number}",
                exchange=DELIVERY_EXCHANGE,
                routing_key=self.queue,
                body=body,
                user_id="hub",
                type=message_type,
            )
            for number, body in enumerate(bodies)
        ]
        outcomes = await publisher.publish_batch(messages)
        await publisher.close()
        assert set(outcomes.values()) == {Outcome.CONFIRMED}

    @asynccontextmanager
    async def running(self, *, port: int | None = None) -> AsyncIterator[asyncio.Event]:
        """Run consumer, outputs and receipts."""
        settings = self.rabbit.amqp_settings(RECIPIENT, port=port)
        config = InboxConfig(folder=FolderConfig(out_folder=self.folder / "out"), poll=timedelta(milliseconds=100))
        publisher = Publisher(RECIPIENT, settings)
        stop = asyncio.Event()
        loops = [
            DeliveryConsumer(
                self.half.reader, BatchConsumer(settings, [self.queue], prefetch=20), observe=self.half.steps.append
            ),
            OutputMaker(
                OutputParts(
                    store=self.half.inbox_store,
                    queue=self.half.outputs,
                    inbox=self.half.inbox,
                    config=config,
                    webhook=None,
                    now=lambda: NOW,
                    observe=self.half.steps.append,
                )
            ),
            ReceiptSender(
                self.half.inbox_store.receipts,
                publisher,
                now=lambda: NOW,
                poll=config.poll,
                observe=self.half.steps.append,
            ),
        ]
        tasks = [asyncio.create_task(loop.run(stop)) for loop in loops]  # type: ignore[attr-defined]
        try:
            yield stop
        finally:
            stop.set()
            await asyncio.wait_for(asyncio.gather(*tasks), timeout=20)
            await publisher.close()

    async def take_receipts(self, count: int) -> list[Receipt]:
        """Return the receipts that wait for the hub, verified."""
        consumer = BatchConsumer(self.rabbit.amqp_settings("hub"), list(INTAKE_QUEUES.values()))
        found: list[Any] = []
        for _ in range(40):
            batch = await consumer.next_batch(within=0.25)
            found += batch.messages
            await batch.ack()
            if len(found) >= count:
                break
        await consumer.close()
        assert {(m.user_id, m.type) for m in found} == {(RECIPIENT, "receipt")}
        receipts = [read_object("receipt", m.body, (seeded_signer(RECIPIENT).public,)) for m in found]
        return [r for r in receipts if isinstance(r, Receipt)]


@pytest.fixture
async def station(rabbit_vhost: RabbitVhost, tmp_path: Path) -> Station:
    provisioned = await rabbit_vhost.administration.provision_agency(RECIPIENT)
    config = InboxConfig(folder=FolderConfig(out_folder=tmp_path / "out"))
    half = make_receiving_half(tmp_path / "data", config=config)
    return Station(rabbit_vhost, provisioned.delivery_queue, tmp_path, half)


async def wait_until(holds: Callable[[], Any], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for is on disk
            await asyncio.sleep(0.05)


def list_folders(station: Station) -> list[str]:
    return sorted(p.parent.name for p in (station.folder / "out").glob("*/referral.pdf"))


async def test_a_delivery_reaches_inbox_and_folder_and_its_receipt_the_hub(station: Station) -> None:
    await station.hand_out(make_delivery())
    async with station.running():
        await wait_until(lambda: list_folders(station))
        (accepted,) = await station.take_receipts(1)
    assert (accepted.delivery_id, accepted.state) == (DELIVERY, ReceiptState.ACCEPTED)
    assert station.half.inbox.read(DELIVERY, None).entry.state is ReceiptState.ACCEPTED
    assert len(list_folders(station)) == 1


async def test_the_same_delivery_twice_has_one_effect(station: Station) -> None:
    body = make_delivery()
    await station.hand_out(body, body)
    async with station.running():
        await wait_until(lambda: station.half.steps.count("incoming_acked") == 2)
        await wait_until(lambda: list_folders(station))
        receipts = await station.take_receipts(1)
    assert len(list_folders(station)) == 1
    assert {r.receipt_id for r in receipts} == {station.half.inbox_store.receipts.list_chain(DELIVERY)[0].receipt_id}


async def test_poison_does_not_hold_up_its_neighbours(station: Station) -> None:
    await station.hand_out(b"\xff poison", make_delivery(), b"{}")
    async with station.running():
        await wait_until(lambda: station.half.steps.count("incoming_acked") == 3)
    assert station.half.inbox.read(DELIVERY, None)
    assert [m.code for m in station.half.quarantine.list_messages()] == ["malformed", "malformed"]


async def test_a_cut_connection_loses_nothing(station: Station, cut_proxy: CutProxy) -> None:
    async with station.running(port=cut_proxy.port):
        await asyncio.sleep(0.5)
        cut_proxy.cut()
        await station.hand_out(make_delivery())
        cut_proxy.restore()
        await wait_until(lambda: list_folders(station), 40)
        (accepted,) = await station.take_receipts(1)
    assert accepted.state is ReceiptState.ACCEPTED


async def test_receipts_of_people_follow_in_order(station: Station) -> None:
    await station.hand_out(make_delivery())
    async with station.running():
        await wait_until(lambda: station.half.steps.count("incoming_acked") == 1)
        await asyncio.to_thread(station.half.inbox.note_opened, DELIVERY)
        receipts = await station.take_receipts(2)
    assert [r.state for r in receipts] == ["accepted", "opened"]
