"""What an operator sees of a hub, read from its own servers: readiness, what waits, agencies; and the making of invitations."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg

from broker.amqp.intake_watch import NoWorker
from broker.amqp.queue_state import read_queue
from broker.amqp.topology import QUARANTINE_QUEUE
from broker.api.readiness import CheckResult, Readiness, build_readiness
from broker.api.wiring import read_clock, read_trust_file
from broker.config import HubConfig, read_log_key
from broker.log import LogWriter, NewEvent
from broker.registry import Registry, agency_queues
from broker.registry.enrolments import create_invitation
from broker.status import read_status
from broker.store import open_pool, translate_errors
from deploy.clock import build_business_clock
from schemas.agreement_warnings import list_agreement_warnings
from schemas.errors import ConfigInvalid, NotFound, SafelaneError
from schemas.signed_directory import is_active


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Checks by name, facts to show in order, and what a person should look at."""

    checks: list[CheckResult]
    facts: dict[str, str]
    concerns: list[str]


@dataclass(frozen=True, slots=True)
class AgencyRow:
    """One agency of the directory as an operator sees it."""

    agency: str
    state: str
    encryption_keys: int
    queue: str


@asynccontextmanager
async def open_operator(config: HubConfig) -> AsyncIterator[tuple[asyncpg.Pool, Registry]]:
    """Open a small pool under the API's role and the registry on it."""
    pool = await open_pool(config.postgres.read_dsn("api"), name="safelane-operator", most=2)
    try:
        trust = read_trust_file(config.trust_file)
        yield pool, Registry(pool, trust.authority_keys(), read_clock, authority_jwks=trust.authority)
    finally:
        await pool.close()


async def _list_agreement_warnings(registry: Registry, now: datetime) -> list[str]:
    """Return what owners of agreements must hear; nothing while there is no directory."""
    try:
        directory = (await registry.current()).directory
    except SafelaneError:
        return []
    return list_agreement_warnings(
        directory.agreements, now.astimezone(ZoneInfo(directory.partnership.timezone)).date()
    )


async def read_report(config: HubConfig) -> StatusReport:
    """Return readiness, what waits, and what a person should look at.

    Raises:
        StoreUnavailable: PostgreSQL cannot be reached at all.
    """
    business_now = build_business_clock(config.clock_file, config.environment)()
    async with open_operator(config) as (pool, registry):
        readiness = build_readiness(pool, registry, config.amqp)
        checks = [*await readiness.check(), *_check_workers(readiness)]
        found = await read_status(pool, now=read_clock(), business_now=business_now)
        agreements = await _list_agreement_warnings(registry, business_now)
        pending = await pool.fetchval("SELECT count(*) FROM enrolments WHERE state = 'pending'", timeout=10)
    facts = {name.replace("_", " "): _plain(value) for name, value in asdict(found).items()}
    facts["enrolments pending"] = str(pending)
    facts |= await _read_waiting(config, readiness)
    return StatusReport(checks, facts, [*found.list_concerns(), *agreements])


def _check_workers(readiness: Readiness) -> list[CheckResult]:
    """Return whether somebody takes referrals in; nothing where RabbitMQ did not answer, which the check of that name says."""
    watch = readiness.intake_watch
    if watch is None or not watch.lanes:
        return []
    try:
        watch.require_worker()
    except NoWorker as error:
        return [CheckResult("workers", ready=False, code=error.code, why=error.public_message)]
    return [CheckResult("workers", ready=True)]


async def _read_waiting(config: HubConfig, readiness: Readiness) -> dict[str, str]:
    """Return what waits in the intake queues, and for whom, and in quarantine; an error's code where RabbitMQ does not say."""
    try:
        quarantine = await read_queue(config.amqp, QUARANTINE_QUEUE)
    except SafelaneError as error:
        return {"queues": error.code}
    lanes = readiness.intake_watch.lanes if readiness.intake_watch else {}
    facts = {f"queue {lane}": f"{state.waiting}  (workers: {state.consumers})" for lane, state in lanes.items()}
    return facts | {"queue quarantine": str(quarantine.waiting) if quarantine else "none"}


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items()) or "none"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return "none" if value is None else str(value)


async def list_agencies(config: HubConfig) -> list[AgencyRow]:
    """Return every agency of the directory.

    Raises:
        DependencyUnavailable: there is no directory, or PostgreSQL cannot be reached.
    """
    async with open_operator(config) as (pool, registry):
        snapshot = await registry.current()
        rows = []
        with translate_errors():
            async with pool.acquire(timeout=10) as connection:
                for agency in snapshot.directory.agencies:
                    state = "revoked" if agency.revoked_at else "enrolled" if is_active(agency) else "known"
                    queue = await agency_queues.read_queue(connection, agency.id)
                    rows.append(
                        AgencyRow(
                            agency.id, state, len(snapshot.encryption_keys.get(agency.id, ())), queue or "no queue"
                        )
                    )
        return rows


async def make_invitation(config: HubConfig, agency_id: str, validity: timedelta) -> dict[str, Any]:
    """Make a one-time invitation for an agency of the directory: ``hub_url``, ``agency``, ``invitation``, ``expires_at``.

    Raises:
        NotFound: the directory has no such agency: the officers must add it first.
        ConfigInvalid: the configuration has no API part, so that nobody knows the hub's URL.
    """
    if config.api is None:
        raise ConfigInvalid("is not set", field="api")
    async with open_operator(config) as (pool, registry):
        snapshot = await registry.current()
        if snapshot.directory.find_agency(agency_id) is None:
            raise NotFound("is not in the directory: the officers must add it first", field="agency")
        log = LogWriter(config.log.origin, read_log_key(config.log.key_file), epoch=config.log.epoch)
        now = read_clock()
        members = {"agency": agency_id, "enrolment_id": None, "state": "invited", "at": now.isoformat()}
        with translate_errors():
            async with pool.acquire(timeout=10) as connection, connection.transaction():
                secret, expires_at = await create_invitation(connection, agency_id, now=now, validity=validity)
                await log.append(connection, [NewEvent.clear("enrolment", members)], at=now)
    return {
        "hub_url": config.api.public_url,
        "agency": agency_id,
        "invitation": secret,
        "expires_at": expires_at.isoformat(timespec="seconds"),
    }
