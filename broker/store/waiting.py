"""What waits, in counts: holds for a person, clocks for what meets them. The first pages of console and audit show the same figures."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from broker.store.pool import Connection

_HOLDS: Final = """
SELECT count(*) AS open, count(*) FILTER (WHERE deadline_at <= $2) AS overdue, min(deadline_at) AS next_at
FROM holds WHERE state = 'open' AND ($1::text IS NULL OR owner = $1)
"""
# Two reads, each by its partial index: what ran out and was met since stays `breached`, and is most of what ever did.
_CLOCKS: Final = """
SELECT count(*) FILTER (WHERE c.state = 'running') AS running,
  count(*) FILTER (WHERE c.state = 'running' AND c.due_at <= $2::timestamptz + interval '24 hours') AS soon,
  count(*) FILTER (WHERE c.state = 'breached') AS breached
FROM (SELECT message_id, state, due_at, recipient FROM clocks WHERE state = 'running' AND met_at IS NULL
  UNION ALL SELECT message_id, state, due_at, recipient FROM clocks WHERE state = 'breached' AND met_at IS NULL) c
WHERE $1::text IS NULL OR ($3 AND c.recipient = $1)
  OR EXISTS (SELECT FROM messages m WHERE m.message_id = c.message_id AND m.sender = $1)
"""


@dataclass(frozen=True, slots=True)
class HoldCounts:
    """Open holds, those past their deadline, and the earliest deadline."""

    open: int
    overdue: int
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class ClockCounts:
    """Clocks that run, those of them due within a day, and those that ran out and are not met since."""

    running: int
    due_soon: int
    breached: int


async def count_holds(connection: Connection, agency: str | None, business_now: datetime) -> HoldCounts:
    """Count the holds that ``agency`` owns; none: all."""
    (row,) = await connection.fetch(_HOLDS, agency, business_now)
    return HoldCounts(row["open"], row["overdue"], row["next_at"])


async def count_clocks(
    connection: Connection, agency: str | None, business_now: datetime, *, received: bool
) -> ClockCounts:
    """Count the clocks of what ``agency`` sent and, with ``received``, of those that bind it as a recipient; none: all."""
    (row,) = await connection.fetch(_CLOCKS, agency, business_now, received)
    return ClockCounts(row["running"], row["soon"], row["breached"])
