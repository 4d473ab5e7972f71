"""The sender: takes referrals from the outbox through plan, seal and publish, one small durable step at a time.

Steps, and what a kill between them leaves behind:

1. received → planned: the hub was asked who would get what, and the answer fits the signed matrix. Killed before it is stored: asked again.
2. planned → sealed: bytes and section keys are stored in one transaction before anything leaves. Killed before: sealed anew, nothing had left.
3. sealed → published: RabbitMQ confirmed the stored bytes. Killed before that is noted: the same bytes are published again, and the hub knows them.

A proven contradiction in the hub's log (``log_watch``) stops all of it: referrals are still taken in and wait.

From there ``tracking`` waits for the hub's proof and for receipts; until the proof is there the same bytes are published again now and then.
"""

import asyncio
import random
from datetime import datetime

import structlog

from adapters.gateway.identity.directory_keeper import VerifiedDirectory
from adapters.gateway.outgoing.outbox_model import OutboxReferral, OutboxState
from adapters.gateway.outgoing.plan_check import refuse_wider_plan
from adapters.gateway.outgoing.recipients import RecipientUnconfirmed
from adapters.gateway.outgoing.sealing import Plan, SealingFacts, seal_referral
from adapters.gateway.outgoing.tracking import UNRESOLVED, AlarmTimes
from adapters.gateway.parts import AgencyParts
from adapters.gateway.random_ids import new_message_id, new_opaque_id
from adapters.gateway.witnessing.log_watch import LogWatch
from adapters.mapping import draft_header
from schemas.errors import (
    ConfigInvalid,
    DependencyUnavailable,
    IntegrityBroken,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    SafelaneError,
    Undeliverable,
)
from schemas.header import RoutingHeader
from schemas.referral import Referral

_log = structlog.get_logger(__name__)

LANES = 3
MAX_RESEND_DOUBLINGS = 6


_NOT_THE_REFERRALS_FAULT = (Undeliverable, NotAuthenticated, NotPermitted, NotFound, ConfigInvalid)


class SendingFault(SafelaneError):
    """This program failed in a way that nobody foresaw; the log has its type."""

    code = "sending-fault"
    retryable = True
    public_message = "This program failed on a referral. It tries again; tell your operator if it goes on."


