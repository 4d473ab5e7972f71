"""Kill -9 of the receiving half between any two steps, then restart: the delivery has one effect, and its receipt arrives.

Each property fails under the mutation that breaks it.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.gateway.incoming.inbox_model import InboxFilter
from broker.amqp.consumer import BatchConsumer, Incoming
from broker.amqp.frames import Outgoing
from broker.amqp.publisher import BatchPublisher
from broker.amqp.topology import DELIVERY_EXCHANGE, INTAKE_QUEUES
from tests.support.receiving import DELIVERY, RECIPIENT, make_delivery, make_receiving_half
from tests.support.receiving_process import ACK_FIRST, NO_DEDUPE
from tests.support.servers import RabbitVhost

STEPS = (
    "incoming_received",
    "incoming_stored",
    "incoming_acked",
    "receipt_publishing",
    "receipt_published",
    "output_started",
    "output_made",
)
ROOT = Path(__file__).parents[2]


@dataclass
class Scene:
    """A provisioned recipient and the process of its receiving half."""

    rabbit: RabbitVhost
    queue: str
    folder: Path

    def start(self, *, kill_at: str | None = None, mutation: str | None = None) -> subprocess.Popen[bytes]:
        settings = self.rabbit.amqp_settings(RECIPIENT).model_dump(mode="json")
        told = self.folder / "told.json"
        told.write_text(
            json.dumps(
                {
                    "amqp": settings,
                    "queue": self.queue,
                    "folder": str(self.folder),
                    "kill_at": kill_at,
                    "mutation": mutation,
                }
            )
        )
        with (self.folder / "process.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.support.receiving_process", str(told)], cwd=ROOT, stdout=log, stderr=log
            )

    async def run_until_killed(self, step: str, mutation: str | None = None) -> None:
        process = self.start(kill_at=step, mutation=mutation)
        code = await asyncio.to_thread(process.wait, 30)
        assert code == -signal.SIGKILL

    async def run_until_done(self, mutation: str | None = None, within: float = 20) -> bool:
        """Run until inbox, folder and receipt are there; return whether they came."""
        process = self.start(mutation=mutation)
        deadline = time.monotonic() + within
        done = False
        while time.monotonic() < deadline and not done:
            await asyncio.sleep(0.2)
            done = await asyncio.to_thread(self.is_done)
        await asyncio.sleep(0.3)
        os.kill(process.pid, signal.SIGTERM)
        await asyncio.to_thread(process.wait, 20)
        return done

    def is_done(self) -> bool:
        half = make_receiving_half(self.folder / "data")
        try:
            receipts = half.inbox_store.receipts.list_chain(DELIVERY)
            published = half.store.query("SELECT 1 FROM inbox_receipt WHERE published_at IS NOT NULL")
            return bool(receipts and published and half.outputs.list_outputs(DELIVERY) == {"folder": "done"})
        finally:
            half.store.close()

    async def hand_out(self) -> None:
        publisher = BatchPublisher(self.rabbit.amqp_settings("hub"))
        message = Outgoing(
            delivery_id="m/1",
            exchange=DELIVERY_EXCHANGE,
            routing_key=self.queue,
            body=make_delivery(),
            user_id="hub",
            type="delivery",
        )
        await publisher.publish_batch([message])
        await publisher.close()

    async def take(self, user: str, *queues: str) -> list[Incoming]:
        consumer = BatchConsumer(self.rabbit.amqp_settings(user), list(queues))
        found: list[Incoming] = []
        for _ in range(3):
            batch = await consumer.next_batch(within=0.4)
            found += batch.messages
            await batch.ack()
        await consumer.close()
        return found


@pytest.fixture
async def scene(rabbit_vhost: RabbitVhost, tmp_path: Path) -> Scene:
    provisioned = await rabbit_vhost.administration.provision_agency(RECIPIENT)
    return Scene(rabbit_vhost, provisioned.delivery_queue, tmp_path)


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_the_delivery_has_one_effect(scene: Scene, step: str) -> None:
    await scene.hand_out()
    await scene.run_until_killed(step)
    assert await scene.run_until_done()
    half = make_receiving_half(scene.folder / "data")
    assert [e.delivery_id for e in half.inbox.list_entries(InboxFilter(), 10)] == [DELIVERY]
    folders = [p for p in (scene.folder / "out").iterdir() if not p.name.startswith(".")]
    assert [sorted(f.name for f in folder.iterdir()) for folder in folders] == [["referral.json", "referral.pdf"]]
    (receipt,) = half.inbox_store.receipts.list_chain(DELIVERY)
    arrived = await scene.take("hub", *INTAKE_QUEUES.values())
    assert {(m.delivery_id, m.body) for m in arrived} == {(receipt.receipt_id, receipt.body)}
    assert await scene.take(RECIPIENT, scene.queue) == []
    assert half.quarantine.list_messages() == []


async def test_acknowledging_before_storing_would_lose_it(scene: Scene) -> None:
    await scene.hand_out()
    await scene.run_until_killed("incoming_received", mutation=ACK_FIRST)
    assert not await scene.run_until_done(within=4)


async def test_a_store_without_memory_would_sign_twice(scene: Scene) -> None:
    await scene.hand_out()
    await scene.run_until_killed("receipt_published")
    await scene.hand_out()
    await scene.run_until_done(mutation=NO_DEDUPE)
    arrived = await scene.take("hub", *INTAKE_QUEUES.values())
    assert len({m.delivery_id for m in arrived}) == 2
