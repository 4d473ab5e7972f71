"""Statutory and local clocks through real messages: started on commit, met, paused, resumed and breached by what is logged (FORMATS CH-20).

Which clocks a kind starts and what meets them is data of the policy pack; how long they run is local policy. They run on logged, business time. A
batch has one ledger: it reads the clocks that the batch's messages and receipts concern, moves them, and writes each change once, with its event.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from broker.decisions.clocks import Clock, ClockRules
from broker.decisions.running import (
    ClockState,
    RunningClock,
    breach_clock,
    meet_clock,
    pause_clock,
    renew_clock,
    resume_clock,
)
from broker.delivery.notices import describe_clock
from broker.intake.breaching import tell_breach, tell_changes
from broker.intake.committing import RacedByAnother
from broker.intake.effects import Effects
from broker.intake.notifying import tell_of
from broker.intake.stored import StoredMessage
from broker.log.events import new_event_id
from broker.store import clocks as clock_store
from broker.store.clocks import ClockLine
from broker.store.pool import Connection
from schemas.directory import Directory
from schemas.envelope import VerifiedEnvelope
from schemas.objects.receipt import Receipt


class ClockLedger:
    """The clocks that one transaction moves. ``now`` is the business clock's instant at which everything in it is logged."""

    def __init__(self, rules: ClockRules, directory: Directory, now: datetime) -> None:
        """Start empty."""
        self._rules = rules
        self._directory = directory
        self._now = now
        self._lines: dict[UUID, ClockLine] = {}

    async def load_conversations(self, connection: Connection, messages: Iterable[VerifiedEnvelope]) -> None:
        """Read the clocks of the conversations in which these messages move something."""
        matter = self._rules.kinds_that_matter
        wanted = sorted({m.manifest.conversation for m in messages if m.header.case.kind in matter})
        if wanted:
            self._add(await clock_store.find_conversation_clocks(connection, wanted))

    def take_message(self, verified: VerifiedEnvelope, message_id: UUID, clocks: Sequence[Clock]) -> None:
        """Move earlier clocks of a message's conversation, then start its own: one for each recipient that it binds, or one that binds none."""
        manifest, kind = verified.manifest, verified.header.case.kind
        met = self._rules.find_met(kind)
        resumes = kind in self._rules.resumed_by
        if met or resumes:
            for line in self._lines.values():
                concerned = line.sender == manifest.sender or manifest.sender in line.parties
                if line.conversation == manifest.conversation and line.message_id != message_id and concerned:
                    self._move_by_message(line, manifest.sender, is_met=line.clock.clock in met, resumes=resumes)
        for clock in clocks:
            for recipient in clock.recipients or (None,):
                line = ClockLine(
                    clock_id=new_event_id(),
                    message_id=message_id,
                    referral_id=manifest.referral_id,
                    sender=manifest.sender,
                    conversation=manifest.conversation,
                    recipient=recipient,
                    manifest_digest=verified.manifest_digest,
                    extendable_to=clock.extendable_to,
                    clock=RunningClock(clock.clock, clock.starts_at, clock.due_at, self._now),
                    stored=None,
                    parties=frozenset(clock.recipients),
                )
                self._lines[line.clock_id] = line

    async def take_receipts(self, connection: Connection, receipts: Sequence[Receipt]) -> None:
        """Meet or pause the clocks that bind the signers of these receipts.

        A receipt of an update or correction counts for the clocks that may have waited for it.
        """
        if not receipts:
            return
        ids = sorted({UUID(receipt.message_id) for receipt in receipts})
        self._add(await clock_store.find_message_clocks(connection, ids))
        if not any(line.recipient for line in self._lines.values()):
            return
        kinds = await clock_store.find_kinds(connection, ids)
        pausable = self._rules.find_pausable()
        for receipt in receipts:
            occasion = receipt.state.value
            reasoned = f"{occasion}:{receipt.reason_code}"
            met = self._rules.find_met(occasion, reasoned)
            pauses = not self._rules.paused_by.isdisjoint({occasion, reasoned})
            kind, conversation = kinds.get(UUID(receipt.message_id), ("", ""))
            for line in self._lines.values():
                if line.recipient != receipt.recipient or not self._concerns(line, receipt, kind, conversation):
                    continue
                if line.clock.clock in met:
                    line.clock = meet_clock(line.clock, self._now)
                elif pauses and line.clock.clock in pausable:
                    line.clock = pause_clock(line.clock, self._now)

    def take_reviews(self, reviews: Iterable[tuple[ClockLine, str, datetime]]) -> None:
        """Meet or renew clocks by approvals (``action``, and the instant at which each was logged)."""
        for read, action, at in reviews:
            line = self._lines.setdefault(read.clock_id, read)
            occasion = f"approval:{action}"
            if line.clock.clock in self._rules.find_met(occasion):
                line.clock = meet_clock(line.clock, at)
            elif line.clock.clock in self._rules.find_renewed(occasion):
                line.clock = renew_clock(line.clock, at, self._directory)

    def breach(self, lines: Iterable[ClockLine]) -> None:
        """Note that these clocks have run out."""
        for read in lines:
            line = self._lines.setdefault(read.clock_id, read)
            line.clock = breach_clock(line.clock, self._now)

    async def write(self, connection: Connection, effects: Effects) -> int:
        """Add the rows, events, notices and negative receipts to ``effects``; return how many clocks changed.

        Call it once, at the end of gathering. The write raises ``RacedByAnother`` if another worker moved one of the clocks meanwhile.
        """
        new = [line for line in self._lines.values() if line.stored is None]
        changed = [line for line in self._lines.values() if line.stored is not None and line.clock != line.stored]
        if new:
            effects.writes.append(lambda writer: clock_store.insert_clocks(writer, new))
        if changed:
            effects.writes.append(lambda writer: _update(writer, changed))
        moved = changed + [line for line in new if line.clock.state is not ClockState.RUNNING]
        if moved:
            await self._tell(connection, moved, effects)
        return len(moved)

    async def _tell(self, connection: Connection, moved: Sequence[ClockLine], effects: Effects) -> None:
        tell_changes(moved, effects, self._now, self._list_roles)
        for line in moved:
            if line.clock.breached_at is not None and (
                line.stored is None or line.stored.breached_at != line.clock.breached_at
            ):
                delivery_id = self._find_bound_delivery(line)
                await tell_breach(connection, line, delivery_id, effects, self._list_roles(line.clock.clock))

    def _move_by_message(self, line: ClockLine, sender: str, *, is_met: bool, resumes: bool) -> None:
        if is_met:
            line.clock = meet_clock(line.clock, self._now)
        elif resumes and line.sender == sender:
            line.clock = resume_clock(line.clock, self._now, self._directory)

    def _concerns(self, line: ClockLine, receipt: Receipt, kind: str, conversation: str) -> bool:
        """Tell whether a receipt counts for a clock: it is of a delivery that the clock binds, or of the answer that it waited for."""
        if str(line.message_id) == receipt.message_id:
            roles = self._rules.find_roles(line.clock.clock)
            return not roles or line.roles.get(receipt.delivery_id) in roles
        answers = kind in self._rules.resumed_by and line.clock.clock in self._rules.find_pausable()
        return answers and line.conversation == conversation and line.sender == receipt.sender

    def _find_bound_delivery(self, line: ClockLine) -> str | None:
        roles = self._rules.find_roles(line.clock.clock)
        return next((delivery for delivery, role in line.roles.items() if not roles or role in roles), None)

    def _list_roles(self, clock: str) -> tuple[str, ...]:
        return self._rules.list_escalation(clock, self._directory.local_policy)

    def _add(self, lines: Iterable[ClockLine]) -> None:
        for line in lines:
            self._lines.setdefault(line.clock_id, line)


