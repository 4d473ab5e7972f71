"""Deciding a delivery again: after an approval, a consent, a claim of danger, a keyring addendum. A decision of its own, logged and told like the first.

The hub can only narrow what the sender sealed: sections whose keys the recipient has go at once; for others the sender's gateway is asked, with the
signed statements that the decision rests on, and they go when its keyring addendum is here. What has been delivered is never taken back here.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_bytes

import structlog

from broker.amqp.connection import retry_delay
from broker.delivery.dispatch import pause
from broker.delivery.notices import build_notice, describe_decision
from broker.intake.clocking import start_late_clocks
from broker.intake.committing import RacedByAnother, commit_effects
from broker.intake.effects import Effects
from broker.intake.ports import IntakeParts
from broker.intake.releasing import choose_sections, decided_contact, list_rest, tell_grounds
from broker.intake.reopening import note_hold, note_release
from broker.intake.standing import Standing, read_standing
from broker.log import NewEvent
from broker.registry import DirectorySnapshot
from broker.store import registers as register_store
from broker.store.pool import Connection, translate_errors
from broker.store.registers import DueDecision, RedecisionRow
from schemas.canonical import canonical_bytes, sha256_base64url
from schemas.codes import CompartmentResult
from schemas.decision import Decision
from schemas.errors import DependencyUnavailable, Erased, IntegrityBroken
from schemas.log_entry import SALT_BYTES
from schemas.objects.events import DecidedEvent, commit_rest

_log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 16
_MOST_RACES = 5
_LEASE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which sections go now, by which keyring, and for which the sender must be asked."""

    released: tuple[str, ...] = ()
    kid: str | None = None
    addendum: str | None = None
    missing: tuple[str, ...] = ()


class Redecider:
    """Takes deliveries that must be decided again, one transaction each."""

    def __init__(self, parts: IntakeParts) -> None:
        """Keep what it works with."""
        self._parts = parts

    async def run(self, stop: asyncio.Event, *, every_seconds: float) -> None:
        """Decide again until ``stop``. What a dependency interrupts is tried again; broken integrity ends it."""
        while not stop.is_set():
            try:
                count = await self.redecide_once()
            except DependencyUnavailable as error:
                _log.warning("redecide.interrupted", code=error.code)
                count = 0
            if count < _MOST_AT_ONCE:
                await pause(stop, every_seconds)

    async def redecide_once(self) -> int:
        """Decide again what is due and return how many deliveries that were. A crash in between decides them again, with one effect."""
        now = self._parts.times.real()
        with translate_errors():
            async with self._parts.pool.acquire(timeout=10) as connection:
                due = await register_store.claim_decisions(connection, now, now + _LEASE, _MOST_AT_ONCE)
        for item in due:
            try:
                await self._redecide(item)
            except (DependencyUnavailable, IntegrityBroken):
                raise
            except Exception as error:  # noqa: BLE001 - one delivery must not stop the others; it is due again when its lease is over
                _log.error("redecide.failed", error=type(error).__name__, attempts=item.attempts, cause=item.cause)
        return len(due)

    async def _redecide(self, due: DueDecision) -> None:
        for attempt in range(_MOST_RACES):
            try:
                with translate_errors():
                    snapshot = await self._parts.snapshots.current()
                    async with self._parts.pool.acquire(timeout=10) as connection:
                        effects = await self._gather(connection, due, snapshot)
                        await commit_effects(
                            self._parts.pool,
                            connection,
                            self._parts.log,
                            effects,
                            snapshot=snapshot,
                            observe=self._parts.observe,
                        )
                        return
            except RacedByAnother:
                await asyncio.sleep(retry_delay(attempt, base=0.02, ceiling=0.5))

    async def _gather(self, connection: Connection, due: DueDecision, snapshot: DirectorySnapshot) -> Effects:
        real_now, now = self._parts.times.real(), self._parts.times.business()
        effects = Effects(now=real_now, lease_until=real_now)
        effects.register_change = await register_store.read_change(connection)
        try:
            standing = await read_standing(
                connection, due, snapshot, self._parts.deciders, now=now, version=effects.register_change
            )
        except Erased:
            effects.writes.append(lambda writer: register_store.finish_decision(writer, due))
            return effects  # what is gone is not decided again
        choice = await choose_release(connection, standing, snapshot, real_now)
        effects.writes.append(lambda writer: register_store.finish_decision(writer, due))
        if choice.released or _differs(standing):
            build_redecision(standing, choice, effects, now)
        if choice.released and not standing.gone:
            decider, _ = self._parts.deciders(snapshot)
            clocks = decider.start_clocks(standing.stored.header, [standing.decision], now)
            await start_late_clocks(connection, standing.stored, clocks, effects, now)
        if choice.missing:
            _ask_sender(standing, choice, effects, now)
        note_hold(
            standing.stored,
            standing.line,
            standing.decision,
            effects,
            snapshot.directory,
            now,
            waiting=bool(choice.missing),
        )
        return effects


