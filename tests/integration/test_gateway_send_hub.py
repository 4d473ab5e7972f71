"""A referral's whole way: record system, sending gateway, RabbitMQ, hub worker, receiving gateways, receipts back, done. Only the hub's HTTP is in process."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.gateway.config import load_config
from adapters.gateway.identity.route import write_route
from adapters.gateway.identity.trust import read_trust_file
from adapters.gateway.service import Gateway
from adapters.gateway.wiring import build_gateway
from broker.decisions import NO_REGISTERS, DecisionEngine
from schemas.canonical import parse_object
from schemas.directory import Directory
from schemas.header import RoutingHeader
from schemas.signed_directory import verify_directory
from tests.support.gateways import SAMPLES, StubHub, policy_pack, write_gateway
from tests.support.hub_world import HubWorld, open_hub_world
from tests.support.living import keep_keystore
from tests.support.servers import RabbitVhost

POLICE, CSC, HEALTH, SCHOOL, GP = (
    "police.marchshire",
    "csc.marchshire",
    "health.marchshire-ft",
    "school.oakfield",
    "gp.millbrook",
)
SIBLINGS = SAMPLES / "police-ppn-json" / "ppn-0041877-s47-siblings.json"
RECEIVED_AT = datetime(2026, 11, 16, 22, 32, tzinfo=UTC)
SOURCE_CANARY = "Underhay-Test"


@dataclass
class WorldHub(StubHub):
    """The hub's HTTP side over the world's own signed directory."""

    body: dict[str, Any] | None = None
    known: Directory | None = None

    def directory_body(self, directory: Directory | None = None, *, signer: Any = None) -> dict[str, Any]:
        assert self.body is not None
        return self.body

    def _plan(self, question: dict[str, Any], sender: str) -> dict[str, Any]:
        assert self.known is not None
        engine = DecisionEngine(policy_pack(), self.known)
        header = RoutingHeader.model_validate(question["header"])
        decisions = engine.decide_all(header, sender=sender, registers=NO_REGISTERS, now=RECEIVED_AT)
        return {"decisions": [d.to_json() for d in decisions], "directory_version": self.known.version}


@pytest.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    agencies = (POLICE, CSC, HEALTH, SCHOOL, GP)
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub", agencies=agencies) as world:
        yield world


async def make_hub(world: HubWorld, folder: Path) -> WorldHub:
    """Build the HTTP side, and every agency's keystore below ``folder``."""
    signed = await world.owner.fetchval("SELECT body FROM directory_versions ORDER BY version DESC LIMIT 1")
    directory = parse_object(signed, max_bytes=1 << 24)
    announcements = [kit.announcement(now=datetime.now(UTC)) for kit in world.kits.values()]
    stub = StubHub.make(world.rabbit.stack.pki.ca_file.read_text(), lambda: RECEIVED_AT)
    hub = WorldHub(stub.authority, stub.authority_jwks, stub.ca_pem, stub.business_clock)
    hub.body = {"directory": directory, "keys": [parse_object(a, max_bytes=1 << 20) for a in announcements]}
    hub.known = verify_directory(bytes(signed), read_trust_file(world.config.trust_file).authority_keys())
    for agency, kit in world.kits.items():
        hub.keystores[agency] = keep_keystore(folder / agency, kit)
    return hub


@asynccontextmanager
async def running_gateways(
    world: HubWorld, folder: Path
) -> AsyncIterator[tuple[Gateway, dict[str, httpx.AsyncClient]]]:
    """Run one hosted gateway for all agencies, each with its own certificate, queue and token."""
    hub = await make_hub(world, folder)
    agencies = list(world.kits)
    amqp = {"host": "localhost", "port": world.rabbit.amqp_settings(POLICE).port, "vhost": world.rabbit.vhost}
    write_gateway(folder, hub, agencies, amqp=amqp, pki=world.rabbit.stack.pki)
    # The test's authority and its servers have CAs of their own: the trust file names the servers'.
    trust = json.loads(world.config.trust_file.read_text()) | {"ca_pem": hub.ca_pem}
    (folder / "trust.json").write_text(json.dumps(trust))
    for agency in agencies:
        write_route(folder / agency / "route.json", queue=world.queues[agency], amqp=amqp)
    gateway = build_gateway(load_config(folder / "gateway.yaml"), clock=lambda: RECEIVED_AT, transport=hub.transport())
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(gateway.run(stop, ready=lambda _port: ready.set()))
    await asyncio.wait_for(ready.wait(), 10)
    clients = {}
    for agency in agencies:
        await gateway.agencies[agency].keeper.refresh()
        token = (folder / agency / "token").read_text()
        clients[agency] = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{gateway.port}", headers={"Authorization": f"Bearer {token}"}, timeout=20
        )
    try:
        yield gateway, clients
    finally:
        for client in clients.values():
            await client.aclose()
        stop.set()
        await asyncio.wait_for(running, 20)


async def wait_for(client: httpx.AsyncClient, referral_id: str, *states: str) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for _ in range(300):
        answer = (await client.get(f"/referrals/{referral_id}")).json()
        if answer["state"] in states:
            return answer
        await asyncio.sleep(0.1)
    raise AssertionError(f"still {answer['state']}: {answer['reason']} {answer['alarm']}")


async def test_a_referral_travels_and_its_receipts_come_back(world: HubWorld, tmp_path: Path) -> None:
    async with world.running_worker(), running_gateways(world, tmp_path / "gateways") as (_, clients):
        posted = await clients[POLICE].post(
            "/referrals", content=SIBLINGS.read_bytes(), headers={"Content-Type": "application/json"}
        )
        assert posted.status_code == 202, posted.text
        described = await wait_for(clients[POLICE], posted.json()["referral_id"], "receipted", "done")
        described = await wait_for(clients[POLICE], posted.json()["referral_id"], "done")
        assert described["alarm"] is None
        assert {d["recipient"]: d["outcome"] for d in described["deliveries"]} == dict.fromkeys(
            (CSC, HEALTH, SCHOOL, GP), "delivered"
        )
        assert all(d["receipt"]["state"] == "accepted" for d in described["deliveries"])
        csc = next(d for d in described["deliveries"] if d["recipient"] == CSC)
        assert (
            csc["decision"]["compartments"]["C10"]
            == {"result": "held", "row": "D12"} | csc["decision"]["compartments"]["C10"]
        )

        for agency in (CSC, HEALTH, SCHOOL, GP):
            [listed] = (await clients[agency].get("/inbox")).json()["deliveries"]
            opened = await clients[agency].get(f"/inbox/{listed['delivery_id']}")
            assert opened.status_code == 200
            assert SOURCE_CANARY not in opened.text
        again = await wait_for(clients[POLICE], posted.json()["referral_id"], "done")
        for _ in range(100):
            again = (await clients[POLICE].get(f"/referrals/{posted.json()['referral_id']}")).json()
            if all(d["receipt"]["state"] == "opened" for d in again["deliveries"]):
                break
            await asyncio.sleep(0.1)
        assert {d["receipt"]["state"] for d in again["deliveries"]} == {"opened"}
