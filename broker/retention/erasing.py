"""Erasing: sealed bytes when their time is over, and all that is held of one referral on request. Each erasure is an event of the log.

The hub is transit: 30 days after the last recipient confirmed receipt the ciphertext goes, and the content-free audit stays (DOMAIN 6, Retention).
Erasure on request also takes the events' payloads and salts (crypto-erasure): their commitments stay in the tree, so every proof of every other
entry stays good, and the entry itself shows only that something was here. What is under a legal hold or still under way is passed over by the
database's own functions, whatever this code does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from broker.log import LogWriter, NewEvent
from broker.store import erasing as erasing_store
from broker.store.erasing import CIPHERTEXT, EVERYTHING, QUARANTINE, ErasureRow
from broker.store.pool import Connection, translate_errors
from schemas.errors import Conflict, DependencyUnavailable, NotFound

_log = structlog.get_logger(__name__)

Approve = Callable[[Connection], Awaitable[tuple[Sequence[str], str]]]
"""Uses up the approvals of an erasure; returns the people who gave them and their reason code."""
TIME_IS_OVER = "time_is_over"
BY_TIME = "retention"
MOST_AT_ONCE = 64


class UnderLegalHold(Conflict):
    """A legal hold stops it."""

    code = "under-legal-hold"
    public_message = "A legal hold keeps this. It must be lifted first."


class StillUnderWay(Conflict):
    """It is not delivered, decided and receipted yet."""

    code = "still-under-way"
    public_message = "This is still under way. It can be erased once every delivery of it has ended."


@dataclass(frozen=True, slots=True)
class ErasedCounts:
    """What one run erased: messages whose sealed bytes went, and quarantined ones."""

    messages: int = 0
    quarantined: int = 0


class Eraser:
    """Erases in bounded batches, one transaction each: a crash leaves a batch whole or not begun."""

    def __init__(self, pool: asyncpg.Pool, log: LogWriter, clock: Callable[[], datetime], keep: timedelta) -> None:
        """Take the eraser's own pool, the log, the business clock, and how long sealed bytes are kept."""
        self._pool = pool
        self._log = log
        self._clock = clock
        self._keep = keep

    async def erase_due(self) -> ErasedCounts:
        """Erase everything whose time is over, batch by batch, and return how much that was.

        Raises:
            StoreUnavailable: PostgreSQL does not answer; what was erased until then is logged.
        """
        messages = quarantined = 0
        while found := await self._erase_batch(CIPHERTEXT):
            messages += found
        while found := await self._erase_batch(QUARANTINE):
            quarantined += found
        if messages or quarantined:
            _log.info("retention.erased", messages=messages, quarantined=quarantined)
        return ErasedCounts(messages, quarantined)

    async def count(self) -> erasing_store.RetainedCounts:
        """Count what has been kept for longer than its time, and why."""
        with translate_errors():
            async with self._pool.acquire(timeout=10) as connection:
                return await erasing_store.count_retained(connection, self._clock() - self._keep)

    async def run(self, stop: asyncio.Event, *, every: timedelta) -> None:
        """Erase what is due, again and again until ``stop``. What PostgreSQL interrupts is done next time."""
        while not stop.is_set():
            try:
                await self.erase_due()
            except DependencyUnavailable as error:
                _log.warning("retention.interrupted", code=error.code)
            try:
                await asyncio.wait_for(stop.wait(), timeout=every.total_seconds())
            except TimeoutError:
                continue

    async def erase_referral(self, referral_id: str, *, by: str, approve: Approve) -> int:
        """Erase all that is held of a referral, payloads and salts of its events included; return how many log entries lost their payload.

        ``approve`` is called in the transaction and returns who approved it and why, or raises.

        Its ids, states and instants stay, so that a repeat of it has no second effect. Consents of the same child are records of their own and stay.

        Raises:
            NotFound: there is no such referral.
            Conflict: it is under a legal hold, still under way, or erased already; nothing was erased.
            StoreUnavailable: nothing was erased.
        """
        now = self._clock()
        with translate_errors():
            async with self._pool.acquire(timeout=10) as connection, connection.transaction():
                ids = await _check_matter(connection, referral_id)
                people, reason_code = await approve(connection)
                erased = await erasing_store.erase_everything(connection, ids)
                if erased.keys() != set(ids):
                    raise StillUnderWay("something of it changed meanwhile", field="referral")
                members = {"scope": EVERYTHING, "reason_code": reason_code, "by": by, "approvers": list(people)}
                await self._append(
                    connection, now, [(i, members | {"entries": positions}) for i, positions in erased.items()]
                )
        entries = sum(map(len, erased.values()))
        _log.info("retention.erased-on-request", messages=len(ids), entries=entries)
        return entries

    async def _erase_batch(self, scope: str) -> int:
        now = self._clock()
        before = now - self._keep
        with translate_errors():
            async with self._pool.acquire(timeout=10) as connection, connection.transaction():
                if scope == CIPHERTEXT:
                    due = await erasing_store.list_due(connection, before, MOST_AT_ONCE)
                    gone = await erasing_store.erase_ciphertext(connection, due) if due else []
                else:
                    due = await erasing_store.list_quarantined_due(connection, before, MOST_AT_ONCE)
                    gone = await erasing_store.erase_quarantined(connection, due) if due else []
                if gone:
                    members = {
                        "scope": scope,
                        "reason_code": TIME_IS_OVER,
                        "by": BY_TIME,
                        "approvers": [],
                        "entries": [],
                    }
                    await self._append(connection, now, [(i, members) for i in gone])
        return len(gone)

    async def _append(
        self, connection: Connection, now: datetime, erased: Sequence[tuple[UUID, Mapping[str, Any]]]
    ) -> None:
        """Log what was erased, one event each, as the last statements of the transaction."""
        events, rows = [], []
        for subject_id, members in erased:
            name = "quarantine_id" if members["scope"] == QUARANTINE else "message_id"
            event = NewEvent.salted("erased", {"at": now.isoformat(), name: str(subject_id), **members})
            events.append(event)
            rows.append(ErasureRow(subject_id, members["scope"], now, event.event_id))
        await erasing_store.insert_erasures(connection, rows)
        await self._log.append(connection, events, at=now)


async def _check_matter(connection: Connection, referral_id: str) -> list[UUID]:
    rows = await erasing_store.list_matter(connection, referral_id)
    if not rows:
        raise NotFound("there is no such referral", field="referral")
    ids = [row["message_id"] for row in rows]
    if any(EVERYTHING in scopes for scopes in (await erasing_store.find_erasures(connection, ids)).values()):
        raise Conflict("it is erased already", field="referral")
    if any(row["held"] for row in rows):
        raise UnderLegalHold(field="referral")
    if any(row["under_way"] for row in rows):
        raise StillUnderWay(field="referral")
    return ids