async def choose_release(
    connection: Connection, standing: Standing, snapshot: DirectorySnapshot, real_now: datetime
) -> Choice:
    """Choose what goes now. One keyring serves one release: the first one, or an addendum of the sender's."""
    if standing.line["ticket_at"] is not None and standing.line["collected_at"] is None:
        return Choice()  # its collection decides
    stored, request = standing.stored, standing.request
    everything = request.model_copy(update={"granted_sections": tuple(stored.descriptors)})
    wanted = set(choose_sections(stored.descriptors, everything, standing.decision)) - standing.gone
    if not wanted:
        return Choice()
    granted = wanted & set(request.granted_sections)
    if not standing.gone:
        # The form that the first keyring opens goes even where a wider one could be asked for.
        granted = set(choose_sections(stored.descriptors, request, standing.decision))
    if snapshot.find_active_agency(request.agency) is None:
        return Choice()
    for addendum in await register_store.list_addenda(connection, standing.due.message_id, request.delivery_id):
        keyed = tuple(sorted(wanted & set(addendum["sections"])))
        if keyed:
            missing = tuple(sorted(wanted - set(keyed) - granted))
            return Choice(keyed, addendum["kid"], addendum["object_digest"], missing)
    places = {(stored.descriptors[s].compartment, stored.descriptors[s].subject) for s in granted}
    missing = tuple(
        sorted(
            s
            for s in wanted - granted
            if (stored.descriptors[s].compartment, stored.descriptors[s].subject) not in places
        )
    )
    kid = stored.kids.get(request.delivery_id)
    return Choice(tuple(sorted(granted)), kid if granted else None, None, missing)


def build_redecision(
    standing: Standing, choice: Choice, effects: Effects, now: datetime, *, post: bool = True, tell: bool = True
) -> int:
    """Add a later decision to ``effects``: its event, its row, the delivery (``post``), and the word to the sender (``tell``).

    Return the decided event's number.
    """
    event = _decided_event(standing, choice, now)
    decided = effects.log(NewEvent.from_bytes("decided", event[0].to_bytes(), message_id=str(standing.due.message_id)))
    row = RedecisionRow(
        event_id=effects.events[decided].event_id,
        message_id=standing.due.message_id,
        delivery_id=standing.due.delivery_id,
        number=standing.number,
        cause=standing.due.cause,
        outcome=standing.decision.outcome.value,
        row=standing.decision.row,
        reason=standing.decision.reason,
        decision=standing.decision.model_dump_json(exclude_none=True),
        released=choice.released,
        rest_salt=event[1],
        keyring_kid=choice.kid,
        addendum=choice.addendum,
        decided_at=now,
        directory_version=standing.directory.version,
    )
    effects.writes.append(lambda connection: register_store.insert_redecisions(connection, [row]))
    note_release(standing.line, standing.stored, standing.decision, choice.released, effects, standing.directory, now)
    if tell:
        tell_sender(standing, effects, now)
    if choice.released and post:
        effects.post(
            "delivery",
            standing.request.agency,
            decided,
            stored=None,
            message_id=standing.due.message_id,
            delivery_id=standing.due.delivery_id,
        )
    return decided


