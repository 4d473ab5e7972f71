"""Taking in what the hub sends to this agency: each message is stored before RabbitMQ hears that we have it.

By claimed type: a delivery is verified, opened and put in the inbox with its first receipt; a receipt or notice goes to the outbox. The claim only
chooses the reader: what is signed decides. Whatever cannot be taken in goes to the local quarantine with its reason, and is acknowledged then, so
that one poisoned message holds up nobody. When the store, the directory or RabbitMQ is not available, messages go back and wait.

Killed at any instant, RabbitMQ hands out again what was not acknowledged, and the stores recognise what they have.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from adapters.gateway.identity.directory_keeper import DirectoryKeeper, VerifiedDirectory
from adapters.gateway.identity.keystore import Keystore
from adapters.gateway.incoming.hub_messages import ReceiptRefused, read_forwarded_receipt, read_notice
from adapters.gateway.incoming.inbox import Inbox
from adapters.gateway.incoming.opening import CannotOpen, NotForUs, SenderUnknown, open_incoming
from adapters.gateway.incoming.quarantine import LocalQuarantine
from adapters.gateway.incoming.sealed_twice import SealedTwice
from adapters.gateway.outgoing.outbox import Outbox
from adapters.gateway.outgoing.registers import RegisterDesk
from broker.amqp.consumer import BatchConsumer, Incoming, IncomingBatch
from schemas.envelope import ForeignKeyring
from schemas.errors import DependencyUnavailable, IntegrityBroken, MalformedMessage, SafelaneError, SignatureInvalid
from schemas.log_epochs import ProofLost

_log = structlog.get_logger(__name__)

_MAY_HEAL = (SenderUnknown, SignatureInvalid, ForeignKeyring, NotForUs)
"""A directory that is out of date can cause these: fetch a newer one before giving up."""
_LOGGED = "recorded"
_ESCALATED = "escalated"
_LONGEST_IDLE = 1.0


class UnknownType(MalformedMessage):
    """A type of message that this version does not take in."""

    code = "unknown-type"
    public_message = "A message of a type that this gateway does not know. It is kept in quarantine."


class ReaderFailed(IntegrityBroken):
    """Our own reader failed on a message in a way that nobody foresaw: a fault of this program."""

    code = "reader-failed"


@dataclass(frozen=True, slots=True)
class ConsumerParts:
    """What taking in needs. ``clock`` is the business clock, ``real_clock`` the real one."""

    agency: str
    inbox: Inbox
    outbox: Outbox
    quarantine: LocalQuarantine
    keeper: DirectoryKeeper
    keystore: Keystore
    clock: Callable[[], datetime]
    real_clock: Callable[[], datetime]
    observe: Callable[[str], None]
    registers: RegisterDesk | None = None
    """What is said and heard beside referrals and receipts; none where only these matter."""


class IncomingReader:
    """Takes in one message at a time, durably, whatever it is."""

    def __init__(self, parts: ConsumerParts) -> None:
        self._parts = parts

    async def take_in(self, message: Incoming) -> None:
        """Take in or quarantine a message; when this returns, it is on disk and may be acknowledged.

        Raises:
            DependencyUnavailable: it cannot be taken in now; it must go back.
        """
        self._parts.observe("incoming_received")
        await self._take_in(message.type or "", message.body, message.delivery_id)
        self._parts.observe("incoming_stored")

    async def _take_in(self, claimed_type: str, body: bytes, amqp_id: str) -> None:
        try:
            await self._read_with_newer_directory(claimed_type, body)
        except DependencyUnavailable:
            raise
        except ProofLost as error:
            # Its sender sends it again; the hub decides and logs it anew. Taking this one in would be a release without a log.
            _log.warning("incoming_lost_in_the_log", agency=self._parts.agency, type=claimed_type, code=error.code)
        except SafelaneError as error:
            await self._set_aside(claimed_type, body, amqp_id, error)
        except Exception as error:  # noqa: BLE001 - a message on which our own reader fails must not stop the others
            _log.error("incoming_reader_failed", type=claimed_type, error=type(error).__name__)
            fault = ReaderFailed(f"the reader failed: {type(error).__name__}", field="message")
            await self._set_aside(claimed_type, body, amqp_id, fault)

    async def try_again(self, digest: str) -> None:
        """Take in a quarantined message after all, and forget it there.

        Raises:
            NotFound: there is no such message.
            SafelaneError: it still cannot be taken in, and stays where it is.
        """
        quarantine = self._parts.quarantine
        kept = await asyncio.to_thread(quarantine.find_message, digest)
        body = await asyncio.to_thread(quarantine.read_body, digest)
        await self._read_with_newer_directory(kept.type, body)
        await asyncio.to_thread(quarantine.resolve, body)
        _log.info("quarantined_taken_in", agency=self._parts.agency, type=kept.type)

    async def _read_with_newer_directory(self, claimed_type: str, body: bytes) -> None:
        try:
            await self._read(claimed_type, body)
        except _MAY_HEAL:
            try:
                await self._parts.keeper.refresh()
            except IntegrityBroken as error:
                _log.error("directory_refused", code=error.code, field=error.field)
            await self._read(claimed_type, body)

    async def _read(self, claimed_type: str, body: bytes) -> None:
        readers = {
            "delivery": self._read_delivery,
            "receipt": self._read_receipt,
            "notice": self._read_notice,
            "ticket": self._read_notice,
            "approval": self._read_release_request,
        }
        reader = readers.get(claimed_type)
        if reader is None:
            raise UnknownType(field="type")
        await asyncio.to_thread(reader, body)

    def _read_delivery(self, body: bytes) -> None:
        parts = self._parts
        now, directory = parts.real_clock(), self._directory()
        received = open_incoming(
            body,
            agency=parts.agency,
            directory=directory,
            private_jwks=parts.keystore.encryption_private_jwks(now),
            now=now,
            received_at=parts.clock(),
        )
        if directory.directory.hub.earlier:
            parts.inbox.note_lost(received.delivery_id, directory.directory.hub)
        parts.inbox.take_in(received, body)
        parts.quarantine.resolve(body)

    def _read_receipt(self, body: bytes) -> None:
        verified = read_forwarded_receipt(body, self._directory(), self._parts.outbox)
        receipt = verified.receipt
        known = self._parts.outbox.record_receipt(
            message_id=receipt.message_id,
            delivery_id=receipt.delivery_id,
            state=receipt.state.value,
            reason_code=receipt.reason_code,
            receipt_digest=verified.digest,
            body=body,
            at=receipt.at,
            now=self._parts.real_clock(),
        )
        if not known:
            raise ReceiptRefused(field="receipt.delivery_id")

    def _read_notice(self, body: bytes) -> None:
        parts = self._parts
        notice = read_notice(body, self._directory())
        if parts.registers is not None and parts.registers.hear(body, notice.outcome, proven=notice.proof_verified):
            return
        if notice.outcome == _LOGGED:
            if notice.proof_verified and notice.delivery_id and notice.receipt_digest:
                parts.inbox.record_logged(notice.delivery_id, notice.receipt_digest, notice.log_position)
            return
        if notice.outcome == _ESCALATED:
            if notice.proof_verified:
                parts.outbox.tracking.clocks.record_escalation(notice.told)
                _log.error("clock_ran_out", agency=parts.agency, delivery_id=notice.delivery_id)
            return
        sealed = parts.outbox.manifest_digest(notice.message_id)
        same = sealed is None or notice.manifest_digest is None or notice.manifest_digest == sealed
        if not same:
            _log.critical("notice_names_another_manifest", agency=parts.agency, message_id=notice.message_id)
        parts.outbox.record_notice(
            message_id=notice.message_id,
            referral_id=notice.referral_id,
            outcome=notice.outcome,
            decisions=notice.decisions,
            retryable=notice.retryable,
            proof_verified=notice.proof_verified and same,
            error=notice.error,
            clocks=notice.clocks,
            log_position=notice.log_position,
            body=body,
            now=parts.real_clock(),
        )

    def _read_release_request(self, body: bytes) -> None:
        if self._parts.registers is None:
            raise UnknownType(field="type")
        self._parts.registers.releases.take_in(body, self._directory(), self._parts.real_clock())

    async def take_in_collected(self, body: bytes) -> None:
        """Take in or quarantine a delivery that came as the answer to a claim ticket, as if it had come by RabbitMQ.

        Raises:
            DependencyUnavailable: it cannot be taken in now; collect it again.
        """
        await self._take_in("delivery", body, "")

    async def _set_aside(self, claimed_type: str, body: bytes, amqp_id: str, error: SafelaneError) -> None:
        if isinstance(error, CannotOpen):
            await asyncio.to_thread(self._parts.inbox.refuse, error.binding, "cannot_open")
        elif isinstance(error, SealedTwice):
            await asyncio.to_thread(self._parts.inbox.refuse_second, error)
        await asyncio.to_thread(
            self._parts.quarantine.keep,
            body,
            claimed_type=claimed_type,
            amqp_message_id=amqp_id,
            error=error,
            now=self._parts.real_clock(),
        )
        level = _log.critical if isinstance(error, IntegrityBroken) else _log.error
        level("incoming_quarantined", agency=self._parts.agency, type=claimed_type, code=error.code, field=error.field)

    def _directory(self) -> VerifiedDirectory:
        return self._parts.keeper.current(self._parts.real_clock())


class DeliveryConsumer:
    """Consumes this agency's delivery queue until told to stop."""

    def __init__(self, reader: IncomingReader, consumer: BatchConsumer, *, observe: Callable[[str], None]) -> None:
        self._reader = reader
        self._consumer = consumer
        self._observe = observe

    async def run(self, stop: asyncio.Event) -> None:
        """Take in messages until ``stop`` is set; then close the connection. Unavailable servers are waited for."""
        try:
            while not stop.is_set():
                try:
                    batch = await self._consumer.next_batch(max_messages=16, within=_LONGEST_IDLE)
                except DependencyUnavailable as error:
                    _log.warning("consumer_waits", code=error.code)
                    await _pause(stop)
                    continue
                await self._settle(batch, stop)
        finally:
            await self._consumer.close()

    async def _settle(self, batch: IncomingBatch, stop: asyncio.Event) -> None:
        for number, message in enumerate(batch.messages):
            try:
                await self._reader.take_in(message)
            except DependencyUnavailable as error:
                _log.warning("incoming_goes_back", code=error.code, field=error.field)
                await batch.reject(batch.messages[number:], requeue=True)
                await _pause(stop)
                return
            await batch.ack([message])
            self._observe("incoming_acked")


async def _pause(stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), timeout=2.0)
    except TimeoutError:
        return
