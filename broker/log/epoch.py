"""Opening the next epoch of the log on a database that was put back: its first entry commits to what was kept and to what witnesses had."""

from collections.abc import Sequence
from datetime import datetime

from broker.log.append import LogBatch, LogWriter, insert_payloads
from broker.log.events import NewEvent
from broker.store.pool import Connection
from schemas.directory import HubKeys
from schemas.errors import Conflict, IntegrityBroken
from schemas.log_epochs import EPOCH_EVENT, kept_checkpoint, list_epoch_members


async def open_epoch(
    connection: Connection, log: LogWriter, hub: HubKeys, events: Sequence[NewEvent], *, at: datetime
) -> LogBatch:
    """Append the epoch's first entry and then ``events``, under the new key, in the caller's transaction.

    Raises:
        Conflict: the log is in this epoch already.
        IntegrityBroken: the database does not hold what the authority says was kept.
        ConfigInvalid: the log is not in the epoch before this one.
    """
    newest = await connection.fetchval("SELECT epoch FROM log_checkpoints ORDER BY size DESC LIMIT 1")
    if newest == hub.epoch:
        raise Conflict("is open already", field="log.epoch")
    edge = await log.lock(connection, after_epoch=hub.epoch - 1)
    kept = kept_checkpoint(hub.earlier[-1])
    if (edge.size, edge.root()) != (kept.size, kept.root):
        raise IntegrityBroken("the database does not hold what the authority says was kept", field="log.epoch")
    first = NewEvent.clear(EPOCH_EVENT, {**list_epoch_members(hub), "at": at.isoformat()})
    # The payloads go in after the lock: nobody else writes while the hub is stopped.
    await insert_payloads(connection, [first, *events])
    return await log.append_locked(connection, edge, [first, *events], at=at)