class Sender:
    """The sending loops of one agency, urgent referrals first. A few run side by side, so that one that waits for the hub delays no other."""

    def __init__(self, parts: AgencyParts) -> None:
        self._parts = parts
        self._times = parts.gateway.sending
        self._work = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._choosing = asyncio.Lock()
        self._busy: set[str] = set()
        self._resent_at: dict[str, datetime] = {}
        self._log_watch = LogWatch(parts.store)

    def wake(self) -> None:
        """Say that there is something new in the outbox; from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._work.set)

    async def run(self, stop: asyncio.Event) -> None:
        """Send until ``stop`` is set. An unexpected error ends the loops; the supervisor starts them again."""
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for _ in range(LANES):
                group.create_task(self._run_lane(stop))
            group.create_task(self._watch(stop))

    async def _run_lane(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if await self.send_next():
                continue
            self._work.clear()
            try:
                await asyncio.wait_for(self._work.wait(), timeout=self._times.poll.total_seconds())
            except TimeoutError:
                continue

    async def _watch(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.resend_unanswered()
            await self.raise_alarms()
            try:
                await asyncio.wait_for(stop.wait(), timeout=self._times.poll.total_seconds())
            except TimeoutError:
                continue

    async def send_next(self) -> bool:
        """Move the next due referral one step on; return whether there was one."""
        async with self._choosing:
            now = self._parts.real_clock()
            if await asyncio.to_thread(self._log_watch.find_stop):
                return False
            item = await asyncio.to_thread(self._parts.outbox.next_to_send, now, other_than=frozenset(self._busy))
            if item is None:
                return False
            self._busy.add(item.referral_id)
        try:
            await self._advance(item)
        except SafelaneError as error:
            await asyncio.to_thread(self._put_aside, item, error)
        except Exception as error:  # noqa: BLE001 - one referral must not stop the others; the type alone is logged
            _log.error("sending_fault", referral_id=item.referral_id, error=type(error).__name__)
            await asyncio.to_thread(self._put_aside, item, SendingFault())
        finally:
            self._busy.discard(item.referral_id)
        return True

    async def resend_unanswered(self) -> None:
        """Publish again, unchanged, what the hub has not answered for long; each time after twice the wait."""
        if await asyncio.to_thread(self._log_watch.find_stop):
            return
        now = self._parts.real_clock()
        waiting = await asyncio.to_thread(self._parts.outbox.unanswered, now - self._times.resend_after)
        for message in waiting:
            wait = self._times.resend_after * 2 ** min(message.publications - 1, MAX_RESEND_DOUBLINGS)
            tried_at = self._resent_at.get(message.message_id, message.published_at)
            if now - max(message.published_at, tried_at) < wait:
                continue
            self._resent_at[message.message_id] = now
            try:
                await self._publish(message.message_id, urgent=message.urgent)
            except SafelaneError as error:
                _log.warning("resend_failed", message_id=message.message_id, code=error.code)
                return
        known = {message.message_id for message in waiting}
        self._resent_at = {m: at for m, at in self._resent_at.items() if m in known}

    async def raise_alarms(self) -> None:
        """Let our own clock raise the alarm for what waits too long."""
        times = AlarmTimes(
            accept=self._times.accept_alarm,
            accept_urgent=self._times.accept_alarm_urgent,
            receipt=self._times.receipt_alarm,
            receipt_urgent=self._times.receipt_alarm_urgent,
        )
        await asyncio.to_thread(self._parts.outbox.tracking.raise_due_alarms, times, self._parts.real_clock())

    async def draft_plan(self, referral: Referral) -> Plan:
        """Draft the header, ask the hub, and check its plan against the signed matrix. Nothing is stored or sent.

        Raises:
            PlanTooWide: the hub's plan does not fit the signed matrix.
            DependencyUnavailable: the hub does not answer, or plans by another directory than ours.
        """
        parts = self._parts
        directory = parts.keeper.current()
        header, subject_ids = self._draft_header(referral, directory)
        answer = await parts.hub.plan(header)
        if answer.directory_version > directory.version:
            directory = await parts.keeper.refresh()
        if answer.directory_version != directory.version:
            raise DependencyUnavailable("the hub plans by another directory", field="directory_version")
        refuse_wider_plan(answer.decisions, header, directory.directory, now=parts.clock())
        return Plan(header, answer.decisions, subject_ids, directory.version)

    async def _advance(self, item: OutboxReferral) -> None:
        if item.state is OutboxState.RECEIVED:
            await self._plan(item)
        elif item.state is OutboxState.PLANNED:
            await self._seal(item)
        elif item.message_id is not None:
            await self._publish(item.message_id, urgent=item.urgent)

    async def _plan(self, item: OutboxReferral) -> None:
        parts = self._parts
        referral = await asyncio.to_thread(self._read_referral, item.referral_id)
        named = {e.agency for e in referral.circulation if not e.agency.startswith(UNRESOLVED)}
        await asyncio.to_thread(parts.recipients.require_confirmed, named, parts.real_clock())
        parts.observe("before_plan")
        plan = await self.draft_plan(referral)
        parts.observe("after_plan")
        await asyncio.to_thread(parts.outbox.record_plan, item.referral_id, plan.to_json(), parts.real_clock())
        parts.observe("plan_stored")

    async def _seal(self, item: OutboxReferral) -> None:
        parts = self._parts
        directory = parts.keeper.current()
        kept = await asyncio.to_thread(parts.outbox.read_plan, item.referral_id)
        if kept is None or kept["directory_version"] != directory.version:
            await asyncio.to_thread(parts.outbox.discard_plan, item.referral_id, parts.real_clock())
            return
        referral = await asyncio.to_thread(self._read_referral, item.referral_id)
        facts = self._write_facts(item, referral)
        sealing = await asyncio.to_thread(
            seal_referral,
            referral,
            Plan.from_json(kept),
            facts,
            directory,
            parts.keystore.signing_keys(),
            business_now=parts.clock(),
        )
        parts.observe("before_sealing_stored")
        await asyncio.to_thread(parts.outbox.record_sealing, item.referral_id, sealing, parts.real_clock())
        parts.observe("sealing_stored")

    async def _publish(self, message_id: str, *, urgent: bool) -> None:
        parts = self._parts
        sealed = await asyncio.to_thread(parts.outbox.read_sealed, message_id)
        parts.observe("before_publish")
        await parts.publisher.publish("referral", sealed.body, message_id, urgent=urgent)
        parts.observe("after_publish")
        await asyncio.to_thread(parts.outbox.record_published, message_id, parts.real_clock())
        parts.observe("publish_recorded")
        _log.info("referral_published", referral_id=sealed.referral_id, message_id=message_id)

    def _draft_header(self, referral: Referral, directory: VerifiedDirectory) -> tuple[RoutingHeader, dict[str, str]]:
        subject_ids = {subject.ref: new_opaque_id() for subject in referral.subjects}
        pepper_id, pepper = self._parts.keystore.pepper()
        header = draft_header(referral, directory.directory, subject_ids, pepper, pepper_id=pepper_id)
        return header, subject_ids

    def _write_facts(self, item: OutboxReferral, referral: Referral) -> SealingFacts:
        issued_at = self._parts.real_clock()
        earlier = None
        if referral.relates_to is not None:
            earlier = self._parts.outbox.find_earlier(referral.relates_to, other_than=item.referral_id)
        if earlier is not None and earlier.is_being_prepared:
            raise DependencyUnavailable("the message that this one concerns is not sealed yet", field="relates_to")
        return SealingFacts(
            message_id=new_message_id(issued_at),
            referral_id=item.referral_id,
            conversation=item.conversation,
            issued_at=issued_at,
            expires_at=issued_at + self._times.envelope_lifetime,
            supersedes=earlier.message_id if earlier else None,
            reseals=item.message_id,
        )

    def _read_referral(self, referral_id: str) -> Referral:
        return Referral.model_validate_json(self._parts.outbox.read_content(referral_id))

    def _put_aside(self, item: OutboxReferral, error: SafelaneError) -> None:
        """Decide what a failure means: try again later, ask a person (``held``), or stop as things stand (``failed``).

        What is wrong between this gateway and the hub (credentials, clocks, a missing queue) is tried again: our own clock raises the alarm. Only
        what is wrong with the referral itself stops it.
        """
        parts, now = self._parts, self._parts.real_clock()
        if isinstance(error, RecipientUnconfirmed | IntegrityBroken):
            parts.outbox.stop(item.referral_id, OutboxState.HELD, error, now)
        elif error.retryable or isinstance(error, _NOT_THE_REFERRALS_FAULT):
            longest = self._times.retry_longest_urgent if item.urgent else self._times.retry_longest
            wait = min(longest, self._times.retry_first * 2 ** min(item.attempts, 16))
            until = now + wait * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
            parts.outbox.postpone(item.referral_id, until, error)
        else:
            parts.outbox.stop(item.referral_id, OutboxState.FAILED, error, now)
