"""A policy pack is lodged, approved by two people, named by the officers' directory, and decides from the next message on, without a restart."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner, Result

from broker.decisions import DEFAULT_PACK, PolicyPack, bundle_pack, load_bundle
from broker.decisions.bundle import write_digest
from deploy.authority.people import Approver, sign_approval
from deploy.authority.policies import name_pack
from deploy.authority.state import save_state
from deploy.cli import app
from schemas.canonical import canonical_bytes
from tests.integration.test_review_commands import serve, write_desk
from tests.support.authority import FoundedAuthority
from tests.support.fsck import list_findings
from tests.support.hub_world import CSC, HEALTH, POLICE, SCHOOL, Draft, HubWorld, open_hub_world
from tests.support.reviewing import HUB_URL, PersonalApi, make_approver, serve_api
from tests.support.servers import RabbitVhost

NO_SCHOOL_RECORDS = """
@id("local-no-school-records") @row("D0") @step("300") @reason("Schools keep their own records.") @authority("A trial.")
forbid (principal == Role::"dsl", action in Action::"disclose", resource is Compartment) when { resource.code == "C08" };
"""


def write_local(folder: Path, policies: str = NO_SCHOOL_RECORDS, pack_id: str = "trial") -> Path:
    folder.mkdir()
    (folder / "local.yaml").write_text(yaml.safe_dump({"id": pack_id}))
    (folder / "local.cedar").write_text(policies)
    return folder


@dataclass
class Partnership:
    """A hub world whose authority and policy people are at hand, with one API process and a second one."""

    world: HubWorld
    apis: tuple[PersonalApi, PersonalApi]
    people: dict[str, Approver]

    @property
    def authority(self) -> FoundedAuthority:
        return FoundedAuthority(self.world.folder / "authority")

    async def lodge(self, body: bytes, person: str = "pam.roe") -> httpx.Response:
        return await self.apis[0].call("POST", "/v1/policies", self.people[person], body)

    async def approve(self, pack: PolicyPack, person: str, **members: Any) -> httpx.Response:
        base = {"action": "activate_policy", "policy_digest": write_digest(pack.digest), "reason_code": "board_agreed"}
        body = sign_approval(self.people[person], now=datetime.now(UTC), **(base | members))
        return await self.apis[0].call("POST", "/v1/approvals", self.people[person], body)

    async def publish(self, pack: PolicyPack, **state: Any) -> httpx.Response:
        """Sign a directory that names a pack, as two officers, and hand it in; what the hub refuses is not kept."""
        before = self.authority.state()
        signed = self.authority.sign(changed=name_pack(before, pack).model_copy(update=state))
        response = await self.apis[0].client.post("/v1/directory", content=signed.body)
        if response.status_code != 201:
            save_state(self.authority.folder, before)
        return response

    async def packs(self) -> list[dict[str, Any]]:
        response = await self.apis[0].call("GET", "/v1/policies", self.people["pam.roe"])
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()["packs"]
        return found

    async def decide(self) -> dict[str, Any]:
        """Send one referral through the worker and return what was decided for the school."""
        draft = Draft()
        await self.world.publish(POLICE, [self.world.seal(draft).body])
        delivery = draft.header().deliveries[2].delivery_id
        await self.world.wait_for("SELECT count(*) FROM deliveries WHERE delivery_id = $1", 1, delivery)
        row = await self.world.owner.fetchval("SELECT decision FROM deliveries WHERE delivery_id = $1", delivery)
        decision: dict[str, Any] = json.loads(row)
        return decision

    async def plan(self, number: int) -> dict[str, Any]:
        """Ask one of the API's processes for a plan of the same referral; return what it says of the school."""
        header = Draft().header().model_dump(mode="json", exclude_none=True)
        api = self.apis[number]
        response = await api.call("POST", "/v1/plan", POLICE, canonical_bytes({"header": header}))
        assert response.status_code == 200, response.text
        decision: dict[str, Any] = response.json()["decisions"][2]
        return decision


