"""Wiring of the receiving half for one agency: consumer, inbox, outputs and receipts over the agency's shared store."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from adapters.channels.folder_out import erase_delivery
from adapters.channels.webhook import Webhook, read_secret
from adapters.gateway.incoming.consumer import ConsumerParts, DeliveryConsumer, IncomingReader
from adapters.gateway.incoming.inbox import Inbox
from adapters.gateway.incoming.inbox_config import InboxConfig
from adapters.gateway.incoming.inbox_outputs import OutputQueue
from adapters.gateway.incoming.inbox_recalls import InboxRecalls
from adapters.gateway.incoming.inbox_store import InboxStore
from adapters.gateway.incoming.outputs import OutputMaker, OutputParts, ReceiptSender
from adapters.gateway.incoming.quarantine import LocalQuarantine
from adapters.gateway.incoming.receipts import ReceiptDesk
from adapters.gateway.incoming.received_subjects import ReceivedSubjects
from adapters.gateway.incoming.sealed_twice import EarlierSealings
from adapters.gateway.incoming.tickets import TicketDesk, collect_tickets
from adapters.gateway.outgoing.registers import RegisterDesk
from adapters.gateway.outgoing.releases import ReleaseDesk, ReleaseParts
from adapters.gateway.outgoing.requests import RequestDesk
from adapters.gateway.outgoing.statements import StatementBook, send_statements
from adapters.gateway.parts import AgencyParts
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
    registers: RegisterDesk
    subjects: ReceivedSubjects
    poll: timedelta = timedelta(seconds=1)

    async def run(self, stop: asyncio.Event) -> None:
        """Consume, make outputs and send receipts until ``stop`` is set; the first unforeseen error ends all three.

        Restarting is always safe: everything is picked up from the store.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self.consumer.run(stop), name="consume")
            group.create_task(self.maker.run(stop), name="outputs")
            group.create_task(self.receipts.run(stop), name="receipts")
            group.create_task(send_statements(self.registers.statements, stop, self.poll), name="statements")
            group.create_task(
                collect_tickets(self.registers.tickets, self.reader.take_in_collected, stop, self.poll), name="tickets"
            )


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
    inbox = Inbox(parts.agency, store, desk, config, parts.real_clock, sealings=EarlierSealings(parts.store))
    registers = build_registers(parts, store)
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
            registers=registers,
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
        receipts=ReceiptSender(
            store.receipts, parts.publisher, now=parts.real_clock, poll=config.poll, observe=parts.observe
        ),
        contact_keys={c.contact: read_secret(c.key_file) for c in config.contacts},
        registers=registers,
        subjects=ReceivedSubjects(
            parts.store, lambda: parts.keeper.current(parts.real_clock()).directory.partnership.test_mode
        ),
        poll=config.poll,
    )


def build_registers(parts: AgencyParts, inbox: InboxStore) -> RegisterDesk:
    """Build this agency's part in the registers."""
    statements = StatementBook(parts.store, parts.keystore.signing_keys, parts.publisher, parts.real_clock)
    releases = ReleaseDesk(
        ReleaseParts(parts.agency, parts.store, parts.outbox, statements),
        automatic=parts.config.late_release == "automatic",
    )
    return RegisterDesk(
        agency=parts.agency,
        statements=statements,
        releases=releases,
        tickets=TicketDesk(parts.store, parts.hub, parts.real_clock),
        outbox=parts.outbox,
        inbox=inbox,
        recalls=InboxRecalls(parts.store),
        requests=RequestDesk(
            agency=parts.agency,
            statements=statements,
            outbox=parts.outbox,
            keeper=parts.keeper,
            pepper=parts.keystore.pepper,
            clock=parts.clock,
            real_clock=parts.real_clock,
        ),
        keeper=parts.keeper,
        clock=parts.clock,
        real_clock=parts.real_clock,
        erase_files=_make_eraser(parts.config.inbox),
    )


def _make_eraser(config: InboxConfig) -> Callable[[str], int]:
    folders = [contact.folder for contact in config.contacts] + [config.folder]
    places = [folder.out_folder for folder in folders if folder is not None]
    return lambda delivery_id: sum(erase_delivery(place, delivery_id) for place in places)
