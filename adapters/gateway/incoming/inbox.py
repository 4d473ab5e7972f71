"""The inbox: what this agency received, who may open it, and what became of it.

One effect per delivery, however often it comes. A delivery that names a contact is there for that contact alone: for everybody else it does not
exist, neither in the list nor in the agency's common folder or webhook.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from adapters.gateway.incoming.inbox_config import InboxConfig
from adapters.gateway.incoming.inbox_model import InboxEntry, InboxFilter, StoredReceipt, Taken
from adapters.gateway.incoming.inbox_store import InboxStore
from adapters.gateway.incoming.opening import DeliveryBinding
from adapters.gateway.incoming.receipts import ReceiptDesk, ReceiptRequest
from adapters.gateway.incoming.received import ReceivedReferral
from adapters.gateway.incoming.sealed_twice import DUPLICATE, EarlierSealings, SealedTwice
from schemas.codes import ReceiptState
from schemas.directory import HubKeys
from schemas.errors import NotFound

_log = structlog.get_logger(__name__)

FOLDER = "folder"
WEBHOOK = "webhook"
CONTACT_FOLDER = "contact-folder"


@dataclass(frozen=True, slots=True)
class InboxItem:
    """A delivery as its reader sees it: content, receipts, and what corrects it or is corrected by it."""

    entry: InboxEntry
    received: ReceivedReferral
    receipts: tuple[StoredReceipt, ...]
    corrects: tuple[InboxEntry, ...]
    corrected_by: tuple[InboxEntry, ...]


class Inbox:
    """One agency's inbox. Methods are synchronous and durable when they return."""

    def __init__(
        self,
        agency: str,
        store: InboxStore,
        desk: ReceiptDesk,
        config: InboxConfig,
        real_clock: Callable[[], datetime],
        *,
        sealings: EarlierSealings,
    ) -> None:
        self._agency = agency
        self._store = store
        self._sealings = sealings
        self._desk = desk
        self._config = config
        self._now = real_clock

    def take_in(self, received: ReceivedReferral, body: bytes) -> Taken:
        """Store a verified delivery with its ``accepted`` receipt. One that is there already has its receipts sent again.

        Raises:
            Conflict: another message came under the same delivery id.
            SealedTwice: another sealing of the same referral was handed over before.
        """
        binding = DeliveryBinding(
            delivery_id=received.delivery_id,
            message_id=received.message_id,
            referral_id=received.referral_id,
            manifest_digest=received.manifest_digest,
            decision_leaf=received.decision_leaf,
            sender=received.sender,
            recipient=received.recipient,
            sections=tuple(s.section_id for s in received.sections),
        )
        with self._store.transaction():
            known = self._store.find_leaf(received.delivery_id)
            if known is None:
                self._check_sealings(received, binding)
            taken = self._store.record_delivery(
                received,
                body,
                channels=self._choose_channels(received),
                make_receipt=self._desk.first_receipt(binding),
                now=self._now(),
            )
            if taken is Taken.DECIDED_ANEW and known is not None:
                lost = self._store.receipts.list_lost(received.delivery_id, known)
                self._desk.sign_again(self._store.find_entry(received.delivery_id), self._agency, lost)
        if taken is not Taken.STORED:
            self._store.receipts.send_again(received.delivery_id)
        _log.info(f"delivery_{taken.value}", delivery_id=received.delivery_id)
        return taken

    def note_lost(self, delivery_id: str, hub: HubKeys) -> None:
        """Let a delivery that is here be decided anew, where the log lost the decision that it came with (``InboxStore.note_lost``)."""
        if self._store.note_lost(delivery_id, hub):
            _log.info("delivery_lost_in_the_log", delivery_id=delivery_id)

    def refuse(self, binding: DeliveryBinding, reason_code: str) -> None:
        """Sign a refusal of a delivery that is authentic but cannot be opened."""
        self._store.receipts.add_refusal(binding.delivery_id, self._desk.first_receipt(binding, reason_code))
        self._store.receipts.send_again(binding.delivery_id)

    def refuse_second(self, error: SealedTwice) -> None:
        """Tell the sender by a signed refusal that a second sealing came; the receipts of the first are sent again."""
        self.refuse(error.binding, DUPLICATE)
        self._store.receipts.send_again(error.first)

    def record_logged(self, delivery_id: str, digest: str, position: int | None = None) -> None:
        """Note that a receipt of ours is proven to be in the message log, and where."""
        if not self._store.receipts.record_logged(delivery_id, digest, self._now(), position):
            _log.warning("receipt_notice_unknown", delivery_id=delivery_id)

    def list_entries(self, chosen: InboxFilter, limit: int) -> list[InboxEntry]:
        """Return a page of what the asking contact may open, newest first."""
        return self._store.list_entries(chosen, limit)

    def read(self, delivery_id: str, contact: str | None) -> InboxItem:
        """Return a delivery for whoever asks.

        Raises:
            NotFound: there is none, or it is for another named contact (the two look the same).
        """
        entry = self._find(delivery_id, contact)
        corrects, corrected_by = self._store.list_related(entry)
        return InboxItem(
            entry=entry,
            received=self._store.read_received(delivery_id),
            receipts=tuple(self._store.receipts.list_chain(delivery_id)),
            corrects=tuple(corrects),
            corrected_by=tuple(corrected_by),
        )

    def record_receipt(
        self, delivery_id: str, contact: str | None, request: ReceiptRequest
    ) -> tuple[list[StoredReceipt], list[StoredReceipt]]:
        """Sign what is said of a delivery; return the receipts added (none when it was said before) and the whole chain.

        Raises:
            NotFound: there is none, or it is for another named contact.
            Rejected, Conflict: the receipt is not one that may follow.
        """
        entry = self._find(delivery_id, contact)
        added = self._desk.record(entry, self._agency, request)
        for receipt in added:
            _log.info("receipt_signed", delivery_id=delivery_id, state=receipt.state.value)
        return added, self._store.receipts.list_chain(delivery_id)

    def note_opened(self, delivery_id: str, person: str | None = None) -> None:
        """Sign ``opened`` if the chain is at ``accepted``; otherwise change nothing."""
        entry = self._store.find_entry(delivery_id)
        if entry.state is ReceiptState.ACCEPTED:
            self._desk.record(entry, self._agency, ReceiptRequest(ReceiptState.OPENED, person=person))

    def _check_sealings(self, received: ReceivedReferral, binding: DeliveryBinding) -> None:
        first, others = self._sealings.find_same(received)
        if first is not None:
            raise SealedTwice(binding, first)
        if (
            others
        ):  # for another role, purpose or contact: they must have it, and somebody must ask why it was sealed again
            _log.critical("referral_sealed_twice", delivery_id=received.delivery_id)

    def _find(self, delivery_id: str, contact: str | None) -> InboxEntry:
        entry = self._store.find_entry(delivery_id)
        if entry.contact is not None and entry.contact != contact:
            _log.warning("contact_refused", delivery_id=delivery_id)
            raise NotFound("there is no such delivery", field="delivery_id")
        return entry

    def _choose_channels(self, received: ReceivedReferral) -> list[str]:
        if received.contact is None:
            chosen = {FOLDER: self._config.folder, WEBHOOK: self._config.webhook}
            return [name for name, config in chosen.items() if config is not None]
        named = self._config.find_contact(received.contact)
        if named is None:
            _log.error("contact_not_configured", delivery_id=received.delivery_id, contact=received.contact)
            return []
        return [CONTACT_FOLDER] if named.folder is not None else []
