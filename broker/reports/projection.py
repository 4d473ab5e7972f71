"""The projection that fills the reports: events in, facts changed, counts added, all in the projector's transaction.

A message's header is read when its ``accepted`` event comes: codes only. What later events say moves the facts; what an erased event said stays as
it was counted, and a message whose payload is erased before it is counted is counted by its kind and sender alone.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from broker.audit import LoggedEvent
from broker.reports import fact_store
from broker.reports.book import FactBook
from broker.reports.cell_store import add_counts
from broker.reports.counting import count_event, name_hours, name_skew
from broker.reports.facts import NO_ACTION, SERIOUS, DeliveryFact, ReferralFact, keep_code, keep_slug
from broker.reports.lookups import Lookups
from broker.reports.reading import (
    Accepted,
    Earlier,
    name_months,
    name_reassessed,
    name_repeat,
    read_accepted,
    read_clock_lines,
)
from broker.store.pool import Connection
from schemas.codes import DeliveryOutcome, Kind

TOKENS_KEPT: Final = timedelta(days=400)
"""How long pseudonyms are kept to find repeats: a little over the twelve months that reports look back."""


class ReportProjection:
    """Fills ``report_referrals``, ``report_deliveries``, ``report_clocks``, ``report_subjects``, ``report_cells`` and ``report_durations``."""

    name: Final = "reports"

    async def apply(self, connection: Connection, events: Sequence[LoggedEvent]) -> None:
        """Take in the next events, in order, within the caller's transaction."""
        batch = _Batch()
        await batch.load(connection, events)
        for event in events:
            await batch.take(connection, event)
        await batch.save(connection)

    async def clear(self, connection: Connection) -> None:
        """Forget all counts, before they are made again from the first event. What erased messages said is kept."""
        await fact_store.forget_counts(connection)


