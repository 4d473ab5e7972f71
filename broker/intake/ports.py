"""What intake needs of others, by shape: the directory, the decision engine and the clocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import asyncpg

from broker.decisions.clocks import Clock, ClockRules
from broker.delivery.ports import Clock as ReadClock
from broker.delivery.ports import Observe
from broker.log import LogWriter
from broker.registry import DirectorySnapshot
from broker.store.pool import Connection
from schemas.decision import Decision
from schemas.header import RoutingHeader


class SnapshotSource(Protocol):
    """Gives the current directory (``broker.registry.Registry``)."""

    async def current(self, connection: Connection | None = None) -> DirectorySnapshot:
        """Return the current directory snapshot."""


class Decider(Protocol):
    """Decides deliveries for one directory version and one policy pack (``broker.decisions.DecisionEngine``)."""

    def decide_all(self, header: RoutingHeader, *, sender: str, registers: Any, now: datetime) -> Sequence[Decision]:
        """Return a decision for each of the header's deliveries, in their order."""

    @property
    def clock_rules(self) -> ClockRules:
        """What meets and pauses clocks."""

    def rests_on_choice(self, purpose: str) -> bool:
        """Tell whether deliveries for this purpose rest on somebody's choice, so that it is looked at again when they are collected."""

    def start_clocks(
        self, header: RoutingHeader, decisions: Sequence[Decision], received_at: datetime
    ) -> Sequence[Clock]:
        """Return the clocks that a decided referral starts."""


class DeciderSource(Protocol):
    """Gives the decider and registers that hold for a directory snapshot."""

    def __call__(self, snapshot: DirectorySnapshot, /) -> tuple[Decider, Any]:
        """Return the decider of this snapshot's directory, and the registers."""


@dataclass(frozen=True, slots=True)
class Times:
    """The two clocks (DESIGN, Time): the real one for freshness, keys and leases, the business clock for decisions, deadlines and the log."""

    real: ReadClock
    business: ReadClock


@dataclass(frozen=True, slots=True)
class IntakeParts:
    """What everything that decides works with: intake itself, decisions made again, and the sweeps."""

    pool: asyncpg.Pool
    log: LogWriter
    snapshots: SnapshotSource
    deciders: DeciderSource
    times: Times
    observe: Observe
