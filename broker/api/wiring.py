"""Builds the API from the hub's configuration, and the little it does in the background."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import structlog
from cryptography.x509 import Certificate
from fastapi import FastAPI

from broker.amqp.administration import RabbitAdministration
from broker.api.app import create_app
from broker.api.context import ApiContext
from broker.api.metrics import ApiMetrics
from broker.api.planning import Planner, ReadRegisters
from broker.api.provisioning import Provisioner
from broker.api.readiness import build_readiness
from broker.audit import Projection, Projector
from broker.audit.event_index import EventIndex
from broker.audit.gate import AuditGate
from broker.audit.reader import AuditReader
from broker.config import HubConfig, TimestampSettings, read_log_key, read_text
from broker.decisions import Registers
from broker.intake.register_view import read_registers
from broker.log import LogWriter
from broker.log.heartbeat import beat_if_idle
from broker.log.lateness import CosignatureAlarm
from broker.log.timestamping import TimestampAuthority, Timestamper
from broker.registry import Registry
from broker.registry.access import AccessTokens, forget_old_tokens
from broker.registry.agency_queues import ProvisionAgencies
from broker.registry.packs import InstalledPack, PackShelf
from broker.reports.projection import ReportProjection
from broker.store import open_pool
from broker.store.pool import translate_errors
from schemas.errors import ConfigInvalid, MalformedMessage, SafelaneError
from schemas.header import RoutingHeader
from schemas.timestamp import read_roots
from schemas.trust import TrustFile, parse_trust_file

UPKEEP_SECONDS = 30.0

Clock = Callable[[], datetime]

log = structlog.get_logger("safelane.api")


@asynccontextmanager
async def open_api(config: HubConfig, business_clock: Clock) -> AsyncIterator[FastAPI]:
    """Open connections, yield the application, and close everything again.

    Raises:
        ConfigInvalid: the configuration has no API part, or a file that it names is wrong.
        StoreUnavailable: PostgreSQL cannot be reached.
    """
    settings = config.api
    if settings is None:
        raise ConfigInvalid("is not set", field="api")
    shelf = PackShelf(InstalledPack.load(config.policy_pack, config.local_policy_pack))
    trust = read_trust_file(config.trust_file)
    writer = LogWriter(config.log.origin, read_log_key(config.log.key_file), epoch=config.log.epoch)
    administration = RabbitAdministration(settings.administration) if settings.administration else None
    pool = await open_pool(config.postgres.read_dsn("api"), name="safelane-api", most=settings.pool_size)
    try:
        registry = Registry(pool, trust.authority_keys(), read_clock, authority_jwks=trust.authority)
        provisioner = Provisioner(
            pool,
            _provision_with(administration) if administration else None,
            administration.remove_user if administration else None,
            read_clock,
        )
        context = ApiContext(
            settings=settings,
            pool=pool,
            registry=registry,
            tokens=AccessTokens(registry, settings.public_url, read_clock),
            log=writer,
            planner=Planner(
                shelf.engine_for,
                business_clock,
                _read_registers_from(pool, registry, business_clock),
            ),
            shelf=shelf,
            provisioner=provisioner,
            readiness=build_readiness(pool, registry, config.amqp),
            metrics=ApiMetrics(),
            projector=Projector(pool, list_projections()),
            audit=AuditReader(pool, AuditGate(pool, writer, read_clock), registry, read_clock, business_clock, shelf),
            clock=read_clock,
            timestamper=open_timestamper(config, pool, writer),
            report_threshold=config.reports.threshold,
        )
        with translate_errors():
            async with pool.acquire(timeout=10) as connection:
                await shelf.lodge_installed(connection, read_clock())
        tasks = [asyncio.create_task(keep_up(context)), asyncio.create_task(context.projector.run())]
        if context.timestamper is not None:
            tasks.append(asyncio.create_task(context.timestamper.run()))
        try:
            yield create_app(context)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        if administration:
            await administration.close()
        await pool.close()


async def keep_up(context: ApiContext) -> None:
    """Every half minute: finish provisioning that was postponed, forget tokens that are over, let an idle log beat, watch the witnesses.

    Never ends by itself.
    """
    witnesses = CosignatureAlarm(context.log)
    while True:
        try:
            snapshot = await context.registry.current()
            await context.provisioner.reconcile_quietly(snapshot)
            async with context.pool.acquire(timeout=10) as connection:
                await forget_old_tokens(connection, context.clock())
                await beat_if_idle(connection, context.log, now=context.clock())
                await witnesses.check(connection, snapshot.directory.witnesses, now=context.clock())
        except SafelaneError as error:
            log.warning("upkeep_postponed", code=error.code)
        except (OSError, TimeoutError) as error:
            log.warning("upkeep_postponed", code=type(error).__name__)
        await asyncio.sleep(UPKEEP_SECONDS)


def open_timestamper(config: HubConfig, pool: asyncpg.Pool, writer: LogWriter) -> Timestamper | None:
    """Return what has checkpoints timestamped; none where no authority is configured.

    Raises:
        ConfigInvalid: the authority's certificates cannot be read.
    """
    settings = config.timestamps
    if settings is None:
        return None
    roots = read_timestamp_roots(settings)
    authority = TimestampAuthority(settings.url, roots, timeout_seconds=settings.timeout_seconds)
    return Timestamper(pool, writer, authority, every=settings.every, late_after=settings.late_after, clock=read_clock)


def read_timestamp_roots(settings: TimestampSettings) -> tuple[Certificate, ...]:
    """Return the certificates of the authority that timestamps checkpoints.

    Raises:
        ConfigInvalid: they cannot be read.
    """
    try:
        return read_roots(read_text(settings.ca_file, "timestamps.ca_file").encode())
    except MalformedMessage:
        raise ConfigInvalid("holds no certificate", field="timestamps.ca_file") from None


def list_projections() -> tuple[Projection, ...]:
    """Return every table that is made from the log: the API's process keeps them, and ``safelane audit reindex`` makes them again."""
    return (EventIndex(), ReportProjection())


def read_trust_file(path: Path) -> TrustFile:
    """Return the trust file.

    Raises:
        ConfigInvalid: it cannot be read.
    """
    return parse_trust_file(read_text(path, "trust_file").encode())


def _read_registers_from(pool: asyncpg.Pool, registry: Registry, clock: Clock) -> ReadRegisters:
    """Return the reader of the registers for plans: consents of the same children, and tokens that another matter has used."""

    async def read(header: RoutingHeader, sender: str) -> Registers:
        with translate_errors():
            snapshot = await registry.current()
            async with pool.acquire(timeout=10) as connection:
                return await read_registers(
                    connection, header, snapshot.directory, sender=sender, conversation=None, now=clock()
                )

    return read


def read_clock() -> datetime:
    """Return the real time, UTC."""
    return datetime.now(UTC)


def _provision_with(administration: RabbitAdministration) -> ProvisionAgencies:
    async def provision(queues: Mapping[str, str]) -> None:
        await administration.provision_agencies(queues, known=queues)

    return provision
