"""A receiving half as a process of its own, which kills itself (SIGKILL) at a named step; for tests of step 6.

``python -m tests.support.receiving_process SETTINGS`` where SETTINGS is a JSON file: amqp, queue, folder, kill_at, mutation.
A mutation is a fault that a careless change could make; each must be caught by a test.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from adapters.gateway.incoming.consumer import DeliveryConsumer
from adapters.gateway.incoming.inbox_config import FolderConfig, InboxConfig
from adapters.gateway.incoming.outputs import OutputMaker, OutputParts, ReceiptSender
from adapters.gateway.outgoing.publisher import Publisher
from broker.amqp.consumer import BatchConsumer, Incoming, IncomingBatch
from broker.amqp.settings import AmqpSettings
from tests.support.envelopes import NOW
from tests.support.receiving import RECIPIENT, make_receiving_half

ACK_FIRST = "ack-before-store"
NO_DEDUPE = "no-dedupe"


class AckFirstConsumer(BatchConsumer):
    """The mutation "acknowledge, then store"."""

    async def next_batch(self, **options: Any) -> IncomingBatch:
        batch = await super().next_batch(**options)
        await batch.ack()
        await asyncio.sleep(0.2)  # let the acknowledgement leave
        return _Settled(batch.messages)


class _Settled(IncomingBatch):
    def __init__(self, messages: Iterable[Incoming]) -> None:
        super().__init__(list(messages), None)

    async def ack(self, messages: Iterable[Incoming] | None = None) -> bool:
        return True


def make_killer(step: str | None) -> Callable[[str], None]:
    def observe(reached: str) -> None:
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return observe


async def run(told: dict[str, Any]) -> None:
    folder = Path(told["folder"])
    settings = AmqpSettings.model_validate(told["amqp"])
    observe = make_killer(told.get("kill_at"))
    config = InboxConfig(folder=FolderConfig(out_folder=folder / "out"), poll=timedelta(milliseconds=50))
    half = make_receiving_half(folder / "data", config=config, observe=observe)
    mutation = told.get("mutation")
    if mutation == NO_DEDUPE:  # a store that forgets between restarts what it has
        with half.store.transaction() as db:
            for table in ("inbox_output", "inbox_receipt", "inbox_delivery"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - fixed names
    consumer_type = AckFirstConsumer if mutation == ACK_FIRST else BatchConsumer
    consumer = consumer_type(settings, [told["queue"]], prefetch=20)
    stop = asyncio.Event()
    parts = OutputParts(
        store=half.inbox_store,
        queue=half.outputs,
        inbox=half.inbox,
        config=config,
        webhook=None,
        now=lambda: NOW,
        observe=observe,
    )
    publisher = Publisher(RECIPIENT, settings)
    loops = [
        DeliveryConsumer(half.reader, consumer, observe=observe).run(stop),
        OutputMaker(parts).run(stop),
        ReceiptSender(half.inbox_store.receipts, publisher, now=lambda: NOW, poll=config.poll, observe=observe).run(
            stop
        ),
    ]
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await asyncio.gather(*loops)
    await publisher.close()


if __name__ == "__main__":
    asyncio.run(run(json.loads(Path(sys.argv[1]).read_text())))
