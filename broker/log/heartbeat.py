"""Heartbeats: while nothing happens the log still grows, so that its silence means something."""

from datetime import datetime, timedelta
from typing import Final

from broker.log.append import LogWriter, insert_payloads
from broker.log.events import NewEvent
from broker.store.pool import Connection

HEARTBEAT_EVERY: Final = timedelta(minutes=5)
GAP_FACTOR: Final = 3
"""After this many heartbeats without a checkpoint, the log says that there was a gap."""


async def beat_if_idle(
    connection: Connection, log: LogWriter, *, now: datetime, every: timedelta = HEARTBEAT_EVERY
) -> str | None:
    """Append a heartbeat, with a word on the gap if it was long, when the newest checkpoint is older than ``every``; return its note.

    Any number of processes may call it: one appends.

    Raises:
        IntegrityBroken: the log is not as its last checkpoint says.
    """
    if not await _is_idle(connection, now, every):
        return None
    async with connection.transaction():
        edge = await log.lock(connection)
        row = await connection.fetchrow("SELECT size, at FROM log_checkpoints ORDER BY size DESC LIMIT 1")
        if row is None or now - row["at"] < every:
            return None
        events = [NewEvent.clear("heartbeat", {"at": now.isoformat(), "size": edge.size})]
        if now - row["at"] > GAP_FACTOR * every:
            gap = {"at": now.isoformat(), "from_size": edge.size, "to_size": edge.size + 2, "code": "log-idle"}
            events.insert(0, NewEvent.clear("checkpoint_gap", gap))
        # The payloads go in after the lock here: nothing else is in this transaction.
        await insert_payloads(connection, events)
        return (await log.append_locked(connection, edge, events, at=now)).note


async def _is_idle(connection: Connection, now: datetime, every: timedelta) -> bool:
    newest = await connection.fetchval("SELECT at FROM log_checkpoints ORDER BY size DESC LIMIT 1")
    return newest is not None and now - newest >= every
