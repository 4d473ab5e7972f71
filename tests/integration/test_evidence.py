"""Evidence packs of a log that real workers wrote: verified without the hub, and nothing in them can be changed unseen."""

import asyncio
import json
import zipfile
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from broker.config import read_log_key
from broker.log import LogWriter
from broker.log.witnessing import add_cosignature, propose_checkpoint
from broker.registry import versions
from broker.store import open_pool
from deploy.authority.hub_link import HubLink
from deploy.authority.signing import read_trust
from deploy.authority.state import save_state
from deploy.cli import app
from deploy.evidence.checking import PackChecker
from deploy.evidence.export import export_evidence
from deploy.evidence.pack import Files, OutputTaken, PackDamaged, read_pack, seal_pack, write_pack
from deploy.evidence.state_compare import compare_states
from schemas.canonical import sha256_base64url
from schemas.checkpoint import read_checkpoint, write_verifier
from schemas.codes import ReceiptState
from schemas.directory import Directory, WitnessPolicy
from schemas.errors import NotFound
from schemas.keys import public_part
from schemas.log_state import LogState
from schemas.objects import peek_object
from tests.integration.test_review_commands import serve
from tests.support.authority import FoundedAuthority
from tests.support.hub_agency import sign_receipt, verify_as
from tests.support.hub_world import CSC, ORIGIN, POLICE, SCHOOL, Draft, HubWorld, open_hub_world
from tests.support.log_server import ServedLog
from tests.support.lying_packs import Liar, Story
from tests.support.servers import RabbitVhost

CANARIES = ("CANARYchild", "CANARYsibling", "CANARYsource")


@pytest.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub") as world:
        authority = FoundedAuthority(tmp_path / "hub" / "authority")
        save_state(
            authority.folder, authority.state(), witnesses=WitnessPolicy(agencies=(CSC, POLICE, SCHOOL), quorum=2)
        )
        signed = authority.sign()
        await versions.insert_directory(world.owner, signed.body, signed.directory)
        async with world.running_worker():
            await world.publish(
                POLICE, [world.seal(Draft(referral_id="ref-000000000evidence1")).body, world.seal(Draft()).body]
            )
            bodies = [incoming.body for incoming in await world.receive(SCHOOL, 2)]
            delivery = next(
                d
                for d in (verify_as(world, SCHOOL, b) for b in bodies)
                if d.manifest.referral_id == "ref-000000000evidence1"
            )
            accepted = sign_receipt(world, delivery, ReceiptState.ACCEPTED)
            opened = sign_receipt(world, delivery, ReceiptState.OPENED, accepted)
            await world.publish(SCHOOL, [accepted, opened], message_type="receipt")
            await world.wait_for("SELECT count(*) FROM receipts", 2)
        yield world


async def export(world: HubWorld, searched: str = "ref-000000000evidence1") -> Files:
    pool = await open_pool(world.config.postgres.read_dsn("worker"), name="test", most=1)
    log = LogWriter(ORIGIN, read_log_key(world.config.log.key_file))
    trust = read_trust(world.folder / "authority" / "trust.json")
    try:
        return await export_evidence(pool, log, searched, trust.authority, by="ann", now=datetime.now(UTC))
    finally:
        await pool.close()


async def cosign(world: HubWorld, *agencies: str) -> None:
    now = datetime.now(UTC)
    note = await propose_checkpoint(world.owner, now=now)
    body = await versions.read_latest_directory(world.owner)
    directory = Directory.model_validate(peek_object(body or b""))
    for agency in agencies:
        lines = world.kits[agency].cosign(note, at=now)
        await add_cosignature(world.owner, directory, agency, read_checkpoint(note).size, lines, now=now)