async def start_late_clocks(
    connection: Connection,
    stored: StoredMessage,
    clocks: Sequence[Clock],
    effects: Effects,
    now: datetime,
) -> None:
    """Start the clocks that bind a recipient to which something goes for the first time only now, and tell the sender.

    Args:
        connection: to see which of them run already.
        stored: the message.
        clocks: what the decision on the late delivery starts.
        effects: where rows, event and notice are added.
        now: the business clock's instant of the release: nobody is late before it.
    """
    started = await clock_store.find_started(connection, stored.message_id)
    late = [
        replace(clock, recipients=(recipient,))
        for clock in clocks
        for recipient in clock.recipients
        if (clock.clock, recipient) not in started
    ]
    if not late:
        return
    manifest = stored.manifest
    lines = [
        ClockLine(
            clock_id=new_event_id(),
            message_id=stored.message_id,
            referral_id=manifest.referral_id,
            sender=manifest.sender,
            conversation=manifest.conversation,
            recipient=clock.recipients[0],
            manifest_digest=stored.manifest_digest,
            extendable_to=clock.extendable_to,
            clock=RunningClock(clock.clock, clock.starts_at, clock.due_at, now),
            stored=None,
        )
        for clock in late
    ]
    effects.writes.append(lambda writer: clock_store.insert_late_clocks(writer, lines))
    members = {
        "at": now.isoformat(),
        "message_id": manifest.message_id,
        "referral_id": manifest.referral_id,
        "clocks": [describe_clock(clock) for clock in late],
    }
    tell_of(effects, manifest.sender, "clocks_started", members)


async def _update(connection: Connection, lines: Sequence[ClockLine]) -> None:
    if not await clock_store.lock_as_read(connection, lines):
        raise RacedByAnother  # another worker moved one of them: look again
    await clock_store.update_clocks(connection, lines)
