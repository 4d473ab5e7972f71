"""The hub's state in one look: schema, directory, log, outbox, holds, quarantine. For ``safelane hub status`` and for operators' checks."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from broker.store import outbox
from broker.store.pool import Connection, translate_errors


@dataclass(frozen=True, slots=True)
class HubStatus:
    """Counts and ages; never an id of a child, never content. Ages are in seconds."""

    directory_version: int | None
    directory_expires_at: datetime | None
    log_size: int
    log_checkpoint_at: datetime | None
    messages: int
    deliveries_by_state: dict[str, int]
    outbox_waiting: dict[str, int]
    outbox_overdue: dict[str, int]
    holds_open: int
    holds_overdue: int
    quarantine_open: int
    quarantine_security: int

    def list_concerns(self) -> list[str]:
        """Return what a person should look at, in plain words; empty when all is well."""
        concerns = []
        if self.directory_version is None:
            concerns.append("No directory is published: nothing can be accepted.")
        if self.holds_overdue:
            concerns.append(f"{self.holds_overdue} held deliveries are past their deadline.")
        if self.quarantine_security:
            concerns.append(f"{self.quarantine_security} messages in quarantine look like forgeries.")
        elif self.quarantine_open:
            concerns.append(f"{self.quarantine_open} messages wait in quarantine.")
        if overdue := sum(self.outbox_overdue.values()):
            concerns.append(f"{overdue} messages are due and not published: is a worker running?")
        return concerns


async def read_status(pool: asyncpg.Pool, *, now: datetime, business_now: datetime) -> HubStatus:
    """Read the hub's state; ``now`` is the real time, ``business_now`` that of deadlines.

    Raises:
        StoreUnavailable: PostgreSQL does not answer.
    """
    with translate_errors():
        async with pool.acquire(timeout=10) as connection:
            return await _read(connection, now, business_now)


async def _read(connection: Connection, now: datetime, business_now: datetime) -> HubStatus:
    directory = await connection.fetchrow(
        "SELECT version, expires_at FROM directory_versions ORDER BY version DESC LIMIT 1"
    )
    checkpoint = await connection.fetchrow("SELECT size, at FROM log_checkpoints ORDER BY size DESC LIMIT 1")
    states = await connection.fetch("SELECT state, count(*) AS number FROM deliveries GROUP BY state ORDER BY state")
    holds = await connection.fetchrow(
        "SELECT count(*) AS open, count(*) FILTER (WHERE deadline_at <= $1) AS overdue FROM holds WHERE state = 'open'",
        business_now,
    )
    quarantine = await connection.fetchrow(
        "SELECT count(*) AS open, count(*) FILTER (WHERE security) AS security FROM quarantine WHERE state = 'open'"
    )
    waiting = await outbox.count_waiting(connection, now)
    return HubStatus(
        directory_version=directory["version"] if directory else None,
        directory_expires_at=directory["expires_at"] if directory else None,
        log_size=checkpoint["size"] if checkpoint else 0,
        log_checkpoint_at=checkpoint["at"] if checkpoint else None,
        messages=await connection.fetchval("SELECT count(*) FROM messages"),
        deliveries_by_state={row["state"]: row["number"] for row in states},
        outbox_waiting={kind: rows for kind, (rows, _) in waiting.items()},
        outbox_overdue={kind: overdue for kind, (_, overdue) in waiting.items() if overdue},
        holds_open=holds["open"] if holds else 0,
        holds_overdue=holds["overdue"] if holds else 0,
        quarantine_open=quarantine["open"] if quarantine else 0,
        quarantine_security=quarantine["security"] if quarantine else 0,
    )
