"""Builds the console from the hub's configuration, and the little it does in the background."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import structlog
from fastapi import FastAPI

from broker.audit.gate import AuditGate
from broker.config import HubConfig, read_log_key, read_text
from broker.console.app import create_app
from broker.console.assets import load_assets
from broker.console.attempts import Attempts, forget_old
from broker.console.context import ConsoleContext
from broker.console.journal import Journal
from broker.console.kept_forms import forget_old_forms
from broker.console.rendering import Renderer
from broker.console.sealing import Sealer
from broker.console.services import NO_SERVICES, ConsoleServices
from broker.console.sessions import SessionLimits, forget_old_sessions
from broker.console.settings import ConsoleSettings
from broker.console.signin.oidc import Provider
from broker.console.signin.organisation import ANSWER_PATH
from broker.console.signin.passkeys import Passkeys
from broker.console.signin.passwords import PasswordHasher
from broker.log import LogWriter
from broker.registry import Registry
from broker.registry.packs import InstalledPack, PackShelf
from broker.store.pool import open_pool, translate_errors
from schemas.errors import ConfigInvalid, SafelaneError
from schemas.trust import parse_trust_file

UPKEEP_SECONDS: Final = 300.0

Clock = Callable[[], datetime]

log = structlog.get_logger("safelane.console")


@asynccontextmanager
async def open_console(
    config: HubConfig, business_clock: Clock, services: ConsoleServices = NO_SERVICES
) -> AsyncIterator[FastAPI]:
    """Open connections, yield the application, and close everything again. ``services`` are what other roles do for it.

    Raises:
        ConfigInvalid: the configuration has no console part, or a file that it names is wrong.
        StoreUnavailable: PostgreSQL cannot be reached.
    """
    settings = config.console
    if settings is None:
        raise ConfigInvalid("is not set", field="console")
    writer = LogWriter(config.log.origin, read_log_key(config.log.key_file), epoch=config.log.epoch)
    sealer = Sealer.from_text(read_text(settings.secret_file, "console.secret_file"))
    pool = await open_pool(config.postgres.read_dsn("console"), name="safelane-console", most=settings.pool_size)
    try:
        trust = parse_trust_file(read_text(config.trust_file, "trust_file").encode())
        registry = Registry(pool, trust.authority_keys(), read_clock, authority_jwks=trust.authority)
        context = build_context(
            settings,
            registry,
            writer,
            sealer,
            PackShelf(InstalledPack.load(config.policy_pack, config.local_policy_pack)),
            clock=read_clock,
            business_clock=business_clock,
            report_threshold=config.reports.threshold,
            hub_url=config.api.public_url if config.api else "",
            services=services,
        )
        upkeep = asyncio.create_task(keep_up(context))
        try:
            yield create_app(context)
        finally:
            upkeep.cancel()
            await asyncio.gather(upkeep, return_exceptions=True)
    finally:
        await pool.close()


def build_context(
    settings: ConsoleSettings,
    registry: Registry,
    writer: LogWriter,
    sealer: Sealer,
    shelf: PackShelf,
    *,
    clock: Clock,
    business_clock: Clock,
    report_threshold: int,
    hub_url: str,
    services: ConsoleServices,
) -> ConsoleContext:
    """Return what the pages work with.

    Raises:
        ConfigInvalid: the design system's assets are missing.
    """
    assets = load_assets(settings.assets_folder)
    return ConsoleContext(
        settings=settings,
        pool=registry.pool,
        registry=registry,
        log=writer,
        journal=Journal(registry.pool, writer, clock),
        gate=AuditGate(registry.pool, writer, clock),
        sealer=sealer,
        attempts=Attempts(sealer),
        limits=SessionLimits(settings.session_idle, settings.session_longest, settings.confirmed_for),
        passwords=PasswordHasher(),
        passkeys=Passkeys(settings.public_url),
        provider=build_provider(settings),
        assets=assets,
        renderer=Renderer(assets, partnership=settings.partnership),
        clock=clock,
        business_clock=business_clock,
        shelf=shelf,
        report_threshold=report_threshold,
        hub_url=hub_url,
        services=services,
    )


def build_provider(settings: ConsoleSettings) -> Provider | None:
    """Return the identity provider, or none where none is set.

    Raises:
        ConfigInvalid: its secret or its certificate authorities cannot be read.
    """
    if settings.oidc is None:
        return None
    secret = read_text(settings.oidc.client_secret_file, "console.oidc.client_secret_file")
    return Provider(settings.oidc, secret, f"{settings.public_url}{ANSWER_PATH}")


async def keep_up(context: ConsoleContext) -> None:
    """Every few minutes: forget failed attempts of yesterday and sessions that ended long ago. Never ends by itself."""
    while True:
        try:
            with translate_errors():
                async with context.pool.acquire(timeout=10) as connection:
                    await forget_old(connection, context.clock())
                    await forget_old_sessions(connection, context.clock())
                    await forget_old_forms(connection, context.clock())
        except SafelaneError as error:
            log.warning("upkeep_postponed", code=error.code)
        await asyncio.sleep(UPKEEP_SECONDS)


def read_clock() -> datetime:
    """Return the real time, UTC."""
    return datetime.now(UTC)
