"""The hub's configuration in the log: its digest, whenever a program starts with another than the last one logged."""

from datetime import datetime

import orjson

from broker.log.append import LogWriter, insert_payloads
from broker.log.events import NewEvent
from broker.store.pool import Connection


async def note_configuration(connection: Connection, log: LogWriter, sha256: str, *, by: str, now: datetime) -> bool:
    """Log that ``by`` starts with the configuration of this digest; return whether it is another than the last one logged.

    Raises:
        IntegrityBroken: the log is not as its last checkpoint says.
    """
    async with connection.transaction():
        edge = await log.lock(connection)
        last = await connection.fetchval(
            "SELECT entry FROM log_entries WHERE kind = 'configuration' ORDER BY position DESC LIMIT 1"
        )
        if last is not None and orjson.loads(last)["sha256"] == sha256:
            return False
        event = NewEvent.clear("configuration", {"at": now.isoformat(), "sha256": sha256, "by": by})
        await insert_payloads(connection, [event])
        await log.append_locked(connection, edge, [event], at=now)
    return True
