"""Making the outputs of stored deliveries, and sending receipts: two loops that work off what the stores say is still to do.

Each step can be repeated: a folder that is there is left alone, the case system knows the delivery's id, the hub knows the receipt. What fails is
tried again with growing waits; what has failed too often stays, marked, for a person.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from adapters.channels.folder_out import write_delivery
from adapters.channels.webhook import Webhook, choose_wait
from adapters.gateway.incoming.inbox import CONTACT_FOLDER, FOLDER, WEBHOOK, Inbox
from adapters.gateway.incoming.inbox_config import FolderConfig, InboxConfig, WebhookConfig
from adapters.gateway.incoming.inbox_model import PendingOutput
from adapters.gateway.incoming.inbox_outputs import OutputQueue
from adapters.gateway.incoming.inbox_store import InboxStore
from adapters.gateway.incoming.receipt_chains import ReceiptChains
from adapters.gateway.incoming.received import ReceivedReferral
from adapters.gateway.outgoing.publisher import Publisher
from schemas.errors import ConfigInvalid, DependencyUnavailable, Rejected, SafelaneError

_log = structlog.get_logger(__name__)

RESEND_UNLOGGED = timedelta(minutes=5)
"""A receipt that RabbitMQ took, but of which the log has said nothing for so long, is sent again: the same bytes."""
_FOLDER_RETRY = timedelta(seconds=30)
_FOLDER_ATTEMPTS = 200
_ERROR_PAUSE = 2.0
_AT_ONCE = 8


class OutputFault(Rejected):
    """This program failed on what the delivery holds: a person must look at it in the inbox."""

    code = "output-fault"
    status = 500
    retryable = True
    public_message = "The referral could not be written out because of a fault in this program. Read it in the inbox."


@dataclass(frozen=True, slots=True)
class OutputParts:
    """What making outputs needs. ``now`` is the real clock."""

    store: InboxStore
    queue: OutputQueue
    inbox: Inbox
    config: InboxConfig
    webhook: Webhook | None
    now: Callable[[], datetime]
    observe: Callable[[str], None]


class OutputMaker:
    """Makes due outputs, most urgent first."""

    def __init__(self, parts: OutputParts) -> None:
        self._parts = parts

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set."""
        try:
            while not stop.is_set():
                try:
                    made = await self.make_due()
                except DependencyUnavailable as error:
                    _log.warning("outputs_wait", code=error.code)
                    made = 0
                if not made:
                    await wait_or_stop(stop, self._parts.config.poll.total_seconds())
        finally:
            if self._parts.webhook is not None:
                await self._parts.webhook.close()

    async def make_due(self) -> int:
        """Make what is due once; return how many were tried."""
        due = await asyncio.to_thread(self._parts.queue.list_due_outputs, self._parts.now())
        places = asyncio.Semaphore(_AT_ONCE)  # a case system that hangs must not hold up the folders
        await asyncio.gather(*(self._make_one(output, places) for output in due))
        return len(due)

    async def _make_one(self, output: PendingOutput, places: asyncio.Semaphore) -> None:
        async with places:
            try:
                await self._make(output)
            except SafelaneError as error:
                await asyncio.to_thread(self._postpone, output, error)
                return
            except Exception as error:  # noqa: BLE001 - what a sender wrote must not stop the outputs of other referrals; the type alone is logged
                _log.error("output_crashed", delivery_id=output.delivery_id, error=type(error).__name__)
                await asyncio.to_thread(self._postpone, output, OutputFault(field=output.channel))
                return
            self._parts.observe("output_made")
            await asyncio.to_thread(self._parts.queue.record_output, output, self._parts.now())
            _log.info("output_made", delivery_id=output.delivery_id, channel=output.channel)

    async def _make(self, output: PendingOutput) -> None:
        received = await asyncio.to_thread(self._parts.store.read_received, output.delivery_id)
        self._parts.observe("output_started")
        if output.channel == WEBHOOK:
            if self._parts.webhook is None:
                raise ConfigInvalid("there is no webhook any more", field="inbox.webhook")
            await self._parts.webhook.post_delivery(received, now=self._parts.now())
            if self._parts.config.handing_over_opens:
                await asyncio.to_thread(self._parts.inbox.note_opened, output.delivery_id)
            return
        await asyncio.to_thread(write_delivery, received, self._find_folder(output.channel, received))

    def _find_folder(self, channel: str, received: ReceivedReferral) -> FolderConfig:
        if channel == FOLDER and received.contact is None and self._parts.config.folder is not None:
            return self._parts.config.folder
        if channel == CONTACT_FOLDER and received.contact is not None:
            named = self._parts.config.find_contact(received.contact)
            if named is not None and named.folder is not None:
                return named.folder
        raise ConfigInvalid("there is no such folder any more", field="inbox.folder")

    def _postpone(self, output: PendingOutput, error: SafelaneError) -> None:
        attempts = output.attempts + 1
        webhook: WebhookConfig | None = self._parts.config.webhook
        if output.channel == WEBHOOK and webhook is not None:
            wait, most = choose_wait(attempts, webhook), webhook.attempts
        else:
            wait, most = _FOLDER_RETRY, _FOLDER_ATTEMPTS
        last = attempts >= most
        self._parts.queue.record_output_failure(output, error, retry_at=None if last else self._parts.now() + wait)
        level = _log.error if last else _log.warning
        level(
            "output_failed" if last else "output_postponed",
            delivery_id=output.delivery_id,
            channel=output.channel,
            code=error.code,
            attempts=attempts,
        )


class ReceiptSender:
    """Publishes stored receipts in order until the log has them."""

    def __init__(
        self,
        chains: ReceiptChains,
        publisher: Publisher,
        *,
        now: Callable[[], datetime],
        poll: timedelta,
        observe: Callable[[str], None],
    ) -> None:
        self._chains = chains
        self._publisher = publisher
        self._now = now
        self._poll = poll
        self._observe = observe

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set."""
        while not stop.is_set():
            try:
                sent = await self.send_due()
            except SafelaneError as error:
                _log.warning("receipts_wait", code=error.code, field=error.field)
                await wait_or_stop(stop, _ERROR_PAUSE)
                continue
            if not sent:
                await wait_or_stop(stop, self._poll.total_seconds())

    async def send_due(self) -> int:
        """Publish what is due once; return how many.

        Raises:
            DependencyUnavailable, Undeliverable: RabbitMQ did not take one; the rest wait.
        """
        now = self._now()
        due = await asyncio.to_thread(self._chains.list_to_publish, now - RESEND_UNLOGGED)
        for receipt in due:
            self._observe("receipt_publishing")
            await self._publisher.publish("receipt", receipt.body, receipt.receipt_id)
            self._observe("receipt_published")
            await asyncio.to_thread(self._chains.record_published, receipt.receipt_id, self._now())
        return len(due)


async def wait_or_stop(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until ``stop`` is set."""
    try:
        await asyncio.wait_for(stop.wait(), timeout=seconds)
    except TimeoutError:
        return