@pytest.fixture
async def partnership(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[Partnership]:
    made = [
        make_approver(tmp_path, "pam.roe", CSC, ("policy_approver",)),
        make_approver(tmp_path, "quin.roe", HEALTH, ("policy_approver",)),
        make_approver(tmp_path, "ann.lee", POLICE),
    ]
    async with (
        open_hub_world(
            database,
            rabbit_vhost,
            tmp_path / "hub",
            agencies=(POLICE, CSC, HEALTH, SCHOOL),
            people=[person for _, person in made],
        ) as world,
        serve_api(world) as first,
        serve_api(world) as second,
    ):
        yield Partnership(world, (first, second), {approver.id: approver for approver, _ in made})


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


async def test_two_people_activate_a_pack_and_the_next_message_is_decided_by_it(
    partnership: Partnership, tmp_path: Path
) -> None:
    world = partnership.world
    body = bundle_pack(DEFAULT_PACK, write_local(tmp_path / "local"))
    new, old = load_bundle(body), load_bundle(bundle_pack(DEFAULT_PACK))
    async with world.running_worker():
        before = await partnership.decide()
        assert (before["policy_digest"], before["compartments"]["C08"]["result"]) == (old.digest, "full")

        # Nothing counts before it is lodged, and only people with the role for it lodge and approve.
        assert code(await partnership.approve(new, "pam.roe")) == (404, "not-found")
        assert code(await partnership.publish(new)) == (409, "policy-pack-not-held")
        assert code(await partnership.lodge(body, "ann.lee")) == (403, "not-permitted")
        assert (await partnership.lodge(body)).status_code == 201
        assert (await partnership.lodge(body)).status_code == 200
        assert code(await partnership.approve(new, "ann.lee")) == (403, "not-permitted")
        assert code(await partnership.publish(new)) == (409, "policy-pack-not-approved")

        # One person is not two, and an approval that is over is none.
        assert (await partnership.approve(new, "pam.roe")).status_code == 201
        assert code(await partnership.approve(new, "pam.roe")) == (409, "conflict")
        late = await partnership.approve(
            new,
            "quin.roe",
            expires_at=datetime.now(UTC) - timedelta(minutes=1),
            issued_at=datetime.now(UTC) - timedelta(hours=1),
        )
        assert code(late) == (403, "not-permitted")
        assert code(await partnership.publish(new)) == (409, "policy-pack-not-approved")
        assert (await partnership.decide())["policy_digest"] == old.digest
        assert (await partnership.approve(new, "quin.roe")).status_code == 201
        shown = {pack["policy_digest"]: pack for pack in await partnership.packs()}
        assert (shown[old.digest]["in_force"], shown[new.digest]["is_approved"]) == (True, True)
        assert [a["approver"] for a in shown[new.digest]["approvals"]] == ["pam.roe", "quin.roe"]

        # A directory must carry the pack's own matrix.
        assert code(await partnership.publish(new, matrix=new.matrix.to_directory_rows()[:-1])) == (
            409,
            "matrix-differs",
        )
        assert (await partnership.publish(new)).status_code == 201

        # The same worker and both API processes, the next message.
        after = await partnership.decide()
        assert (after["policy_digest"], after["compartments"]["C08"]["result"]) == (new.digest, "withheld")
        assert after["compartments"]["C08"]["policy"] == "local-no-school-records"
        for number in (0, 1):
            assert (await partnership.plan(number))["compartments"]["C08"]["result"] == "withheld"
    assert (await partnership.packs())[0]["policy_digest"] == new.digest

    # The log says it in clear, and names the two signed approvals.
    entry = await world.owner.fetchval(
        "SELECT entry FROM log_entries WHERE kind = 'policy' ORDER BY position DESC LIMIT 1"
    )
    event = json.loads(entry)
    used = await world.owner.fetchval("SELECT approvals FROM policy_activations WHERE policy_digest = $1", new.digest)
    assert (event["policy_digest"], event["approvals"], len(used)) == (new.digest, used, 2)
    signed = await world.owner.fetchval(
        "SELECT count(*) FROM signed_objects WHERE object_digest = ANY($1::text[])", used
    )
    assert signed == 2

    # Going back needs two approvals of its own: those that were used count no more.
    assert code(await partnership.publish(old)) == (409, "policy-pack-not-approved")
    for person in ("pam.roe", "quin.roe"):
        assert (await partnership.approve(old, person)).status_code == 201
    assert (await partnership.publish(old)).status_code == 201
    assert code(await partnership.publish(new)) == (409, "policy-pack-not-approved")

    # A worker that starts now finds the pack where the hub keeps it; every old decision is run again with its own.
    async with world.running_worker():
        assert (await partnership.decide())["policy_digest"] == old.digest
    rerun = await run_policy(world, "rerun", "--by", "ann")
    assert rerun.exit_code == 0, (rerun.output, rerun.exception)
    assert "12 decisions run again: 12 gave the same answer." in rerun.output


async def run_policy(world: HubWorld, *arguments: str) -> Result:
    settings = yaml.safe_load(world.config_file.read_text())
    settings["api"] = {"public_url": HUB_URL, "certificate_file": "unused", "key_file": "unused"}
    world.config_file.write_text(yaml.safe_dump(settings))
    return await asyncio.to_thread(CliRunner().invoke, app, ["policy", *arguments, "--config", str(world.config_file)])


async def test_a_referral_waits_while_the_pack_in_force_is_not_here(partnership: Partnership, tmp_path: Path) -> None:
    """No message is quarantined or decided otherwise because a hub lacks the pack: it is decided when the pack comes."""
    world = partnership.world
    body = bundle_pack(DEFAULT_PACK, write_local(tmp_path / "local"))
    new = load_bundle(body)
    signed = partnership.authority.sign(changed=name_pack(partnership.authority.state(), new))
    await world.owner.execute(
        "INSERT INTO directory_versions (version, sha256, body, issued_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
        signed.directory.version,
        bytes(32),
        signed.body,
        signed.directory.issued_at,
        signed.directory.expires_at,
    )
    await world.owner.execute("UPDATE registry_change SET change = change + 1")
    async with world.running_worker():
        await world.publish(POLICE, [world.seal(Draft()).body])
        await asyncio.sleep(1.5)
        assert await world.owner.fetchval("SELECT count(*) FROM messages") == 0
        assert await world.owner.fetchval("SELECT count(*) FROM quarantine") == 0
        header = Draft().header().model_dump(mode="json", exclude_none=True)
        response = await partnership.apis[0].call("POST", "/v1/plan", POLICE, canonical_bytes({"header": header}))
        assert code(response) == (503, "policy-not-held")
        assert (await partnership.lodge(body)).status_code == 201
        await world.wait_for("SELECT count(*) FROM messages", 1)
    digests = await world.owner.fetch("SELECT DISTINCT decision ->> 'policy_digest' AS digest FROM deliveries")
    assert [row["digest"] for row in digests] == [new.digest]


async def test_what_is_stored_under_a_digest_is_checked(partnership: Partnership, tmp_path: Path) -> None:
    world = partnership.world
    body = bundle_pack(DEFAULT_PACK, write_local(tmp_path / "local"))
    new = load_bundle(body)
    await partnership.lodge(body)
    await world.owner.execute(
        "UPDATE policy_packs SET body = $1 WHERE policy_digest = $2", bundle_pack(DEFAULT_PACK), new.digest
    )
    for person in ("pam.roe", "quin.roe"):
        await partnership.approve(new, person)
    assert code(await partnership.publish(new)) == (500, "integrity-broken")


@asynccontextmanager
async def serve_tls(world: HubWorld, folder: Path) -> AsyncIterator[tuple[str, Path]]:
    """Serve the API over TLS; yield its URL, and the authority's folder with the test's CA in its trust file."""
    async with serve(world, folder) as url:
        trust = world.folder / "authority" / "trust.json"
        members = json.loads(trust.read_text())
        members["ca_pem"] = world.rabbit.stack.pki.ca_file.read_text()
        trust.write_text(json.dumps(members))
        yield url, world.folder / "authority"


async def test_officers_activate_from_the_command_line(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    _, pam = make_approver(tmp_path, "pam.roe", CSC, ("policy_approver",))
    local = write_local(tmp_path / "local")
    new = load_bundle(bundle_pack(DEFAULT_PACK, local))
    officers = []
    for name, passphrase in (("ann", "a long test passphrase"), ("ben", "another long passphrase")):
        file = tmp_path / f"{name}.passphrase"
        file.write_text(passphrase)
        file.chmod(0o600)
        officers += ["--officer", name, "--passphrase-file", f"{name}={file}"]
    async with (
        open_hub_world(database, rabbit_vhost, tmp_path / "hub", agencies=(POLICE, CSC, SCHOOL), people=[pam]) as world,
        serve_tls(world, tmp_path) as (url, authority),
    ):
        desk = write_desk(tmp_path, world, url, "pam.roe")

        async def run(*arguments: str) -> Result:
            return await asyncio.to_thread(CliRunner().invoke, app, ["policy", *arguments])

        lodged = await run("lodge", str(DEFAULT_PACK), "--local", str(local), *desk.options)
        assert lodged.exit_code == 0, (lodged.output, lodged.exception)
        assert f"Lodged as {new.digest}" in lodged.output
        approved = await run("approve", new.digest[:12], "--reason-code", "board_agreed", *desk.options)
        assert "Approved by pam.roe. One more must." in approved.output, (approved.output, approved.exception)
        activate = [
            "activate",
            str(authority),
            str(DEFAULT_PACK),
            "--local",
            str(local),
            "--reason-code",
            "board_agreed",
        ]
        done = await run(*activate, "--hub", url, *officers)
        assert done.exit_code == 0, (done.output, done.exception)
        assert "In force: england-2026-09+trial" in done.output
        listed = await run("packs", *desk.options)
        assert f"{new.digest[:16]}  in force" in listed.output, listed.output
        again = await run(*activate, "--hub", url, *officers)
        assert again.exit_code == 1
        assert "in force already" in str(again.exception)
        assert await world.owner.fetchval("SELECT count(*) FROM policy_activations") == 1
        assert await list_findings(world) == []
