"""Claim tickets: what rests on consent is collected over HTTPS, and decided once more when it is (DESIGN, step 8).

A ticket is stored before RabbitMQ hears that we have it; collecting goes on until the delivery is in the inbox or the hub says that it is no longer
released. Collecting twice is safe.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import structlog

from adapters.gateway.identity.hub_client import HubClient
from adapters.gateway.outgoing.outbox_model import write_instant
from adapters.gateway.store import GatewayStore
from schemas.canonical import canonical_bytes
from schemas.errors import Conflict, DependencyUnavailable, NotFound, NotPermitted, SafelaneError, Withheld

_log = structlog.get_logger(__name__)

TICKET_MIGRATIONS = (
    """
CREATE TABLE ticket (
  delivery_id TEXT PRIMARY KEY,
  message_id TEXT NOT NULL,
  received_at TEXT NOT NULL,
  state TEXT NOT NULL,
  next_attempt_at TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  code TEXT
);
CREATE INDEX ticket_to_collect ON ticket (state, next_attempt_at);
""",
)
WAITING, COLLECTED, GONE = "waiting", "collected", "gone"

TakeIn = Callable[[bytes], Awaitable[None]]


class TicketDesk:
    """Stores tickets and collects what they name."""

    def __init__(self, store: GatewayStore, hub: HubClient, now: Callable[[], datetime]) -> None:
        store.migrate("tickets", TICKET_MIGRATIONS)
        self._store = store
        self._hub = hub
        self._now = now

    def take_in(self, delivery_id: str, message_id: str) -> None:
        """Store a ticket; one that comes again is collected again, unless its delivery is gone."""
        moment = write_instant(self._now())
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO ticket (delivery_id, message_id, received_at, state, next_attempt_at) VALUES (?, ?, ?, 'waiting', ?)"
                " ON CONFLICT (delivery_id) DO UPDATE SET state = 'waiting', next_attempt_at = excluded.next_attempt_at"
                " WHERE state <> 'waiting'",
                (delivery_id, message_id, moment, moment),
            )

    def list_tickets(self) -> list[dict[str, Any]]:
        """Return the tickets, newest first."""
        rows = self._store.query("SELECT * FROM ticket ORDER BY rowid DESC LIMIT 500")
        return [dict(row) for row in rows]

    async def collect_due(self, take_in: TakeIn) -> int:
        """Collect what waits once, and hand each delivery to ``take_in``; return how many were tried."""
        rows = await asyncio.to_thread(
            self._store.query,
            "SELECT delivery_id, attempts FROM ticket WHERE state = 'waiting' AND next_attempt_at <= ? ORDER BY received_at LIMIT 20",
            (write_instant(self._now()),),
        )
        for row in rows:
            await self._collect(row["delivery_id"], row["attempts"], take_in)
        return len(rows)

    async def _collect(self, delivery_id: str, attempts: int, take_in: TakeIn) -> None:
        try:
            answer = await self._hub.request("POST", f"/v1/deliveries/{delivery_id}/collect")
            await take_in(canonical_bytes(answer.body))
        except (NotFound, Conflict, NotPermitted, Withheld) as error:
            _log.warning("ticket_gone", delivery_id=delivery_id, code=error.code)
            self._set(delivery_id, GONE, error.code, self._now())
            return
        except SafelaneError as error:
            # The hub does not answer, a clock is wrong, a token was refused: that is over some day, and a child's referral waits behind it.
            level = _log.warning if isinstance(error, DependencyUnavailable) else _log.error
            level("ticket_not_collected", delivery_id=delivery_id, code=error.code)
            wait = timedelta(seconds=min(300, 2 ** min(attempts, 8)))
            self._set(delivery_id, WAITING, error.code, self._now() + wait)
            return
        self._set(delivery_id, COLLECTED, None, self._now())
        _log.info("ticket_collected", delivery_id=delivery_id)

    def _set(self, delivery_id: str, state: str, code: str | None, at: datetime) -> None:
        with self._store.transaction() as db:
            db.execute(
                "UPDATE ticket SET state = ?, code = ?, attempts = attempts + 1, next_attempt_at = ? WHERE delivery_id = ?",
                (state, code, write_instant(at), delivery_id),
            )


async def collect_tickets(desk: TicketDesk, take_in: TakeIn, stop: asyncio.Event, poll: timedelta) -> None:
    """Collect until ``stop`` is set."""
    while not stop.is_set():
        await desk.collect_due(take_in)
        try:
            await asyncio.wait_for(stop.wait(), timeout=poll.total_seconds())
        except TimeoutError:
            continue