async def test_a_pack_is_verified_offline_and_says_since_when(world: HubWorld, tmp_path: Path) -> None:
    alone = await export(world)
    authority = read_trust(world.folder / "authority" / "trust.json").authority_keys()
    verdict = PackChecker(alone, authority).check()
    assert (verdict.broken, verdict.exit_code) == ([], 1)
    assert verdict.open == ["that witnesses saw this log: 0 of 2 needed cosignatures"]
    assert await world.owner.fetchval("SELECT count(*) FROM log_entries WHERE kind = 'export'") == 1

    await cosign(world, CSC, SCHOOL)
    files = await export(world)
    verdict = PackChecker(files, authority).check()
    assert (verdict.broken, verdict.open, verdict.exit_code) == ([], [], 0)
    assert any(f"cosigned by 2 witnesses, 2 needed ({CSC}, {SCHOOL})" in line for line in verdict.proved)
    assert "2 receipts are signed by their recipients, logged, and in unbroken chains" in verdict.proved
    assert "3 decisions bind those envelopes" in verdict.proved
    assert files["summary.pdf"].startswith(b"%PDF")
    assert not [name for name, data in files.items() for canary in CANARIES if canary.encode() in data]

    folder, archive = tmp_path / "pack", tmp_path / "pack.zip"
    write_pack(files, folder)
    write_pack(files, archive)
    assert read_pack(folder) == read_pack(archive) == files
    trust = str(world.folder / "authority" / "trust.json")
    for source in (folder, archive):
        shown = CliRunner().invoke(app, ["verify", str(source), "--trust", trust])
        assert shown.exit_code == 0, shown.output
        assert "since" not in shown.output
        assert "No pack proves" in shown.output
        assert len(shown.output.splitlines()) < 25, "one screen"
    whole = archive.read_bytes()
    for at in (len(whole) // 3, len(whole) // 2, len(whole) - 10):
        damaged = tmp_path / "damaged.zip"
        damaged.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(PackDamaged):
            read_pack(damaged)
    changed = PackChecker({**files, "README.txt": b"other", "\x1b[2J": b""}, authority).check()
    assert changed.broken == ["files: malformed (README.txt, 1 more)"]
    with pytest.raises(OutputTaken):
        write_pack(files, archive)
    unpinned = CliRunner().invoke(app, ["verify", str(archive)])
    assert unpinned.exit_code == 1
    assert "give the partnership's trust file" in unpinned.output
    with zipfile.ZipFile(archive) as opened:
        assert "README.txt" in opened.namelist()
    await check_proofs(world, tmp_path)
    await check_url(world, tmp_path)


async def check_proofs(world: HubWorld, folder: Path) -> None:
    """Events with their bytes, taken on the hub's own machine and verified by who has the trust file alone."""
    here = ("--by", "ann", "--config", str(world.config_file))
    trust = ("--trust", str(world.folder / "authority" / "trust.json"))

    async def run(*arguments: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, list(arguments))
        return result.exit_code, result.output

    shown = folder / "shown.proofs.json"
    code, told = await run("audit", "show", "ref-000000000evidence1", "--proofs", str(shown), *here)
    assert code == 0, told
    code, told = await run("verify", str(shown), *trust)
    assert (code, f"cosigned by 2 witnesses, 2 needed ({CSC}, {SCHOOL})" in told) == (0, True), told
    assert "events are in that log, each at its place" in told
    position = json.loads(shown.read_text())["events"][0]["position"]
    one = folder / "one.proofs.json"
    code, told = await run("audit", "export", str(one), "--position", str(position), *here)
    assert code == 0, told
    code, told = await run("verify", str(one), *trust)
    assert (code, f'event {position}: {{"at"' in told) == (0, True), told
    assert not [canary for canary in CANARIES for file in (shown, one) if canary in file.read_text()]
    assert await world.owner.fetchval("SELECT count(*) FROM log_entries WHERE kind = 'export'") == 4


async def check_url(world: HubWorld, folder: Path) -> None:
    """The hub's own URL: all proved with the officers' directory and a quorum, and each time it must have only grown."""
    trust = json.loads(world.config.trust_file.read_text())
    trust["ca_pem"] = world.rabbit.stack.pki.ca_file.read_text()
    (folder / "trust.json").write_text(json.dumps(trust))
    signed = FoundedAuthority(world.folder / "authority").sign()
    directory = max((world.folder / "authority" / "directories").iterdir())
    remembered = folder / "kept.log-state.json"
    options = ("--trust", str(folder / "trust.json"), "--directory", str(directory), "--remember", str(remembered))

    async def verify(url: str, *given: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, ["verify", url, *given])
        return result.exit_code, result.output

    async with serve(world, folder) as url:
        with HubLink(url, trust["ca_pem"], lambda: datetime.now(UTC)) as link:
            await asyncio.to_thread(link.publish, signed)
        await cosign(world, CSC, SCHOOL)
        code, first = await verify(url, *options)
        assert code == 0, first
        assert f"cosigned by 2 witnesses, 2 needed ({CSC}, {SCHOOL}); 2 of them with ML-DSA-44 keys also" in first
        assert len(first.splitlines()) < 20, "one screen"
        code, again = await verify(url, *options)
        assert (code, "it has only grown since" in again) == (0, True), again
        code, unpinned = await verify(url, *options[:2])
        assert (code, "whose log this is: give the officers' directory" in unpinned) == (1, True)
        await world.owner.execute(
            "UPDATE log_entries SET entry = set_byte(entry, 20, get_byte(entry, 20) # 1) WHERE position = 1"
        )
        code, changed = await verify(url, *options)
        assert (code, "FALSE\n  entries:" in changed) == (4, True), changed


def reseal(files: Files) -> Files:
    """Write a manifest that fits the changed files, as a forger would."""
    facts = json.loads(files["pack.json"])
    rest = {name: data for name, data in files.items() if name != "pack.json"}
    return seal_pack(rest, **{k: v for k, v in facts.items() if k not in {"files", "format"}})


async def test_nothing_in_a_pack_can_be_changed_unseen_even_by_who_writes_its_manifest_anew(world: HubWorld) -> None:
    await cosign(world, CSC, SCHOOL)
    files = await export(world)
    authority = read_trust(world.folder / "authority" / "trust.json").authority_keys()
    for name in files:
        for at in (0, len(files[name]) // 2):
            changed = {**files, name: files[name][:at] + bytes([files[name][at] ^ 1]) + files[name][at + 1 :]}
            assert PackChecker(changed, authority).check().exit_code == 4, name
    forgeries: dict[str, Files] = {}
    envelope = next(name for name in files if name.startswith("envelopes/"))
    receipts = sorted(name for name in files if name.startswith("receipts/"))
    forgeries["no envelope"] = {n: d for n, d in files.items() if n != envelope}
    forgeries["no last receipt"] = {n: d for n, d in files.items() if n != receipts[-1]}
    forgeries["one receipt twice"] = {**files, receipts[1]: files[receipts[0]]}
    events: list[dict[str, Any]] = json.loads(files["events.json"])
    forgeries["an event elsewhere"] = {
        **files,
        "events.json": json.dumps([*events[:-1], events[-1] | {"position": 1}]).encode(),
    }
    forgeries["another event"] = {
        **files,
        "events.json": json.dumps([events[0] | {"event": events[1]["event"]}]).encode(),
    }
    told = files["decisions.json"].replace(b'"outcome": "delivered"', b'"outcome": "withheld"', 1)
    forgeries["another reason"] = {**files, "decisions.json": told}
    other = ServedLog()
    other.grow(9)
    forgeries["another log's checkpoint"] = {**files, "checkpoint.txt": other.note().encode()}
    held = json.loads(files["directory.json"])
    signature = held["versions"][0]["signatures"][0]["signature"]
    held["versions"][0]["signatures"][0]["signature"] = signature[:-4] + (
        "AAAA" if signature[-4:] != "AAAA" else "BBBB"
    )
    forgeries["an unsigned directory"] = {**files, "directory.json": json.dumps(held).encode()}
    for name, forged in forgeries.items():
        assert forged != files, name
        assert PackChecker(reseal(forged), authority).check().exit_code == 4, name


LIES: dict[str, tuple[str, Callable[[Story], None]]] = {}
"""Which part is false in ``verify``'s words, and the lie."""


def lie(wrong: str) -> Callable[[Callable[[Story], None]], Callable[[Story], None]]:
    def keep(tell: Callable[[Story], None]) -> Callable[[Story], None]:
        LIES[tell.__name__] = wrong, tell
        return tell

    return keep


@lie("receipts: malformed (receipts)")
def a_receipt_for_what_a_forked_log_decided(story: Story) -> None:
    story.find("decided", recipient=SCHOOL)["inputs_digest"] = sha256_base64url(b"other facts")


@lie("receipts: malformed (receipts)")
def a_receipt_for_less_than_was_released(story: Story) -> None:
    decided = story.find("decided", recipient=SCHOOL)
    decided["released"] = decided["released"][:-1]


@lie("receipts: malformed (events.json)")
def a_receipt_that_refuses(story: Story) -> None:
    story.find("receipt", state="opened")["state"] = "refused"


@lie("receipts: malformed (events.json)")
def a_receipt_moved_to_another_delivery(story: Story) -> None:
    story.find("receipt", state="accepted")["delivery_id"] = story.find("decided", recipient=CSC)["delivery_id"]


@lie(".json: malformed (pack.json)")
def a_pack_moved_to_another_referral(story: Story) -> None:
    story.facts["subject"] = "ref-000000000another1"


@lie("notices: malformed (events.json)")
def the_sender_is_told_that_it_was_withheld(story: Story) -> None:
    story.retell(story.find("decided", recipient=CSC), outcome="withheld")


@lie("notices: malformed (events.json)")
def the_sender_is_told_of_another_agreement(story: Story) -> None:
    story.retell(story.find("decided", recipient=CSC), agreement="DSA-99")


@lie("notices: malformed (events.json)")
def what_was_held_goes_all_the_same(story: Story) -> None:
    decided = story.find("decided", recipient=CSC)
    notice = json.loads(story.files[f"notices/{decided['message_id']}.json"])
    told = next(d for d in notice["decisions"] if d["delivery_id"] == decided["delivery_id"])
    held = {compartment: {**verdict, "result": "held"} for compartment, verdict in told["compartments"].items()}
    story.retell(decided, compartments=held)


async def test_a_hub_that_owns_its_log_cannot_tell_another_story(world: HubWorld) -> None:
    """What witnesses cosign only grew; whether it is true is for agencies' and officers' signatures to say."""
    await cosign(world, CSC, SCHOOL)
    authority = read_trust(world.folder / "authority" / "trust.json").authority_keys()
    now = datetime.now(UTC)

    def sign(note: str) -> str:
        return "".join(world.kits[agency].cosign(note, at=now) for agency in (CSC, SCHOOL))

    liar = Liar(await export(world), read_log_key(world.config.log.key_file), ORIGIN, sign)
    true = PackChecker(liar.tell(lambda story: None), authority).check()
    assert (true.broken, true.open, true.exit_code) == ([], [], 0), "a story without a lie is believed"
    for name, (wrong, tell) in LIES.items():
        verdict = PackChecker(liar.tell(tell), authority).check()
        assert verdict.exit_code == 4, name
        assert any(wrong in line for line in verdict.broken), (name, verdict.broken)

    files = liar.tell(lambda story: None)
    listed = json.loads(files["events.json"])
    twice = PackChecker(reseal({**files, "events.json": json.dumps([*listed, listed[-1]]).encode()}), authority).check()
    assert any("events: malformed (events.json)" in line for line in twice.broken)

    def decide_by_another_policy(story: Story) -> None:
        decided = story.find("decided", recipient=CSC)
        decided["policy_digest"] = "f0" * 32
        story.retell(decided, policy_digest="f0" * 32)

    verdict = PackChecker(liar.tell(decide_by_another_policy), authority).check()
    assert (verdict.broken, verdict.exit_code) == ([], 1)
    assert "by which policy 1 decisions were made" in verdict.open[0]


async def test_an_unknown_id_gives_nothing_and_the_attempt_is_logged(world: HubWorld) -> None:
    with pytest.raises(NotFound):
        await export(world, "ref-nobody-has")
    assert await world.owner.fetchval("SELECT count(*) FROM log_entries WHERE kind = 'export'") == 1


def test_witnesses_states_are_compared_by_command(tmp_path: Path) -> None:
    truth = ServedLog()
    truth.grow(9)
    story = ServedLog(truth.entries[:4], truth.jwk)
    story.grow(5, other="story")
    verifier = write_verifier("log.example.org/test", public_part(truth.jwk))
    files = {}
    for name, log, sizes in (("a", truth, (3, 9)), ("b", story, (5, 9)), ("c", truth, (3, 8)), ("d", truth, (1, 2))):
        files[name] = tmp_path / f"{name}.json"
        files[name].write_bytes(LogState(name, verifier, tuple(log.note(size) for size in sizes)).to_bytes())
    assert compare_states([files["a"], files["c"]]).exit_code == 0
    assert compare_states([files["a"], files["d"]]).exit_code == 1
    forked = CliRunner().invoke(app, ["verify", "--compare", str(files["a"]), str(files["b"])])
    assert forked.exit_code == 4
    assert "Use the telephone" in forked.output