def tell_sender(standing: Standing, effects: Effects, now: datetime) -> None:
    """Tell the sender of a later decision, with its reason."""
    manifest = standing.stored.manifest
    notice = build_notice(
        "decided",
        at=now,
        message_id=manifest.message_id,
        referral_id=manifest.referral_id,
        revision=manifest.revision,
        manifest_digest=standing.stored.manifest_digest,
        decisions=[standing.decision],
        cause=standing.due.cause,
    )
    event = effects.log(
        NewEvent.salted(
            "redecided",
            {
                "at": now.isoformat(),
                "message_id": manifest.message_id,
                "delivery_id": standing.due.delivery_id,
                "cause": standing.due.cause,
                "outcome": standing.decision.outcome.value,
                "notice_sha256": notice.sha256,
            },
        )
    )
    effects.post(
        "notice",
        manifest.sender,
        event,
        stored=notice.base,
        message_id=standing.due.message_id,
        delivery_id=standing.due.delivery_id,
    )


def _ask_sender(standing: Standing, choice: Choice, effects: Effects, now: datetime) -> None:
    """Ask the sender's gateway for the keys of what may go now, with the signed statements on which that rests."""
    manifest = standing.stored.manifest
    base = canonical_bytes(
        {
            "release_request": 1,
            "at": now.isoformat(),
            "message_id": manifest.message_id,
            "referral_id": manifest.referral_id,
            "manifest_digest": standing.stored.manifest_digest,
            "delivery_id": standing.due.delivery_id,
            "recipient": standing.request.agency,
            "cause": standing.due.cause,
            "sections": list(choice.missing),
            "bases": list(standing.bases),
            "decision": describe_decision(standing.decision),
        }
    )
    event = effects.log(
        NewEvent.salted(
            "told",
            {
                "at": now.isoformat(),
                "message_id": manifest.message_id,
                "delivery_id": standing.due.delivery_id,
                "code": "RELEASE_REQUESTED",
                "notice_sha256": sha256_base64url(base),
            },
        )
    )
    effects.post(
        "approval",
        manifest.sender,
        event,
        stored=base,
        message_id=standing.due.message_id,
        delivery_id=standing.due.delivery_id,
    )


def _decided_event(standing: Standing, choice: Choice, now: datetime) -> tuple[DecidedEvent, bytes]:
    stored, decision, salt = standing.stored, standing.decision, token_bytes(SALT_BYTES)
    manifest = stored.manifest
    event = DecidedEvent(
        at=now,
        message_id=manifest.message_id,
        referral_id=manifest.referral_id,
        revision=manifest.revision,
        manifest_digest=stored.manifest_digest,
        sender=manifest.sender,
        delivery_id=standing.request.delivery_id,
        recipient=standing.request.agency,
        role=standing.request.role,
        purpose=standing.request.purpose,
        contact=decided_contact(standing.request, decision),
        keyring_kid=choice.kid,
        outcome=decision.outcome,
        **tell_grounds(decision, salt),
        released=choice.released,
        rest=commit_rest(list_rest(stored.descriptors, decision, choice.released), salt),
    )
    return event, salt


def _differs(standing: Standing) -> bool:
    """Tell whether policy says something else than before of this delivery."""
    before, after = standing.before, standing.decision
    return (before.outcome, before.row, before.deliver_to, _results(before)) != (
        after.outcome,
        after.row,
        after.deliver_to,
        _results(after),
    )


def _results(decision: Decision) -> dict[str, tuple[CompartmentResult, str]]:
    return {compartment.value: (d.result, d.row) for compartment, d in decision.compartments.items()}
