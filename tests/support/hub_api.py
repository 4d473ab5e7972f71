"""The hub's API on a real PostgreSQL, called in process; who calls holds real keys, and the authority signed the directory."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
from fastapi import FastAPI

from broker.api.app import create_app
from broker.api.context import ApiContext
from broker.api.metrics import ApiMetrics
from broker.api.planning import Planner
from broker.api.provisioning import Provisioner
from broker.api.readiness import build_readiness
from broker.api.settings import ApiSettings
from broker.api.wiring import list_projections
from broker.audit import Projector
from broker.audit.gate import AuditGate
from broker.audit.reader import AuditReader
from broker.log import LogWriter
from broker.registry import Registry
from broker.registry.access import AccessTokens
from broker.registry.packs import InstalledPack, PackShelf
from broker.store import open_pool, upgrade_database
from deploy.authority.signing import SignedVersion, read_trust
from schemas.codes import Compartment, CompartmentResult, DeliveryOutcome
from schemas.decision import CompartmentDecision, Decision
from schemas.directory import Directory
from schemas.errors import DependencyUnavailable
from schemas.header import RoutingHeader
from schemas.keys import KeyUse, generate_ed25519_jwk
from tests.support.authority import AgencyKit, FoundedAuthority

HUB_URL = "https://hub.example.org:8443"
ROLE_PASSWORD = "role password for tests"
LOG_ORIGIN = "log.example.org/test"


class EveryoneGetsTheirName:
    """An engine that needs no policies: it delivers C01 to each requested delivery and says who it thinks the sender is."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory

    def decide_all(self, header: RoutingHeader, *, sender: str, registers: Any, now: datetime) -> list[Decision]:
        return [
            Decision(
                delivery_id=d.delivery_id,
                recipient=d.agency,
                role=d.role,
                purpose=d.purpose,
                outcome=DeliveryOutcome.DELIVERED,
                row="D5",
                reason=f"asked by {sender}",
                compartments={Compartment.C01: CompartmentDecision(result=CompartmentResult.FULL, row="D5")},
                decided_at=now,
            )
            for d in header.deliveries
        ]


async def read_nothing(_header: RoutingHeader, _sender: str) -> Any:
    return None


@dataclass
class Rabbit:
    """Stands for RabbitMQ where only the calls matter; the real one is in the enrolment test."""

    users: dict[str, str] = field(default_factory=dict)
    fails: bool = False

    async def provision(self, queues: Mapping[str, str]) -> None:
        if self.fails:
            raise DependencyUnavailable("RabbitMQ is away in this test")
        self.users |= queues

    async def remove(self, agency_id: str) -> None:
        self.users.pop(agency_id, None)


@dataclass
class HubApi:
    """The running API: ``client`` calls it, ``pool`` is the API's own, ``owner`` may look at everything."""

    app: FastAPI
    client: httpx.AsyncClient
    context: ApiContext
    pool: asyncpg.Pool
    owner: asyncpg.Connection
    authority: FoundedAuthority
    rabbit: Rabbit

    async def publish(self, signed: SignedVersion) -> httpx.Response:
        return await self.client.post("/v1/directory", content=signed.body)

    async def call(self, method: str, path: str, kit: AgencyKit | None = None, **rest: Any) -> httpx.Response:
        """Call with a fresh token of ``kit``; ``token`` in ``rest`` is used instead."""
        token = rest.pop("token", None) or (kit.token(HUB_URL) if kit else None)
        headers = {**rest.pop("headers", {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        return await self.client.request(method, path, headers=headers, **rest)

    async def enrol(self, *kits: AgencyKit) -> None:
        """Put agencies into the directory and publish it, without the enrolment's own endpoints."""
        response = await self.publish(self.authority.enrol(*kits))
        assert response.status_code == 201, response.text
        for kit in kits:
            announcement = kit.announcement(now=datetime.now(UTC))
            response = await self.call("POST", "/v1/keys", kit, content=announcement)
            assert response.status_code == 201, response.text


def with_login(dsn: str, user: str) -> str:
    """Return ``dsn`` with another user, whose password is the tests' own."""
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{ROLE_PASSWORD.replace(' ', '%20')}@{host}"))


async def set_role_password(connection: asyncpg.Connection, role: str) -> None:
    await connection.execute(f"ALTER ROLE {role} PASSWORD '{ROLE_PASSWORD}'")


@asynccontextmanager
async def open_hub_api(dsn: str, folder: Path, *, request_seconds: float = 30.0) -> AsyncIterator[HubApi]:
    """Migrate the database and serve the API in process, as the role ``safelane_api``."""
    await upgrade_database(dsn)
    owner = await asyncpg.connect(dsn)
    await set_role_password(owner, "safelane_api")
    pool = await open_pool(with_login(dsn, "safelane_api"), name="test-api")
    authority = FoundedAuthority.found(folder)
    rabbit = Rabbit()

    def clock() -> datetime:
        return datetime.now(UTC)

    trust = read_trust(authority.folder / "trust.json")
    registry = Registry(pool, trust.authority_keys(), clock, authority_jwks=trust.authority)
    log = LogWriter(LOG_ORIGIN, generate_ed25519_jwk(KeyUse.LOG))
    context = ApiContext(
        settings=ApiSettings(public_url=HUB_URL, certificate_file=Path("unused"), key_file=Path("unused")),
        pool=pool,
        registry=registry,
        tokens=AccessTokens(registry, HUB_URL, clock),
        log=log,
        planner=Planner(lambda snapshot: EveryoneGetsTheirName(snapshot.directory), clock, read_nothing),
        shelf=PackShelf(InstalledPack.load(None, None)),
        provisioner=Provisioner(pool, rabbit.provision, rabbit.remove, clock),
        readiness=build_readiness(pool, registry, None),
        metrics=ApiMetrics(),
        projector=Projector(pool, list_projections()),
        audit=AuditReader(pool, AuditGate(pool, log, clock), registry, clock, clock),
        clock=clock,
    )
    app = create_app(context, request_seconds=request_seconds)
    transport = httpx.ASGITransport(app=app)
    try:
        async with httpx.AsyncClient(
            transport=transport, base_url=HUB_URL, timeout=timedelta(seconds=60).seconds
        ) as client:
            yield HubApi(app, client, context, pool, owner, authority, rabbit)
    finally:
        await pool.close()
        await owner.close()
