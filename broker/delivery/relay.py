"""The relay: whatever of the outbox is due is built again from the store and published, by whichever worker claims it first.

That is how a crash between COMMIT and publishing is made good, how a delivery without a receipt is offered again, and how a recipient who was away
gets what waited. What nobody takes for too long goes to a person.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import structlog

from broker.delivery.bodies import cut_stored_delivery, join_evidence
from broker.delivery.dispatch import OFFERED, Dispatcher, DispatchTimes, Parcel, pause
from broker.delivery.ports import Clock
from broker.delivery.queues import QueueNames
from broker.log import LogWriter, NewEvent
from broker.log.reading import find_position, prove_entry
from broker.store import outbox
from broker.store.outbox import OutboxRow
from broker.store.pool import Connection, translate_errors
from schemas.envelope import DeliveryParts, encode_delivery
from schemas.errors import DependencyUnavailable, Erased, IntegrityBroken

_log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 64


class Relay:
    """Claims due rows, builds their bodies, and hands them to the dispatcher."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        dispatcher: Dispatcher,
        queues: QueueNames,
        log: LogWriter,
        clock: Clock,
        business_clock: Clock,
        times: DispatchTimes,
        give_up_after: timedelta,
    ) -> None:
        """Keep what it works with; ``give_up_after`` is how long something may wait before a person must see to it."""
        self._pool = pool
        self._dispatcher = dispatcher
        self._queues = queues
        self._log = log
        self._clock = clock
        self._business_clock = business_clock
        self._times = times
        self._give_up_after = give_up_after

    async def run(self, stop: asyncio.Event, *, every_seconds: float) -> None:
        """Relay until ``stop``. What a dependency interrupts is tried again next time; a broken integrity ends it."""
        while not stop.is_set():
            try:
                count = await self.relay_once()
            except DependencyUnavailable as error:
                _log.warning("relay.interrupted", code=error.code)
                count = 0
            if count < _MOST_AT_ONCE:
                await pause(stop, every_seconds)

    async def relay_once(self) -> int:
        """Publish one batch of what is due and return how many rows were claimed."""
        now = self._clock()
        with translate_errors():
            async with self._pool.acquire(timeout=10) as connection:
                await self._queues.refresh(connection, asyncio.get_running_loop().time())
                rows = await outbox.claim_due(connection, now, now + self._times.lease, _MOST_AT_ONCE)
                live = [row for row in rows if now - row.created_at < self._give_up_after]
                await self._give_up(connection, [row for row in rows if now - row.created_at >= self._give_up_after])
                parcels = [await self._build(connection, row) for row in live]
        if parcels:
            confirmed = await self._dispatcher.publish(parcels)
            _log.info("relay.published", parcels=len(parcels), confirmed=confirmed)
        return len(rows)

    async def _build(self, connection: Connection, row: OutboxRow) -> Parcel:
        payload = await connection.fetchrow("SELECT event, salt FROM log_payloads WHERE event_id = $1", row.event_id)
        if payload is None or payload["salt"] is None:
            raise IntegrityBroken("what is in the outbox has no event", field="outbox.event_id")
        proof = await prove_entry(connection, await find_position(connection, row.event_id))
        if row.kind == "delivery":
            parts, addendum = await cut_delivery(connection, row.message_id, row.delivery_id, row.event_id)
            return Parcel(row, encode_delivery(parts, payload["event"], payload["salt"], proof, addendum=addendum))
        base = row.body
        if base is None:
            base = await connection.fetchval("SELECT notice FROM messages WHERE message_id = $1", row.message_id)
        return Parcel(row, join_evidence(base, payload["event"], payload["salt"], proof))

    async def _give_up(self, connection: Connection, rows: Sequence[OutboxRow]) -> None:
        """Hand deliveries that nobody took to a person, with an event; drop notices that nobody fetched (their events stay)."""
        if not rows:
            return
        business_now = self._business_clock()
        deliveries = [row for row in rows if row.kind in OFFERED]
        async with connection.transaction():
            for row in deliveries:
                await _hold_undelivered(connection, row, business_now)
            await outbox.finish(connection, [row.outbox_id for row in rows])
            if deliveries:
                events = [NewEvent.salted("undeliverable", _describe(row, business_now)) for row in deliveries]
                await self._log.append(connection, events, at=self._clock())
        _log.error("relay.gave-up", deliveries=len(deliveries), others=len(rows) - len(deliveries))


async def cut_delivery(
    connection: Connection, message_id: UUID | None, delivery_id: str | None, event_id: UUID
) -> tuple[DeliveryParts, bytes | None]:
    """Cut what the decision ``event_id`` released of a stored message; return it with the keyring addendum that goes with it, if one does.

    Raises:
        Erased: the message was erased.
        IntegrityBroken: there is no such delivery, or the stored bytes are not those that were verified.
    """
    stored = await connection.fetchrow(
        "SELECT m.body, m.body_sha256, d.delivery_id, coalesce(r.released, d.released) AS released, a.body AS addendum"
        " FROM deliveries d JOIN messages m USING (message_id)"
        " LEFT JOIN redecisions r ON r.message_id = d.message_id AND r.delivery_id = d.delivery_id AND r.event_id = $3"
        " LEFT JOIN addenda a ON a.object_digest = r.addendum WHERE d.message_id = $1 AND d.delivery_id = $2",
        message_id,
        delivery_id,
        event_id,
    )
    if stored is None:
        raise IntegrityBroken("what is in the outbox has no delivery", field="outbox.delivery_id")
    addendum: bytes | None = stored["addendum"]
    if stored["body"] is None:
        raise Erased(field="message_id")
    parts = cut_stored_delivery(
        stored["body"],
        stored["body_sha256"],
        stored["delivery_id"],
        tuple(stored["released"]),
        keyed_later=addendum is not None,
    )
    return parts, addendum


async def _hold_undelivered(connection: Connection, row: OutboxRow, now: datetime) -> None:
    await connection.execute(
        "UPDATE deliveries SET state = 'undeliverable' WHERE message_id = $1 AND delivery_id = $2",
        row.message_id,
        row.delivery_id,
    )
    await connection.execute(
        'INSERT INTO holds (message_id, delivery_id, owner, "row", reason, created_at, deadline_at)'
        ' SELECT d.message_id, d.delivery_id, m.sender, d."row", $3, $4, $4'
        " FROM deliveries d JOIN messages m USING (message_id) WHERE d.message_id = $1 AND d.delivery_id = $2"
        " ON CONFLICT DO NOTHING",
        row.message_id,
        row.delivery_id,
        "The recipient has not taken it. Use the telephone.",
        now,
    )


def _describe(row: OutboxRow, now: datetime) -> dict[str, str | None]:
    return {
        "at": now.isoformat(),
        "message_id": str(row.message_id),
        "delivery_id": row.delivery_id,
        "recipient": row.recipient,
        "code": "no-receipt",
    }
