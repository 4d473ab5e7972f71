"""Late cosignatures: an alarm, never a stop. Said once as an event for each time that the witnesses fall behind."""

from datetime import datetime, timedelta
from typing import Final

import structlog

from broker.log.append import LogWriter
from broker.log.events import NewEvent
from broker.log.witnessing import read_handed_in
from broker.store.pool import Connection
from schemas.directory import WitnessPolicy

_log = structlog.get_logger(__name__)

LATE: Final = "cosignatures-late"
LATE_AFTER: Final = timedelta(minutes=15)
"""As long as a recipient's gateway waits before it raises its own alarm (``docs/log.md``)."""


class CosignatureAlarm:
    """Watches how far behind the directory's witnesses are."""

    def __init__(self, log: LogWriter, *, late_after: timedelta = LATE_AFTER) -> None:
        """Take the log's writer, and how long an entry may be without a quorum."""
        self._log = log
        self._late_after = late_after
        self._told = False

    async def check(self, connection: Connection, witnesses: WitnessPolicy, *, now: datetime) -> bool:
        """Log a ``checkpoint_gap`` where an entry has waited too long for a quorum; return whether it has.

        Raises:
            IntegrityBroken: the log is not as its last checkpoint says.
        """
        if not witnesses.quorum:
            return False
        size, covered = await read_handed_in(connection, witnesses)
        waiting_since = await connection.fetchval(
            "SELECT at FROM log_checkpoints WHERE size > $1 ORDER BY size LIMIT 1", covered
        )
        late = waiting_since is not None and now - waiting_since > self._late_after
        if late and not self._told:
            _log.error("witnesses.late", size=size, witnessed=covered)
            members = {
                "at": now.isoformat(),
                "from_size": covered,
                "to_size": size,
                "code": LATE,
            }
            async with connection.transaction():
                await self._log.append(connection, [NewEvent.clear("checkpoint_gap", members)], at=now)
        self._told = late
        return bool(late)
