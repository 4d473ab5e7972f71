"""The hub's clocks for an operator: what runs, what waits, what ran out. Ids, codes and instants only."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from broker.config import HubConfig
from broker.store import clocks as clock_store
from broker.store import translate_errors
from broker.store.clocks import ClockLine
from deploy.clock import build_business_clock
from deploy.hub_status import open_operator

MOST = 1000


@dataclass(frozen=True, slots=True)
class ClockReport:
    """Clocks by what falls due first, and the instant of the business clock at which they were read."""

    as_of: datetime
    lines: tuple[ClockLine, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a form for JSON."""
        return {"as_of": self.as_of.isoformat(), "clocks": [_describe(line, self.as_of) for line in self.lines]}


async def read_clocks(config: HubConfig, state: str | None) -> ClockReport:
    """Return at most ``MOST`` clocks: ``open`` (running or waiting), ``breached``, another state, or all of them.

    Raises:
        StoreUnavailable: PostgreSQL cannot be reached.
    """
    as_of = build_business_clock(config.clock_file, config.environment)()
    async with open_operator(config) as (pool, _):
        with translate_errors():
            async with pool.acquire(timeout=10) as connection:
                lines = await clock_store.list_clocks(connection, state, MOST)
    return ClockReport(as_of, tuple(lines))


def _describe(line: ClockLine, as_of: datetime) -> dict[str, Any]:
    clock = line.clock
    told: dict[str, Any] = {
        "clock": clock.clock,
        "state": clock.state.value,
        "overdue": clock.is_overdue(as_of),
        "message_id": str(line.message_id),
        "referral_id": line.referral_id,
        "sender": line.sender,
        "recipient": line.recipient,
    }
    instants = {
        "starts_at": clock.starts_at,
        "due_at": clock.due_at,
        "extendable_to": line.extendable_to,
        "paused_at": clock.paused_at,
        "breached_at": clock.breached_at,
        "met_at": clock.met_at,
    }
    return told | {name: at.isoformat() for name, at in instants.items() if at is not None}