class _Batch:
    """One batch of events on its way into the facts."""

    def __init__(self) -> None:
        self._book = FactBook()
        self._found = Lookups()
        self._subjects: list[tuple[bytes, UUID, UUID, datetime, bool, int]] = []
        self._earlier: dict[bytes, list[Earlier]] = {}
        self._accepted: dict[UUID, Accepted] = {}
        self._last_at: datetime | None = None

    async def load(self, connection: Connection, events: Sequence[LoggedEvent]) -> None:
        """Read all that the batch's events are about."""
        accepted = [event.event_id for event in events if event.kind == "accepted"]
        messages = await fact_store.read_messages(connection, accepted)
        named = {UUID(m["message_id"]) for e in events if (m := e.members) and _is_uuid(m.get("message_id"))}
        stored = {row["message_id"] for row in messages.values()}
        corrected = {row["supersedes"] for row in messages.values() if row["supersedes"] is not None}
        await self._book.load(connection, named | stored | corrected)
        await self._book.load_conversations(connection, {row["conversation"] for row in messages.values()})
        decisions = await fact_store.read_first_decisions(connection, list(stored))
        for event_id, row in messages.items():
            kept = self._book.kept.get(row["message_id"])
            self._accepted[event_id] = read_accepted(dict(row), [dict(d) for d in decisions[row["message_id"]]], kept)
        tokens = {token for accepted in self._accepted.values() for token in accepted.tokens}
        for token, earlier in await fact_store.read_earlier(connection, tokens):
            self._earlier.setdefault(token, []).append(earlier)
        await self._found.load(connection, events)

    async def take(self, connection: Connection, event: LoggedEvent) -> None:
        """Take in one event."""
        self._last_at = event.at
        self._book.count(count_event("log", event.at, code=event.kind))
        if event.kind == "accepted":
            await self._take_accepted(connection, event)
            return
        members = event.members
        if members is None:
            return
        taker = _TAKERS.get(event.kind)
        if taker is not None:
            taker(self, event, members)

    async def save(self, connection: Connection) -> None:
        """Write facts and counts."""
        await self._found.settle(connection, self._book)
        await fact_store.write_subjects(connection, self._subjects)
        await add_counts(connection, await self._book.save(connection))
        if self._subjects and self._last_at is not None:
            await fact_store.forget_subjects(connection, self._last_at - TOKENS_KEPT)

    async def _take_accepted(self, connection: Connection, event: LoggedEvent) -> None:
        accepted = self._accepted.get(event.event_id)
        if accepted is None:
            return  # the log has an event of another log's message: it cannot be counted, only that it was logged
        fact = accepted.referral
        if event.members is None and fact.message_id in self._book.kept:
            self._book.take_kept(fact.message_id)
            return
        before = [f for f in self._book.find_conversation(fact.conversation) if f.message_id != fact.message_id]
        earlier = [e for token in accepted.tokens for e in self._earlier.get(token, ())]
        earlier = [e for e in earlier if e.position < event.position]
        if fact.is_new and fact.header_known:
            fact.repeat = name_repeat(fact.accepted_at, earlier, has_token=bool(accepted.tokens))
        fact.reassessed = name_reassessed(fact, before)
        self._book.take_accepted(accepted)
        if fact.kind in SERIOUS and fact.is_new and earlier:
            await self._find_no_action(connection, fact, [e.message_id for e in earlier])
        for token in accepted.tokens:
            mine = Earlier(fact.message_id, fact.accepted_at, fact.is_new, event.position)
            self._earlier.setdefault(token, []).append(mine)
            self._subjects.append(
                (token, fact.message_id, event.event_id, fact.accepted_at, fact.is_new, event.position)
            )
        if fact.kind == Kind.OUTCOME:
            self._take_outcome(fact, before)
        if fact.kind == Kind.CORRECTION and fact.supersedes is not None:
            self._take_correction(accepted, fact.supersedes)

    async def _find_no_action(self, connection: Connection, fact: ReferralFact, message_ids: list[UUID]) -> None:
        await self._book.load(connection, message_ids)
        refused = [
            d.refused_at
            for message_id in message_ids
            for d in self._book.list_deliveries(message_id)
            if d.refusal in NO_ACTION and d.refused_at is not None and d.refused_at <= fact.accepted_at
        ]
        if refused:
            fact.after_no_action = name_months(max(refused), fact.accepted_at)

    def _take_outcome(self, outcome: ReferralFact, before: Sequence[ReferralFact]) -> None:
        """A recipient tells the referrer what came of it: the conversation's referrals to it have their outcome."""
        for fact in before:
            mine = [d for d in self._book.list_deliveries(fact.message_id) if d.recipient == outcome.sender]
            if mine and fact.sender != outcome.sender:
                fact.outcome_at = fact.outcome_at or outcome.accepted_at
                for delivery in mine:
                    delivery.outcome_at = delivery.outcome_at or outcome.accepted_at

    def _take_correction(self, accepted: Accepted, corrected: UUID) -> None:
        """Everyone to whom the corrected message was delivered gets the correction, or must be told of it."""
        sent = {d.recipient for d in accepted.deliveries if d.first_outcome == DeliveryOutcome.DELIVERED}
        for delivery in self._book.list_deliveries(corrected):
            if delivery.outcome != DeliveryOutcome.DELIVERED or delivery.sender != accepted.referral.sender:
                continue
            if delivery.recipient in sent:
                delivery.correction = "by_correction"
            elif delivery.correction != "by_correction":
                delivery.correction = "not_told"

    def take_decided(self, event: LoggedEvent, members: Mapping[str, Any]) -> None:
        """A later decision of a delivery: what policy says now, and that something goes for the first time."""
        delivery = self._find_delivery(members)
        if delivery is None:
            return
        at, outcome = _read_at(event, members), str(members["outcome"])
        released = bool(members["released"])
        if outcome == DeliveryOutcome.DELIVERED and not released and delivery.outcome != DeliveryOutcome.DELIVERED:
            return  # permitted, and its keys or its recipient are not there yet
        delivery.outcome = outcome
        delivery.row = members["row"] or delivery.row
        if released and delivery.released_at is None:
            delivery.released_at = at
        self._found.look_again(delivery)

    def take_undeliverable(self, event: LoggedEvent, members: Mapping[str, Any]) -> None:
        """Policy permits it and it cannot go."""
        delivery = self._find_delivery(members)
        if delivery is not None:
            delivery.outcome = delivery.first_outcome = "undeliverable"
            delivery.released_at = None
            delivery.hold, delivery.held_at = "open", delivery.held_at or _read_at(event, members)

    def take_receipt(self, event: LoggedEvent, members: Mapping[str, Any]) -> None:
        """A step of a receipt chain, at the instant at which it was logged; the first of its sort counts."""
        delivery = self._find_delivery(members)
        if delivery is None:
            return
        at, state = _read_at(event, members), members["state"]
        if state == "accepted":
            delivery.taken_at = delivery.taken_at or at
        elif state == "opened":
            delivery.opened_at = delivery.opened_at or at
        elif state == "actioned":
            delivery.actioned_at = delivery.actioned_at or at
        elif state == "refused":
            delivery.refused_at = delivery.refused_at or at
        receipt = self._found.receipts.get(event.event_id)
        if receipt is not None:
            if state == "refused":
                delivery.refusal = keep_slug(receipt["reason_code"])
            skew = count_event(
                "skew", at, agency=delivery.recipient, code="receipt", within=name_skew(receipt["at"] - at)
            )
            self._book.count(skew)

    def take_clock(self, event: LoggedEvent, members: Mapping[str, Any]) -> None:
        """What happened to clocks, step by step."""
        message_id = UUID(members["message_id"])
        for change in members["changes"]:
            clock = self._book.clocks.get((message_id, change["clock"], change["recipient"] or ""))
            if clock is None:
                continue
            at = datetime.fromisoformat(change["at"])
            clock.state, clock.due_at = change["state"], datetime.fromisoformat(change["due_at"])
            if clock.state == "breached":
                clock.breached_at = clock.breached_at or at
            elif clock.state in {"met", "met_late"}:
                clock.met_at = at

    def take_clocks_started(self, event: LoggedEvent, members: Mapping[str, Any]) -> None:
        """Clocks that began with a late release."""
        fact = self._book.referrals.get(UUID(members["message_id"]))
        if fact is not None:
            self._book.add_clocks(read_clock_lines(fact, members["clocks"]))

    def take_review(self, event: LoggedEvent, members: Mapping[str, Any]) -> None:
        """A person claimed, released, refused, lifted an embargo, or reviewed broken glass."""
        at, action = _read_at(event, members), keep_slug(members["action"])
        self._book.count(count_event("review", at, code=action))
        message_id = UUID(members["message_id"])
        fact = self._book.referrals.get(message_id)
        if action == "lift_embargo" and fact is not None:
            fact.embargo_lifted_at = fact.embargo_lifted_at or at
        for delivery in self._book.list_deliveries(message_id):
            if members.get("delivery_id") in {None, delivery.delivery_id}:
                self._found.look_again(delivery)

    def take_object(self, event: LoggedEvent, members: Mapping[str, Any]) -> None:
        """A recall, or a recipient's word that it deleted what was recalled."""
        at = _read_at(event, members)
        self._book.count(count_event("object", at, agency=members["sender"], code=keep_slug(members["type"])))
        recall = self._found.recalls.get(members["object_digest"])
        if recall is not None:
            for delivery in self._book.list_deliveries(recall["message_id"]):
                concerned = not recall["deliveries"] or delivery.delivery_id in recall["deliveries"]
                if concerned and delivery.outcome == DeliveryOutcome.DELIVERED:
                    delivery.recall = keep_slug(recall["reason_code"])
                    delivery.recalled_at = delivery.recalled_at or at
        deletion = self._found.deletions.get(members["object_digest"])
        if deletion is not None:
            found = self._book.deliveries.get((deletion["message_id"], deletion["delivery_id"]))
            if found is not None:
                found.deleted_at = found.deleted_at or at

    def take_told(self, event: LoggedEvent, members: Mapping[str, Any]) -> None:
        """An agency was told of something: a correction that is not for it, a recall, a withdrawal."""
        code = str(members["code"])
        self._book.count(count_event("told", _read_at(event, members), code=keep_code(code)))
        delivery = self._find_delivery(members)
        if code == "CORRECTED" and delivery is not None and delivery.correction != "by_correction":
            delivery.correction = "by_notice"

    def take_escalation(self, event: LoggedEvent, members: Mapping[str, Any]) -> None:
        """Something ran out of time and somebody was told: counted with its referral's kind and area."""
        who = members.get("agency") or members.get("recipient") or members.get("owner") or ""
        what = members.get("clock") or members.get("review") or ""
        fact = self._book.referrals.get(UUID(members["message_id"]))
        cell = count_event(event.kind, _read_at(event, members), agency=keep_code(who), code=keep_slug(what))
        self._book.count(cell if fact is None else cell._replace(kind=fact.kind, area=fact.area))

    def take_refused(self, event: LoggedEvent, members: Mapping[str, Any]) -> None:
        """A message that had no effect: rejected, quarantined, or at odds with what was said before."""
        at = _read_at(event, members)
        sender, code = keep_code(members.get("sender")), keep_slug(members.get("code"))
        self._book.count(count_event("refused_message", at, agency=sender, code=event.kind, within=code))

    def take_quarantine(self, event: LoggedEvent, members: Mapping[str, Any]) -> None:
        """What was in quarantine was replayed, rejected, or had been sealed again."""
        self._book.count(count_event("quarantine", _read_at(event, members), code=keep_slug(members["action"])))

    def take_access(self, event: LoggedEvent, members: Mapping[str, Any]) -> None:
        """Somebody signed in, read, searched or exported."""
        at = event.at  # the real clock's: people's hours, not the referrals'
        action = keep_slug(members.get("action") or members.get("outcome") or event.kind)
        code = f"{event.kind}:{action}"
        person = keep_code(members.get("by"))
        self._book.count(count_event("access", at, agency=person, code=code, within=name_hours(at)))

    def take_key(self, event: LoggedEvent, members: Mapping[str, Any]) -> None:
        """An agency announced an encryption key."""
        self._book.count(count_event("key", event.at, agency=keep_code(members["agency"])))

    def _find_delivery(self, members: Mapping[str, Any]) -> DeliveryFact | None:
        if not _is_uuid(members.get("message_id")) or not members.get("delivery_id"):
            return None
        return self._book.deliveries.get((UUID(members["message_id"]), members["delivery_id"]))


