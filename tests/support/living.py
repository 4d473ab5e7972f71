"""Gateways, the hub's own API and its worker together: everything real but the network between gateway and API."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from adapters.gateway.config import load_config
from adapters.gateway.identity.keystore import Keystore
from adapters.gateway.identity.route import write_route
from adapters.gateway.identity.sealed_secrets import SealedSecrets, read_key_encryption_key, write_new_key_file
from adapters.gateway.service import Gateway
from adapters.gateway.wiring import build_gateway
from broker.api.settings import ApiSettings
from broker.api.wiring import open_api
from schemas.canonical import encode_base64url
from tests.support.authority import AgencyKit
from tests.support.gateways import HUB_URL, PEPPER, StubHub, write_gateway
from tests.support.hub_world import HubWorld
from tests.support.reviewing import PersonalApi

Clock = Callable[[], datetime]


@dataclass
class Living:
    """The running parts; ``clients`` call each agency's local API."""

    world: HubWorld
    api: PersonalApi
    gateway: Gateway
    clients: dict[str, httpx.AsyncClient] = field(repr=False)

    async def post(self, agency: str, path: str, body: dict[str, Any], status: int = 201) -> dict[str, Any]:
        response = await self.clients[agency].post(path, json=body)
        assert response.status_code == status, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def send(self, agency: str, document: Path) -> str:
        """Hand a document to an agency's gateway and return the referral's id."""
        media = {".json": "application/json", ".csv": "text/csv", ".xml": "application/xml"}[document.suffix]
        response = await self.clients[agency].post(
            "/referrals",
            content=document.read_bytes(),  # noqa: ASYNC240 (a test)
            headers={"Content-Type": media},
        )
        assert response.status_code == 202, response.text
        referral_id: str = response.json()["referrals"][0]["referral_id"]
        return referral_id

    async def referral(self, agency: str, referral_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.clients[agency].get(f"/referrals/{referral_id}")).json()
        return answer

    async def get(self, agency: str, path: str) -> Any:
        return (await self.clients[agency].get(path)).json()

    async def eventually(self, look: Any, *, seconds: float = 20.0) -> Any:
        """Call ``look`` until what it gives is true, and return that."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not (found := await look()):
            assert loop.time() < deadline, "it did not come about"
            await asyncio.sleep(0.1)
        return found


def keep_keystore(folder: Path, kit: AgencyKit) -> Keystore:
    """Write a keystore that holds a test kit's keys; one that an earlier run wrote is opened."""
    if (folder / "keystore.json").exists():
        return Keystore.open(folder / "keystore.json", kit.agency, read_key_encryption_key(folder / "kek", None))
    folder.mkdir(parents=True)
    now = datetime.now(UTC)
    encryption = {
        "jwk": kit.encryption_jwk,
        "made_at": now.isoformat(),
        "dies_at": now.replace(year=now.year + 1).isoformat(),
        "announcement": encode_base64url(kit.announcement(now=now)),
        "announced": True,
    }
    secrets = {
        "signing": list(kit.signing_jwks),
        "api": kit.api_jwk,
        "witness": kit.witness_jwks[0],
        "witness_ml_dsa_44": kit.witness_jwks[1],
        "store_key": encode_base64url(bytes(32)),
        "encryption": [encryption],
        "pepper": {"pepper_id": "p1", "pepper": encode_base64url(PEPPER)},
    }
    kek = write_new_key_file(folder / "kek")
    return Keystore(kit.agency, SealedSecrets.create(folder / "keystore.json", kit.agency, kek, secrets))


@asynccontextmanager
async def live(
    world: HubWorld, folder: Path, now: datetime | Clock, *, without: Sequence[str] = (), **agency: Any
) -> AsyncIterator[Living]:
    """Run the hub's worker and API and one hosted gateway for the world's agencies, but for those ``without``; ``now`` is the business clock, or its instant."""
    read_now: Clock = now if callable(now) else lambda: now
    hosted = [name for name in world.kits if name not in without]
    pki = world.rabbit.stack.pki
    stub = StubHub.make(pki.ca_file.read_text(), read_now)
    for name, kit in world.kits.items():
        stub.keystores[name] = keep_keystore(folder / name, kit)
    amqp = {"host": "localhost", "port": world.rabbit.amqp_settings("hub").port, "vhost": world.rabbit.vhost}
    write_gateway(folder, stub, hosted, amqp=amqp, pki=pki, more=agency)
    trust = json.loads(world.config.trust_file.read_text()) | {"ca_pem": stub.ca_pem}
    (folder / "trust.json").write_text(json.dumps(trust))
    for name in hosted:
        write_route(folder / name / "route.json", queue=world.queues[name], amqp=amqp)
    settings = ApiSettings(public_url=HUB_URL, certificate_file=Path("unused"), key_file=Path("unused"))
    config = world.config.model_copy(update={"api": settings})
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world.running_worker(clock=read_now))
        app = await stack.enter_async_context(open_api(config, read_now))
        transport = httpx.ASGITransport(app=app)
        caller = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url=HUB_URL, timeout=60))
        gateway = build_gateway(load_config(folder / "gateway.yaml"), clock=read_now, transport=transport)
        stop, ready = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(gateway.run(stop, ready=lambda _port: ready.set()))
        try:
            await asyncio.wait_for(ready.wait(), 10)
            clients = {}
            for name in hosted:
                await gateway.agencies[name].keeper.refresh()
                token = (folder / name / "token").read_text()
                clients[name] = await stack.enter_async_context(
                    httpx.AsyncClient(
                        base_url=f"http://127.0.0.1:{gateway.port}",
                        headers={"Authorization": f"Bearer {token}"},
                        timeout=20,
                    )
                )
            yield Living(world, PersonalApi(caller, world), gateway, clients)
        finally:
            stop.set()
            await asyncio.wait_for(running, 20)
