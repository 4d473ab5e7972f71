"""What an operator sees of a hub, read from its own servers: readiness, what waits, agencies; and the making of invitations."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from broker.amqp.topology import INTAKE_QUEUES, QUARANTINE_QUEUE, read_queue_depth
from broker.api.readiness import CheckResult, Readiness, build_checks
from broker.api.wiring import read_authority_keys, read_clock
from broker.config import HubConfig
from broker.registry import Registry, agency_queues
from broker.registry.enrolments import create_invitation
from broker.store import open_pool, translate_errors
from schemas.errors import ConfigInvalid, NotFound, SafelaneError
from schemas.signed_directory import is_active


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Checks by name, and facts to show, in order."""

    checks: list[CheckResult]
    facts: dict[str, str]


@dataclass(frozen=True, slots=True)
class AgencyRow:
    """One agency of the directory as an operator sees it."""

    agency: str
    state: str
    encryption_keys: int
    queue: str


_WAITING = {
    "deliveries open": "SELECT count(*) FROM deliveries WHERE state = 'open'",
    "outbox": "SELECT count(*) FROM outbox",
    "held for a person": "SELECT count(*) FROM holds WHERE state = 'open'",
    "holds past deadline": "SELECT count(*) FROM holds WHERE state = 'open' AND deadline_at < $1",
    "quarantined": "SELECT count(*) FROM quarantine WHERE state = 'open'",
    "log entries": "SELECT coalesce(max(size), 0) FROM log_checkpoints",
    "enrolments pending": "SELECT count(*) FROM enrolments WHERE state = 'pending'",
}


@asynccontextmanager
async def open_operator(config: HubConfig) -> AsyncIterator[tuple[asyncpg.Pool, Registry]]:
    """Open a small pool under the API's role and the registry on it."""
    pool = await open_pool(config.postgres.read_dsn("api"), name="safelane-operator", most=2)
    try:
        yield pool, Registry(pool, read_authority_keys(config.trust_file), read_clock)
    finally:
        await pool.close()


async def read_status(config: HubConfig) -> StatusReport:
    """Return readiness and what waits.

    Raises:
        StoreUnavailable: PostgreSQL cannot be reached at all.
    """
    facts: dict[str, str] = {}
    async with open_operator(config) as (pool, registry):
        checks = await Readiness(build_checks(pool, registry, config.amqp)).check()
        try:
            snapshot = await registry.current()
            facts["directory version"] = (
                f"{snapshot.version}, good until {snapshot.directory.expires_at:%Y-%m-%d %H:%M} UTC"
            )
        except SafelaneError as error:
            facts["directory version"] = f"none ({error.code})"
        with translate_errors():
            async with pool.acquire(timeout=10) as connection:
                for name, query in _WAITING.items():
                    arguments = (datetime.now(UTC),) if "$1" in query else ()
                    facts[name] = str(await connection.fetchval(query, *arguments))
    for name, queue in {
        **{f"queue {lane}": q for lane, q in INTAKE_QUEUES.items()},
        "queue quarantine": QUARANTINE_QUEUE,
    }.items():
        try:
            facts[name] = str(await read_queue_depth(config.amqp, queue))
        except SafelaneError as error:
            facts[name] = error.code
    return StatusReport(checks, facts)


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
        async with pool.acquire(timeout=10) as connection:
            secret, expires_at = await create_invitation(connection, agency_id, now=read_clock(), validity=validity)
    return {
        "hub_url": config.api.public_url,
        "agency": agency_id,
        "invitation": secret,
        "expires_at": expires_at.isoformat(timespec="seconds"),
    }
