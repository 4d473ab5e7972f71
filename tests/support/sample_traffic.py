"""The sample referrals through a hub: mapped, sealed and sent by their agencies at the samples' own times; two recipients open what they get.

Business time moves from file to file, as the samples say, and on to the new year, so that every clock that nobody meets runs out.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

from adapters.gateway.outgoing.plan_check import own_subjects
from adapters.gateway.outgoing.sealing import SectionSet
from adapters.mapping import draft_header
from broker.amqp.consumer import BatchConsumer
from broker.decisions import DecisionEngine
from schemas.codes import ReceiptState
from schemas.envelope import (
    EnvelopeDraft,
    ManifestFacts,
    SealedEnvelope,
    parse_delivery,
    seal,
    verify_delivery,
)
from schemas.referral import Referral
from tests.support.decisions import default_pack
from tests.support.hub_agency import sign_receipt
from tests.support.hub_world import CSC, SCHOOL, HubWorld, new_message_id
from tests.support.sample_files import SAMPLES, load_expected, load_sample_directory, map_document, parse_instant

OPENED_AFTER = {CSC: timedelta(minutes=45), SCHOOL: timedelta(minutes=50)}
"""Who opens what it gets, and how long after it was sent. The others' gateways never say a word."""
AFTERWARDS = datetime(2027, 3, 1, 12, tzinfo=UTC)


class SetClock:
    """A business clock that a test sets."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@dataclass
class SampleTraffic:
    """Sends the samples and answers as two recipients would."""

    world: HubWorld
    clock: SetClock
    consumers: dict[str, BatchConsumer]
    engine: DecisionEngine = field(default_factory=lambda: DecisionEngine(default_pack(), load_sample_directory()))
    sent: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Native reference digest to (message id, conversation)."""
    count: int = 0

    async def send_all(self) -> None:
        """Send every good sample, oldest first, and let business time pass."""
        files = sorted(load_expected()["files"], key=lambda entry: entry["received_at"])
        for entry in files:
            self.clock.now = parse_instant(entry["received_at"])
            await self._send_file(entry["file"])
        self.clock.now = AFTERWARDS
        await self.world.wait_for("SELECT count(*) FROM clocks WHERE state = 'running'", 0, seconds=60)

    async def _send_file(self, name: str) -> None:
        outcomes = map_document(name, (SAMPLES / name).read_bytes(), self.clock.now)
        for outcome in outcomes:
            assert outcome.referral is not None, outcome.error
            sealed = self._seal(outcome.referral)
            await self.world.publish(outcome.referral.sender, [sealed.body])
            self.count += 1
            await self.world.wait_for("SELECT count(*) FROM messages", self.count)
        sent_at = self.clock.now
        for agency, later in OPENED_AFTER.items():
            await self._open(agency, sent_at + later)

    def _seal(self, referral: Referral) -> SealedEnvelope:
        directory = self.engine.directory
        ids = {s.ref: f"subject-{token_hex(7)}" for s in referral.subjects}
        header = draft_header(referral, directory, ids, b"pepper")
        decisions = self.engine.decide_all(header, sender=referral.sender, now=self.clock.now)
        sections = SectionSet(referral, ids)
        grants: dict[str, list[str]] = {}
        for request, decision in zip(header.deliveries, decisions, strict=True):
            subjects = own_subjects(request, header, decision)
            forms = decision.permitted_forms() if request.agency in self.world.kits else {}
            grants[request.delivery_id] = [
                section for compartment, form in forms.items() for section in sections.need(compartment, form, subjects)
            ]
        earlier = self.sent.get(header.policy.corrects_ref_digest or "")
        message_id = new_message_id()
        conversation = earlier[1] if earlier else f"conv{token_hex(9)}"
        now = datetime.now(UTC)
        facts = ManifestFacts(
            message_id=message_id,
            referral_id=f"ref-{token_hex(9)}",
            revision=1,
            sender=referral.sender,
            issued_at=now,
            expires_at=now + timedelta(days=7),
            conversation=conversation,
            supersedes=earlier[0] if earlier else None,
        )
        self.sent[header.policy.native_ref_digest or ""] = (message_id, conversation)
        keys = self.world.encryption_keys()
        draft = EnvelopeDraft(facts, header, sections.drafts, grants)
        recipients = {d.delivery_id: keys[d.agency] for d in header.deliveries if grants[d.delivery_id]}
        return seal(draft, self.world.kits[referral.sender].signer, recipients)

    async def _open(self, agency: str, at: datetime) -> None:
        """Take what has come for an agency, and sign that it was accepted and opened, at ``at`` by business time."""
        expected = await self.world.owner.fetchval(
            "SELECT count(*) FROM deliveries d WHERE recipient = $1 AND cardinality(released) > 0 AND state = 'open'"
            " AND NOT EXISTS (SELECT 1 FROM tickets t WHERE (t.message_id, t.delivery_id) = (d.message_id, d.delivery_id))",
            agency,
        )
        bodies: list[bytes] = []
        while len(bodies) < expected:
            batch = await self.consumers[agency].next_batch(max_messages=64, within=10)
            bodies += [message.body for message in batch.messages if message.type == "delivery"]
            await batch.ack()
        self.clock.now = max(self.clock.now, at)
        for body in bodies:
            await self._receipt(agency, body)

    async def _receipt(self, agency: str, body: bytes) -> None:
        unverified = parse_delivery(body)
        delivery = verify_delivery(
            unverified,
            [self.world.kits[unverified.claimed_sender()].signer.public],
            self.world.log,
            recipient=agency,
            kids=[self.world.kits[agency].encryption_jwk["kid"]],
            now=datetime.now(UTC),
        )
        before: bytes | None = None
        for state in (ReceiptState.ACCEPTED, ReceiptState.OPENED):
            before = sign_receipt(self.world, delivery, state, before, at=self.clock.now)
            await self.world.publish(agency, [before], message_type="receipt")
            await self.world.wait_for(
                "SELECT count(*) FROM receipts WHERE delivery_id = $1 AND state = $2",
                1,
                delivery.delivery.delivery_id,
                state.value,
            )


def list_agencies() -> tuple[str, ...]:
    """Return every agency of the samples' partnership."""
    return tuple(agency.id for agency in load_sample_directory().agencies)


@asynccontextmanager
async def open_traffic(world: HubWorld) -> AsyncIterator[SampleTraffic]:
    """Run a worker on a business clock, and be ready to send."""
    clock = SetClock(datetime(2026, 11, 9, tzinfo=UTC))
    async with AsyncExitStack() as stack:
        consumers: dict[str, Any] = {}
        for agency in OPENED_AFTER:
            settings = world.rabbit.amqp_settings(agency)
            consumers[agency] = BatchConsumer(settings, [world.queues[agency]], prefetch=64)
            stack.push_async_callback(consumers[agency].close)
        await stack.enter_async_context(world.running_worker(clock=clock))
        yield SampleTraffic(world, clock, consumers)
