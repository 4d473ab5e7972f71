"""One batch of intake: many messages, one transaction, then what may leave.

1 to 4. Each message is read and verified (``reading``, ``receipts``); a fault of one touches no other.
5 to 7. Repeats, decisions, deliveries (``referrals``), receipts and refusals are gathered as ``Effects``.
8.      One transaction stores them and appends their events as its last statements. Before COMMIT is certain nothing leaves and nothing is acked.
9.      A batch that PostgreSQL refuses for its content is halved until the message at fault goes to quarantine alone.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from broker.amqp.consumer import Incoming
from broker.delivery.dispatch import Parcel
from broker.delivery.queues import QueueNames
from broker.intake import objects
from broker.intake import receipts as receipt_steps
from broker.intake import referrals as referral_steps
from broker.intake.clocking import ClockLedger
from broker.intake.committing import RacedByAnother, commit_effects
from broker.intake.consequences import tell_corrected
from broker.intake.effects import Effects, build_parcels
from broker.intake.notifying import tell
from broker.intake.ports import IntakeParts
from broker.intake.reading import Candidate, read_referral
from broker.intake.receipts import SignedCandidate
from broker.intake.referrals import DecisionContext, Repeat
from broker.intake.refusals import DeadLettered, NotUnderstood, Stuck
from broker.intake.refusing import Refusal, build_refusal
from broker.intake.register_view import read_registers
from broker.intake.stored import list_tokens
from broker.registry import DirectorySnapshot
from broker.store import messages as message_store
from broker.store import receipts as receipt_store
from broker.store import registers as register_store
from broker.store.messages import Known
from broker.store.pool import Connection, StoreUnavailable, translate_errors
from schemas.errors import DependencyUnavailable, IntegrityBroken, SafelaneError
from schemas.objects.receipt import Receipt

_log = structlog.get_logger(__name__)

_MOST_RACES = 5
ERASED = "ERASED"
"""A repeat of what was erased on request: it had its one effect, and nobody can be shown again what it was."""
_YIELD_EVERY = 8
"""Messages after which other tasks of the loop get a turn: confirms and heartbeats do not wait for a whole batch."""


@dataclass(slots=True)
class Readings:
    """A batch after steps 1 to 4."""

    candidates: list[Candidate] = field(default_factory=list)
    signed: list[SignedCandidate] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def refuse(self, incoming: Incoming, error: SafelaneError) -> None:
        """Put a message aside with the error for which it is not taken in."""
        self.refusals.append(Refusal(incoming, error))


@dataclass(slots=True)
class Taken:
    """What became of a batch: what to publish, and receipts that came before their predecessors and must be handed out again."""

    parcels: list[Parcel] = field(default_factory=list)
    deferred: list[Incoming] = field(default_factory=list)


class Intake:
    """Takes batches in. One for each process; while one is committed the next is read, and they commit in the order of arrival."""

    def __init__(self, parts: IntakeParts, *, queues: QueueNames, lease: timedelta) -> None:
        """Keep what it works with. ``lease`` is how long this process has to publish what it committed before another may."""
        self._parts = parts
        self._queues = queues
        self._lease = lease
        self._turn = asyncio.Lock()

    async def take(self, incoming: Sequence[Incoming]) -> Taken:
        """Take a batch in and return what to publish. When it returns, every message that is not deferred is committed: ack it.

        Raises:
            DependencyUnavailable: nothing of what remains was taken in; give the messages back and try again later.
            IntegrityBroken: something that must never differ differs; release nothing more.
        """
        with translate_errors():
            snapshot = await self._parts.snapshots.current()
        snapshot.require_fresh(self._parts.times.real())
        readings = await self._read(incoming, snapshot)
        self._parts.observe("verified")
        async with self._turn:
            return await self._take_readings(readings, snapshot)

    async def condemn(self, incoming: Sequence[Incoming]) -> Taken:
        """Put messages into quarantine that RabbitMQ gave up on; their senders are told.

        Raises:
            DependencyUnavailable: nothing was stored; try again later.
        """
        with translate_errors():
            snapshot = await self._parts.snapshots.current()
        async with self._turn:
            return await self._take_readings(
                Readings(refusals=[Refusal(m, DeadLettered()) for m in incoming]), snapshot
            )

    async def _take_readings(self, readings: Readings, snapshot: DirectorySnapshot) -> Taken:
        try:
            return await self._commit(readings, snapshot)
        except (DependencyUnavailable, IntegrityBroken):
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is, one message must not stop its neighbours)
            _log.error("intake.batch-failed", error=type(error).__name__, messages=_count(readings))
            if _count(readings) == 1:
                return await self._quarantine(_condemn(readings), snapshot)
            taken = Taken()
            for half in _halve(readings):
                part = await self._take_readings(half, snapshot)
                taken.parcels += part.parcels
                taken.deferred += part.deferred
            return taken

    async def _quarantine(self, readings: Readings, snapshot: DirectorySnapshot) -> Taken:
        try:
            return await self._commit(readings, snapshot)
        except (DependencyUnavailable, IntegrityBroken):
            raise
        except Exception as error:  # noqa: BLE001 (the message must not end the worker)
            _log.error("intake.quarantine-failed", error=type(error).__name__)
            raise Stuck("not even quarantine takes the message", field="quarantine") from None

    async def _read(self, incoming: Sequence[Incoming], snapshot: DirectorySnapshot) -> Readings:
        readings = Readings()
        now = self._parts.times.real()
        for number, message in enumerate(incoming):
            try:
                if (message.type or "referral") == "referral":
                    readings.candidates.append(read_referral(message, snapshot, now))
                else:
                    readings.signed.append(receipt_steps.read_signed(message, snapshot))
            except (DependencyUnavailable, IntegrityBroken):
                raise
            except SafelaneError as error:
                readings.refuse(message, error)
            except Exception as error:  # noqa: BLE001 (a parser's surprise concerns this message alone)
                _log.error("intake.message-failed", error=type(error).__name__)
                readings.refuse(message, NotUnderstood())
            if number % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)
        return readings

    async def _read_again(self, readings: Readings, snapshot: DirectorySnapshot) -> Readings:
        """Verify again under a directory that moved: a key may be revoked since. What was refused stays refused."""
        verified = [c.incoming for c in readings.candidates] + [c.incoming for c in readings.signed]
        again = await self._read(verified, snapshot)
        again.refusals += readings.refusals
        return again

    async def _commit(self, readings: Readings, snapshot: DirectorySnapshot) -> Taken:
        for _ in range(_MOST_RACES):
            try:
                with translate_errors():
                    async with self._parts.pool.acquire(timeout=10) as connection:
                        await self._queues.refresh(connection, asyncio.get_running_loop().time())
                        effects = await self._gather(connection, readings, snapshot)
                        self._parts.observe("decided")
                        if effects.is_empty():
                            return Taken([], effects.deferred)
                        batch = await commit_effects(
                            self._parts.pool,
                            connection,
                            self._parts.log,
                            effects,
                            snapshot=snapshot,
                            observe=self._parts.observe,
                        )
                        self._parts.observe("committed")
                        parcels = build_parcels(effects.events, effects.drafts, batch) if batch else []
                        return Taken(parcels, effects.deferred)
            except RacedByAnother:
                # Another worker stored one of these meanwhile, or the directory moved: look again, decide again.
                with translate_errors():
                    current = await self._parts.snapshots.current()
                if current.change != snapshot.change:
                    readings = await self._read_again(readings, current)
                snapshot = current
        raise StoreUnavailable("other workers were faster too often", field="postgresql")

    async def _gather(self, connection: Connection, readings: Readings, snapshot: DirectorySnapshot) -> Effects:
        now = self._parts.times.real()
        effects = Effects(now=now, lease_until=now + self._lease)
        effects.register_change = await register_store.read_change(connection)
        decider, registers = self._parts.deciders(snapshot)
        now_logged = self._parts.times.business()
        clocks = ClockLedger(decider.clock_rules, snapshot.directory, now_logged)
        context = DecisionContext(snapshot, decider, registers, self._queues, now_logged, clocks)
        refusals = list(readings.refusals)
        known = await self._find_known(connection, readings, refusals)
        candidates: list[Candidate] = []
        for candidate in readings.candidates:
            try:
                referral_steps.check_contradiction(candidate, known.bodies_with_batch)
                candidates.append(candidate)
            except SafelaneError as error:
                refusals.append(Refusal(candidate.incoming, error))
        fresh, repeats = referral_steps.sort_out_repeats(candidates, known)
        spoken_of = await register_store.find_spoken_of(
            connection, sorted({t for c in fresh for t in list_tokens(c.verified.header)})
        )
        await clocks.load_conversations(connection, [c.verified for c in fresh])
        for candidate in fresh:
            try:
                mine = await see_registers(connection, candidate, context, spoken_of, effects)
                decisions = referral_steps.decide_referral(candidate, mine)
            except (DependencyUnavailable, IntegrityBroken):
                raise
            except SafelaneError as error:
                refusals.append(Refusal(candidate.incoming, error))
                continue
            referral_steps.build_referral(candidate, decisions, mine, effects, known)
        stored = {row.message_id for row in effects.messages}
        accepted = [c.verified for c in fresh if c.message_id in stored]
        await tell_corrected(connection, accepted, effects, context.now)
        await self._repeat_notices(connection, repeats, effects, context.now)
        refusals += await self._gather_signed(connection, readings.signed, effects, context)
        await clocks.write(connection, effects)
        seen = set(known.refused)
        for refusal in refusals:
            if refusal.key in seen:
                effects.refused_again.append(refusal.key)
            else:
                seen.add(refusal.key)
                build_refusal(refusal, self._queues, effects, context.now)
        return effects

    async def _find_known(self, connection: Connection, readings: Readings, refusals: Sequence[Refusal]) -> Known:
        references = [
            (c.verified.manifest.sender, digest, c.verified.manifest.referral_id)
            for c in readings.candidates
            if (digest := c.verified.header.policy.native_ref_digest)
        ]
        return await message_store.find_known(
            connection,
            [c.message_id for c in readings.candidates],
            [c.effect for c in readings.candidates],
            references,
            [refusal.key for refusal in refusals],
        )

    async def _repeat_notices(
        self, connection: Connection, repeats: Sequence[Repeat], effects: Effects, now: datetime
    ) -> None:
        """Tell the sender of a repeat again what became of the original: it may have missed it. Of what was erased, that it was."""
        if not repeats:
            return
        notices = await message_store.find_notices(connection, list({repeat.original for repeat in repeats}))
        for repeat in repeats:
            found = notices.pop(repeat.original, None)
            if found is None:
                continue
            sender, (event_id, notice) = repeat.candidate.verified.manifest.sender, found
            if notice is None:
                tell(effects, sender, ERASED, repeat.original, None, now)
            else:
                effects.repeat(sender, event_id, notice)

    async def _gather_signed(
        self, connection: Connection, signed: Sequence[SignedCandidate], effects: Effects, context: DecisionContext
    ) -> list[Refusal]:
        if not signed:
            return []
        recorded = await receipt_store.find_recorded(connection, [candidate.digest for candidate in signed])
        keys = {receipt_steps.receipt_key(c.model) for c in signed if isinstance(c.model, Receipt)}
        deliveries = await receipt_store.find_deliveries(connection, sorted(keys))
        chains = {key: receipt_steps.read_chain(delivery) for key, delivery in deliveries.items()}
        seen: set[str] = set()
        refusals: list[Refusal] = []
        receipts: list[Receipt] = []
        for candidate in signed:
            event_id, notice = recorded.get(candidate.digest, (None, None))
            if event_id is not None and notice is not None:
                effects.repeat(candidate.incoming.user_id or "", event_id, notice)
            if candidate.digest in recorded or candidate.digest in seen:
                continue
            seen.add(candidate.digest)
            if not isinstance(candidate.model, Receipt):
                try:
                    await objects.take_object(connection, candidate, effects, context)
                except SafelaneError as error:
                    refusals.append(Refusal(candidate.incoming, error))
                continue
            key = receipt_steps.receipt_key(candidate.model)
            chain = chains.get(key, [])
            if receipt_steps.is_early(candidate, chain):
                effects.deferred.append(candidate.incoming)
                continue
            try:
                receipt_steps.check_receipt(candidate.model, deliveries.get(key), chain)
            except SafelaneError as error:
                refusals.append(Refusal(candidate.incoming, error))
                continue
            receipt_steps.build_receipt(candidate, deliveries[key], effects, context.now)
            chain.append((candidate.digest, candidate.model))
            receipts.append(candidate.model)
        await context.clocks.take_receipts(connection, receipts)
        return refusals


async def see_registers(
    connection: Connection, candidate: Candidate, context: DecisionContext, spoken_of: frozenset[str], effects: Effects
) -> DecisionContext:
    """Return the context with what the registers say of this referral's children (``spoken_of``: of whom they say anything) and tokens."""
    header, manifest = candidate.verified.header, candidate.verified.manifest
    if not header.policy.tokens and spoken_of.isdisjoint(list_tokens(header)):
        return context
    registers = await read_registers(
        connection,
        header,
        context.snapshot.directory,
        sender=manifest.sender,
        conversation=manifest.conversation,
        now=context.now,
    )
    used = {
        (scheme, ref)
        for (sender, scheme, ref), conversation in effects.used_tokens.items()
        if sender == manifest.sender and conversation != manifest.conversation
    }
    return replace(context, registers=replace(registers, used_tokens=registers.used_tokens | used))


def _count(readings: Readings) -> int:
    return len(readings.candidates) + len(readings.signed) + len(readings.refusals)


def _condemn(readings: Readings) -> Readings:
    """Return the one message of ``readings`` as a refusal of ours."""
    messages = [candidate.incoming for candidate in readings.candidates]
    messages += [candidate.incoming for candidate in readings.signed]
    messages += [refusal.incoming for refusal in readings.refusals]
    return Readings(refusals=[Refusal(message, NotUnderstood()) for message in messages])


def _halve(readings: Readings) -> tuple[Readings, Readings]:
    halves = Readings(), Readings()
    number = 0
    for name in ("candidates", "signed", "refusals"):
        for item in getattr(readings, name):
            getattr(halves[number % 2], name).append(item)
            number += 1
    return halves
