"""What the console's pages work with. ``broker.console.wiring`` builds it; tests build it from the same parts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from broker.audit.gate import AuditGate
from broker.console.assets import Assets
from broker.console.attempts import Attempts
from broker.console.journal import Journal
from broker.console.rendering import Renderer
from broker.console.sealing import Sealer
from broker.console.services import NO_SERVICES, ConsoleServices
from broker.console.sessions import SessionLimits
from broker.console.settings import ConsoleSettings
from broker.console.signin.oidc import Provider
from broker.console.signin.passkeys import Passkeys
from broker.console.signin.passwords import PasswordHasher
from broker.log import LogWriter
from broker.registry import Registry
from broker.registry.packs import PackShelf


@dataclass(frozen=True, slots=True)
class ConsoleContext:
    """The parts. ``clock`` is the real clock (sessions, codes, events); ``business_clock`` that of deadlines. ``gate`` names what was searched."""

    settings: ConsoleSettings
    pool: asyncpg.Pool
    registry: Registry
    log: LogWriter
    journal: Journal
    gate: AuditGate
    sealer: Sealer
    attempts: Attempts
    limits: SessionLimits
    passwords: PasswordHasher
    passkeys: Passkeys
    provider: Provider | None
    assets: Assets
    renderer: Renderer
    clock: Callable[[], datetime]
    business_clock: Callable[[], datetime]
    shelf: PackShelf
    report_threshold: int
    """Counts of children below this are not shown."""
    hub_url: str = ""
    services: ConsoleServices = NO_SERVICES

    async def agency_names(self) -> Mapping[str, str]:
        """Return the names of the agencies of the signed directory, by id.

        Raises:
            DependencyUnavailable: there is no directory, or it cannot be read.
        """
        return {agency.id: agency.name for agency in (await self.registry.current()).directory.agencies}
