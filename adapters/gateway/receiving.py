"""Wiring of the receiving half for one agency: consumer, inbox, outputs and receipts over the agency's shared store."""

import asyncio
from dataclasses import dataclass, field

from adapters.channels.webhook import Webhook, read_secret
from adapters.gateway.consumer import ConsumerParts, DeliveryConsumer, IncomingReader
from adapters.gateway.inbox import Inbox
from adapters.gateway.inbox_outputs import OutputQueue
from adapters.gateway.inbox_store import InboxStore
from adapters.gateway.outputs import OutputMaker, OutputParts, ReceiptSender
from adapters.gateway.parts import AgencyParts
from adapters.gateway.quarantine import LocalQuarantine
from adapters.gateway.receipts import ReceiptDesk
from broker.amqp.consumer import BatchConsumer


@dataclass(frozen=True, slots=True)
class Receiving:
    """The receiving half of one agency. ``contact_keys`` maps a named contact's id to the key that opens its deliveries."""

    agency: str
    inbox: Inbox
    store: InboxStore
    outputs: OutputQueue
    quarantine: LocalQuarantine
    reader: IncomingReader
    consumer: DeliveryConsumer
    maker: OutputMaker
    receipts: ReceiptSender
    contact_keys: dict[str, bytes] = field(repr=False)

    async def run(self, stop: asyncio.Event) -> None:
        """Consume, make outputs and send receipts until ``stop`` is set; the first unforeseen error ends all three.

        Restarting is always safe: everything is picked up from the store.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self.consumer.run(stop), name="consume")
            group.create_task(self.maker.run(stop), name="outputs")
            group.create_task(self.receipts.run(stop), name="receipts")


def build_receiving(parts: AgencyParts) -> Receiving:
    """Build the receiving half from what both halves share.

    Raises:
        ConfigInvalid: a secret or key file of the configuration cannot be used.
    """
    config = parts.config.inbox
    store = InboxStore(parts.store)
    quarantine = LocalQuarantine(parts.store, limit=config.max_quarantine)
    queue = OutputQueue(parts.store)
    desk = ReceiptDesk(store, parts.keystore.signing_keys, parts.clock)
    inbox = Inbox(parts.agency, store, desk, config, parts.real_clock)
    reader = IncomingReader(
        ConsumerParts(
            agency=parts.agency,
            inbox=inbox,
            outbox=parts.outbox,
            quarantine=quarantine,
            keeper=parts.keeper,
            keystore=parts.keystore,
            clock=parts.clock,
            real_clock=parts.real_clock,
            observe=parts.observe,
        )
    )
    consumer = BatchConsumer(parts.amqp_settings, [parts.queue], prefetch=config.prefetch)
    maker = OutputMaker(
        OutputParts(
            store=store,
            queue=queue,
            inbox=inbox,
            config=config,
            webhook=Webhook(config.webhook) if config.webhook else None,
            now=parts.real_clock,
            observe=parts.observe,
        )
    )
    return Receiving(
        agency=parts.agency,
        inbox=inbox,
        store=store,
        outputs=queue,
        quarantine=quarantine,
        reader=reader,
        consumer=DeliveryConsumer(reader, consumer, observe=parts.observe),
        maker=maker,
        receipts=ReceiptSender(store, parts.publisher, now=parts.real_clock, poll=config.poll, observe=parts.observe),
        contact_keys={c.contact: read_secret(c.key_file) for c in config.contacts},
    )