_Taker = Callable[[_Batch, LoggedEvent, Mapping[str, Any]], None]
_TAKERS: Final[Mapping[str, _Taker]] = {
    "decided": _Batch.take_decided,
    "undeliverable": _Batch.take_undeliverable,
    "receipt": _Batch.take_receipt,
    "clock": _Batch.take_clock,
    "clocks_started": _Batch.take_clocks_started,
    "review": _Batch.take_review,
    "object": _Batch.take_object,
    "told": _Batch.take_told,
    "negative_receipt": _Batch.take_escalation,
    "escalated": _Batch.take_escalation,
    "overdue": _Batch.take_escalation,
    "rejected": _Batch.take_refused,
    "quarantined": _Batch.take_refused,
    "security": _Batch.take_refused,
    "quarantine_decided": _Batch.take_quarantine,
    "audit_read": _Batch.take_access,
    "export": _Batch.take_access,
    "console_login": _Batch.take_access,
    "key": _Batch.take_key,
}


def _read_at(event: LoggedEvent, members: Mapping[str, Any]) -> datetime:
    """Return the instant that an event states: the business clock's, on which statutory time runs."""
    stated = members.get("at")
    return datetime.fromisoformat(stated) if isinstance(stated, str) else event.at


def _is_uuid(text: object) -> bool:
    if not isinstance(text, str):
        return False
    try:
        UUID(text)
    except ValueError:
        return False
    return True
