"""The facts that one batch of events touches: read once, changed in memory, written once, each change counted as the difference it makes."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any
from uuid import UUID

from broker.reports import fact_store
from broker.reports.counting import Cell, Counts, count_change, count_clock, count_delivery, count_referral
from broker.reports.facts import ClockFact, DeliveryFact, ReferralFact
from broker.reports.reading import Accepted
from broker.store.pool import Connection

ClockKey = tuple[UUID, str, str]
DeliveryKey = tuple[UUID, str]


class FactBook:
    """Referrals, deliveries and clocks of some messages, as the batch leaves them."""

    def __init__(self) -> None:
        """Start empty."""
        self.referrals: dict[UUID, ReferralFact] = {}
        self.deliveries: dict[DeliveryKey, DeliveryFact] = {}
        self.clocks: dict[ClockKey, ClockFact] = {}
        self.kept: dict[UUID, ReferralFact] = {}
        """Referrals that were read before everything is counted again."""
        self._by_conversation: dict[str, set[UUID]] = {}
        self._by_message: dict[UUID, list[DeliveryKey]] = {}
        self._clocks_of: dict[UUID, list[ClockKey]] = {}
        self._counted: dict[object, object] = {}
        """Copies of facts as they are counted so far."""
        self._events: Counts = Counter()
        self._uncounted: set[UUID] = set()
        self._read: set[UUID] = set()

    async def load(self, connection: Connection, message_ids: Iterable[UUID]) -> None:
        """Read what is kept of these messages, unless it is here."""
        wanted = set(message_ids) - self._read
        if not wanted:
            return
        self._read |= wanted
        for referral, counted in await fact_store.read_facts(connection, ReferralFact, wanted):
            if counted:
                self._add_referral(referral)
                self._counted[referral.message_id] = replace(referral)
            else:
                self.kept[referral.message_id] = referral
                self._uncounted.add(referral.message_id)
        for delivery, _ in await fact_store.read_facts(connection, DeliveryFact, wanted):
            self._add_delivery(delivery)
            if delivery.message_id not in self._uncounted:
                self._counted[delivery.message_id, delivery.delivery_id] = replace(delivery)
        for clock, _ in await fact_store.read_facts(connection, ClockFact, wanted):
            self._add_clock(clock)
            if clock.message_id not in self._uncounted:
                self._counted[clock.message_id, clock.clock, clock.recipient] = replace(clock)

    async def load_conversations(self, connection: Connection, conversations: Iterable[str]) -> None:
        """Read what is kept of the messages of these conversations."""
        found = await fact_store.read_conversations(connection, conversations)
        await self.load(connection, [referral.message_id for referral, _ in found])

    def take_accepted(self, accepted: Accepted) -> None:
        """Add a message as it was accepted; what was kept of it from an earlier counting is replaced."""
        message_id = accepted.referral.message_id
        for key in self._by_message.pop(message_id, []):
            del self.deliveries[key]
        for clock_key in self._clocks_of.pop(message_id, []):
            del self.clocks[clock_key]
        self._add_referral(accepted.referral)
        for delivery in accepted.deliveries:
            self._add_delivery(delivery)
        for clock in accepted.clocks:
            self._add_clock(clock)

    def take_kept(self, message_id: UUID) -> None:
        """Count a message whose event is erased again as it stood."""
        if message_id in self.kept:
            self._add_referral(self.kept[message_id])

    def add_clocks(self, clocks: Iterable[ClockFact]) -> None:
        """Add clocks that began late; one that is here stays as it is."""
        for clock in clocks:
            if (clock.message_id, clock.clock, clock.recipient) not in self.clocks:
                self._add_clock(clock)

    def count(self, cell: Cell, n: int = 1) -> None:
        """Count an event that belongs to no fact."""
        self._events[cell] += n

    def find_conversation(self, conversation: str) -> list[ReferralFact]:
        """Return the referrals of a conversation, oldest first."""
        found = [self.referrals[message_id] for message_id in self._by_conversation.get(conversation, ())]
        return sorted(found, key=lambda fact: (fact.accepted_at, fact.message_id))

    def list_deliveries(self, message_id: UUID) -> list[DeliveryFact]:
        """Return a message's deliveries."""
        return [self.deliveries[key] for key in self._by_message.get(message_id, ())]

    async def save(self, connection: Connection) -> Counts:
        """Write every fact that changed and return what must be added to the kept counts."""
        change: Counts = Counter(self._events)
        referrals = [f for key, f in self.referrals.items() if self._differs(key, f)]
        deliveries = [f for key, f in self.deliveries.items() if key[0] in self.referrals and self._differs(key, f)]
        clocks = [f for key, f in self.clocks.items() if key[0] in self.referrals and self._differs(key, f)]
        for referral in referrals:
            change.update(self._find_change(referral.message_id, count_referral, referral))
        for delivery in deliveries:
            change.update(self._find_change((delivery.message_id, delivery.delivery_id), count_delivery, delivery))
        for clock in clocks:
            change.update(self._find_change((clock.message_id, clock.clock, clock.recipient), count_clock, clock))
        await fact_store.write_facts(connection, referrals)
        await fact_store.write_facts(connection, deliveries)
        await fact_store.write_facts(connection, clocks)
        return change

    def _differs(self, key: object, fact: object) -> bool:
        return self._counted.get(key) != fact

    def _find_change(self, key: object, count: Callable[[Any], Counts], fact: object) -> Counts:
        before = self._counted.get(key)
        return count_change(None if before is None else count(before), count(fact))

    def _add_referral(self, fact: ReferralFact) -> None:
        self.referrals[fact.message_id] = fact
        self._by_conversation.setdefault(fact.conversation, set()).add(fact.message_id)

    def _add_delivery(self, fact: DeliveryFact) -> None:
        key = (fact.message_id, fact.delivery_id)
        self.deliveries[key] = fact
        self._by_message.setdefault(fact.message_id, []).append(key)

    def _add_clock(self, fact: ClockFact) -> None:
        key = (fact.message_id, fact.clock, fact.recipient)
        self.clocks[key] = fact
        self._clocks_of.setdefault(fact.message_id, []).append(key)
