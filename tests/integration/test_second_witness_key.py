"""A second witness key in a running partnership: an agency that was enrolled with Ed25519 alone asks again and gets its ML-DSA-44 key, nothing stops."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapters.gateway.identity.enrolment import Invitation, request_enrolment
from adapters.gateway.identity.keystore import Keystore
from adapters.gateway.identity.sealed_secrets import read_key_encryption_key
from adapters.gateway.identity.trust import read_trust_file
from broker.registry import versions
from broker.registry.enrolments import create_invitation
from deploy.authority.state import save_state
from deploy.cli import app
from schemas.canonical import parse_object
from schemas.checkpoint import read_checkpoint
from schemas.directory import Directory, WitnessPolicy
from schemas.witnesses import find_cosigners, has_quorum, read_witnesses
from tests.support.authority import FoundedAuthority
from tests.support.hub_world import CSC, HEALTH, POLICE, SCHOOL, HubWorld, open_hub_world
from tests.support.living import Living, keep_keystore, live
from tests.support.sample_files import SAMPLES
from tests.support.servers import RabbitVhost

AT = datetime(2026, 11, 22, 5, 30, tzinfo=UTC)
FIRST = SAMPLES / "police-ppn-json" / "ppn-0041877-s47-siblings.json"
SECOND = SAMPLES / "police-ppn-json" / "ppn-0042088-exploitation.json"
WITNESSES = (CSC, HEALTH)


@pytest.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    """A partnership of before: its two witnesses, of whom both are needed, have one key each."""
    agencies = (POLICE, CSC, HEALTH, SCHOOL)
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub", agencies=agencies) as world:
        authority = FoundedAuthority(tmp_path / "hub" / "authority")
        enrolled = dict(authority.state().enrolled)
        for agency in WITNESSES:
            keys = enrolled[agency].keys
            first = keys.model_copy(update={"witness": keys.witness[:1]})
            enrolled[agency] = enrolled[agency].model_copy(update={"keys": first})
            with keep_keystore(tmp_path / "gw" / agency, world.kits[agency])._changing() as secrets:
                del secrets["witness_ml_dsa_44"]
        policy = WitnessPolicy(agencies=WITNESSES, quorum=2)
        save_state(authority.folder, authority.state(), enrolled=enrolled, witnesses=policy)
        signed = authority.sign()
        await versions.insert_directory(world.owner, signed.body, signed.directory)
        yield world


async def command(*arguments: str) -> tuple[int, str]:
    result = await asyncio.to_thread(CliRunner().invoke, app, list(arguments))
    return result.exit_code, result.output


async def send(living: Living, document: Path) -> tuple[str, str]:
    """Send a referral; return its id, and the checkpoint that a quorum cosigned once it covers all that the log has of it."""
    referral_id = await living.send(POLICE, document)

    async def arrived() -> bool:
        return (await living.referral(POLICE, referral_id))["state"] in {"receipted", "done"}

    await living.eventually(arrived, seconds=40)
    size = await living.world.owner.fetchval("SELECT max(size) FROM log_checkpoints")

    async def covered() -> str | None:
        served = await living.api.client.get("/log/checkpoint/witnessed")
        return served.text if served.status_code == 200 and read_checkpoint(served.text).size >= size else None

    return referral_id, str(await living.eventually(covered, seconds=60))


async def enrol_again(living: Living, gateways: Path) -> Directory:
    """What ``safelane gateway enrol`` does beside the gateway that serves, and then the officers; return the new directory."""
    running, world = living.gateway.agencies[CSC], living.world
    kek = read_key_encryption_key(gateways / CSC / "kek", None)
    beside = Keystore.open(gateways / CSC / "keystore.json", CSC, kek)
    secret, _ = await create_invitation(world.owner, CSC, now=datetime.now(UTC))
    config = running.parts.gateway
    pending = await request_enrolment(
        config,
        running.config,
        read_trust_file(config.trust_file),
        Invitation(hub_url=config.hub_url, agency=CSC, invitation=secret),
        hub=running.parts.hub,
        now=datetime.now(UTC),
        keystore=beside,
    )
    request = await world.owner.fetchval("SELECT request FROM enrolments")
    authority = FoundedAuthority(world.folder / "authority")
    authority.approve(pending.enrolment_id, parse_object(request, max_bytes=10**6))
    signed = authority.sign()
    assert (await living.api.client.post("/v1/directory", content=signed.body)).status_code == 201
    return signed.directory


def names(note: str) -> list[str]:
    """Who signed, line by line, after the log."""
    return [line.split(" ")[1] for line in note.split("\n\n")[1].splitlines()[1:]]


async def export(world: HubWorld, referral_id: str, pack: Path) -> None:
    options = ("--by", "ann", "--config", str(world.config_file), "--out", str(pack))
    code, told = await command("evidence", "export", referral_id, *options)
    assert code == 0, told


@pytest.mark.timeout(300)
async def test_a_second_witness_key_joins_while_everything_runs(world: HubWorld, tmp_path: Path) -> None:
    gateways, old, new = tmp_path / "gw", tmp_path / "old.zip", tmp_path / "new.zip"
    trust = ("--trust", str(world.folder / "authority" / "trust.json"))
    async with live(world, gateways, AT) as living:
        first, note = await send(living, FIRST)
        assert names(note) == [CSC, HEALTH]
        await export(world, first, old)
        code, before = await command("verify", str(old), *trust)
        assert (code, "with ML-DSA-44" in before) == (0, False), before

        directory = await enrol_again(living, gateways)
        csc = directory.find_agency(CSC)
        assert csc is not None
        assert ([jwk["alg"] for jwk in csc.keys.witness], csc.keys.revoked) == (["Ed25519", "ML-DSA-44"], ())
        second, note = await send(living, SECOND)
        assert names(note) == [CSC, CSC, HEALTH], "the gateway that serves signs with its new key, without a restart"
        assert set(find_cosigners(note, read_witnesses(directory))) == {CSC, HEALTH}
        without = "".join(line for line in note.splitlines(keepends=True) if f"— {HEALTH} " not in line)
        assert has_quorum(note, directory)
        assert not has_quorum(without, directory), "two signatures of one witness are one witness"

        log = (await living.api.client.get("/readyz")).json()["log"]
        size = read_checkpoint(note).size
        assert (log["witnesses"], log["witnesses_heard"]) == (2, 2)
        assert log["witnessed_size"] >= size

        async def follow() -> bool:
            states = [await living.get(agency, "/log") for agency in (POLICE, CSC, HEALTH, SCHOOL)]
            return all(state["state"] == "ok" and state["witnessed_size"] >= size for state in states)

        await living.eventually(follow, seconds=40)
        versions_in_use = {living.gateway.agencies[a].keeper.current().version for a in (CSC, HEALTH, SCHOOL)}
        assert len(versions_in_use) == 2, "also a gateway whose directory is still the one before"
        await export(world, second, new)
        # What the gateway writes later keeps the key that another process added.
        living.gateway.agencies[CSC].parts.keystore.announce_again()
    kept = keep_keystore(gateways / CSC, world.kits[CSC]).witness_keys()
    assert [jwk["alg"] for jwk in kept] == ["Ed25519", "ML-DSA-44"]
    assert await command("verify", str(old), *trust) == (0, before), "an old pack says what it said"
    code, told = await command("verify", str(new), *trust)
    assert (code, "1 of them with ML-DSA-44 keys also" in told) == (0, True), told
    states = [f"--witness={gateways / agency / 'log-state.json'}" for agency in WITNESSES]
    code, told = await command("hub", "fsck", "--config", str(world.config_file), *states)
    assert code == 0, told
