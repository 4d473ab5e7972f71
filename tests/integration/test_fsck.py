"""``fsck`` against a log that real workers wrote: it passes as it is, and can be taken up again (``test_tampering`` has what it finds)."""

# ruff: noqa: S608 (constant names)

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

from broker.config import read_log_key
from broker.log import LogWriter, NewEvent
from broker.log.fsck import Fsck, FsckState, WitnessedCheckpoint
from broker.log.rebuilding import NoteReader, RebuiltTree, hash_entries
from broker.registry.versions import insert_directory
from broker.store.receipts import ReceiptRow, insert_receipts
from deploy.authority.signing import read_trust
from deploy.authority.succession import hand_over
from deploy.cli import app
from schemas.canonical import decode_base64url, encode_base64url
from schemas.checkpoint import Checkpoint, sign_checkpoint
from schemas.codes import ReceiptState
from schemas.directory import Directory
from schemas.envelope.delivery import VerifiedDelivery
from schemas.keys import KeyUse, generate_ed25519_jwk
from schemas.log_state import LogState
from schemas.merkle import RightEdge, compute_root
from schemas.objects import digest_object, peek_object
from tests.support.authority import CHEAP, PASSPHRASES, FoundedAuthority
from tests.support.hub_agency import sign_receipt, verify_as
from tests.support.hub_world import ORIGIN, POLICE, SCHOOL, Draft, HubWorld, open_hub_world
from tests.support.servers import RabbitVhost

FILLERS = 300


@pytest.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    """A hub that took in referrals, has receipts, and a log of more than one tile."""
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub") as world:
        async with world.running_worker():
            await world.publish(POLICE, [world.seal(Draft()).body for _ in range(3)])
            delivery = verify_as(world, SCHOOL, (await world.receive(SCHOOL, 3))[0].body)
            accepted = sign_receipt(world, delivery, ReceiptState.ACCEPTED)
            opened = sign_receipt(world, delivery, ReceiptState.OPENED, accepted)
            await world.publish(SCHOOL, [accepted, opened], message_type="receipt")
            await world.wait_for("SELECT count(*) FROM receipts", 2)
        log = LogWriter(ORIGIN, read_log_key(world.config.log.key_file))
        for number in range(FILLERS // 10):
            at = datetime.now(UTC) + timedelta(microseconds=number)
            members = {"at": at.isoformat(), "by": "ann", "action": "show", "subject": "ref_1"}
            batch = [NewEvent.salted("audit_read", members) for _ in range(9)]
            batch.append(NewEvent.clear("heartbeat", {"at": at.isoformat(), "size": number}))
            async with world.owner.transaction():
                await log.append(world.owner, batch, at=at)
        yield world


async def check(world: HubWorld, **options: Any) -> FsckState:
    key = decode_base64url(read_log_key(world.config.log.key_file)["x"])
    return await Fsck(world.owner, ORIGIN, key, **options).run()


async def test_an_honest_log_passes_and_a_check_can_be_taken_up_again(world: HubWorld) -> None:
    told: list[tuple[int, int]] = []
    key = decode_base64url(read_log_key(world.config.log.key_file)["x"])
    state = await Fsck(world.owner, ORIGIN, key).run(lambda done, total: told.append((done, total)))
    assert state.findings == []
    size = await world.owner.fetchval("SELECT count(*) FROM log_entries")
    assert state.tree.size == size > 256
    assert told[-1] == (size, size)
    again = FsckState.from_json(state.to_json())
    async with world.owner.transaction():
        log = LogWriter(ORIGIN, read_log_key(world.config.log.key_file))
        await log.append(world.owner, [NewEvent.clear("heartbeat", {"at": "x", "size": 1})], at=datetime.now(UTC))
    resumed = await check(world, state=again)
    assert resumed.findings == []
    assert resumed.tree.size == size + 1
    root = await world.owner.fetchval("SELECT root FROM log_checkpoints ORDER BY size DESC LIMIT 1")
    kept = WitnessedCheckpoint("csc.marchshire", size + 1, root)
    assert (await check(world, witnessed=[kept])).findings == []


async def test_no_event_tile_or_proof_holds_content_or_a_name(world: HubWorld) -> None:
    """The draft's canaries stand for names, dates of birth and words; the partnership's contacts are named in the directory alone."""
    held = [bytes(row["entry"]) + bytes(row["event"]) for row in await world.owner.fetch(
        "SELECT entry, event FROM log_entries JOIN log_payloads USING (event_id)"
    )]  # fmt: skip
    held += [row["hashes"] for row in await world.owner.fetch("SELECT hashes FROM log_tiles")]
    held += [row["note"].encode() for row in await world.owner.fetch("SELECT note FROM log_checkpoints")]
    assert len(held) > 340
    body = await world.owner.fetchval("SELECT body FROM directory_versions ORDER BY version DESC LIMIT 1")
    directory = Directory.model_validate(peek_object(body))
    names = [contact.name for agency in directory.agencies for contact in agency.contacts if contact.name]
    words = [*Draft().canaries, *names, *(agency.name for agency in directory.agencies)]
    assert len(words) > 10
    everything = b"\n".join(held).lower()
    assert [word for word in words if word.lower().encode() in everything] == []


async def list_receipt_findings(world: HubWorld, delivery: VerifiedDelivery, **changes: Any) -> set[str]:
    """Log a receipt as the hub would if it did not look at what it binds; return what is found that was not before. Nothing of it stays."""
    body = sign_receipt(world, delivery, ReceiptState.ACCEPTED, **changes)
    signed, at = peek_object(body), datetime.now(UTC)
    members = {name: signed[name] for name in ("message_id", "delivery_id", "sender", "recipient", "state", "previous")}
    members |= {"decision_leaf": signed["decision_leaf"], "receipt_digest": digest_object(body), "at": at.isoformat()}
    event = NewEvent.salted("receipt", members)
    transaction = world.owner.transaction()
    await transaction.start()
    await LogWriter(ORIGIN, read_log_key(world.config.log.key_file)).append(world.owner, [event], at=at)
    row = ReceiptRow(
        receipt_digest=members["receipt_digest"],
        message_id=UUID(signed["message_id"]),
        delivery_id=signed["delivery_id"],
        state=signed["state"],
        reason_code=None,
        previous=None,
        decision_leaf=signed["decision_leaf"],
        at=datetime.fromisoformat(signed["at"]),
        received_at=at,
        event_id=event.event_id,
        notice=None,
        body=body,
    )
    await insert_receipts(world.owner, [row])
    found = {finding.code for finding in (await check(world)).findings}
    await transaction.rollback()
    return found


async def test_a_receipt_must_be_for_a_logged_decision_and_for_all_that_it_released(world: HubWorld) -> None:
    async with world.running_worker():
        await world.publish(POLICE, [world.seal(Draft()).body])
        came = await world.receive(SCHOOL, 5, seconds=2)  # with notices of the receipts before
    delivery = verify_as(world, SCHOOL, [message.body for message in came if message.type == "delivery"][-1])
    other = await world.owner.fetchval(
        "SELECT sha256(e.entry) FROM deliveries d JOIN log_entries e USING (event_id) WHERE d.delivery_id <> $1 LIMIT 1",
        delivery.delivery.delivery_id,
    )
    honest = await list_receipt_findings(world, delivery)
    assert "receipt-of-no-decision" not in honest
    for lie in (
        {"decision_leaf": "A" * 43},
        {"decision_leaf": encode_base64url(other)},
        {"sections": tuple(sorted(delivery.sections))[:-1]},
        {"manifest_digest": "A" * 43},
        {"referral_id": "ref-00000000000another"},
    ):
        assert await list_receipt_findings(world, delivery, **lie) == honest | {"receipt-of-no-decision"}, lie


async def test_each_directory_is_of_the_authority_of_its_time(world: HubWorld) -> None:
    authority = FoundedAuthority(world.folder / "authority")
    retired = authority.folder / "authority.key.json"
    old_key = retired.read_bytes()
    hand_over(authority.folder, PASSPHRASES, cost=CHEAP)
    signed = authority.sign()
    await insert_directory(world.owner, signed.body, signed.directory)
    trust = read_trust(authority.folder / "trust.json")
    assert len(trust.every_authority()) == 2
    assert (await check(world, authorities=trust.every_authority())).findings == []

    # Without the pair of before, what it signed is nobody's, and each of its versions is named.
    found = await check(world, authorities=trust.authority_keys())
    older = {f"directory_versions {version}" for version in range(1, signed.directory.version)}
    assert {(f.code, f.where) for f in found.findings} == {("directory-is-not-the-authoritys", w) for w in older}
    assert older

    # Who has the pair of before can still sign: but not over the one that took over from it.
    retired.write_bytes(old_key)
    keys = authority.folder / "trust.json"
    keys.write_text(json.dumps({**json.loads(keys.read_text()), "authority": list(trust.earlier[0])}))
    forged = authority.sign()
    await insert_directory(world.owner, forged.body, forged.directory)
    found = await check(world, authorities=trust.every_authority())
    assert f"directory_versions {signed.directory.version}" in {
        f.where for f in found.findings if f.code == "directory-is-not-the-authoritys"
    }


async def test_a_database_that_was_put_back_is_seen_with_a_witness_and_a_fork_too(world: HubWorld) -> None:
    newest = await world.owner.fetchrow("SELECT size, root FROM log_checkpoints ORDER BY size DESC LIMIT 1")
    kept = WitnessedCheckpoint("csc.marchshire", newest["size"], newest["root"])
    transaction = world.owner.transaction()
    await transaction.start()
    cut = await world.owner.fetchval("SELECT size FROM log_checkpoints ORDER BY size DESC OFFSET 3 LIMIT 1")
    for table, column in (("log_checkpoints", "size > $1"), ("log_entries", "position >= $1")):
        await world.owner.execute(f"DELETE FROM {table} WHERE {column}", cut)
    await world.owner.execute(
        "DELETE FROM log_payloads p WHERE NOT EXISTS (SELECT 1 FROM log_entries e WHERE e.event_id = p.event_id)"
    )
    assert (await check(world)).findings == [], "nothing in the database itself can show it"
    found = (await check(world, witnessed=[kept])).findings
    await transaction.rollback()
    assert [finding.code for finding in found] == ["database-was-put-back"]
    other = WitnessedCheckpoint("csc.marchshire", newest["size"], bytes(32))
    assert [f.code for f in (await check(world, witnessed=[other])).findings] == ["differs-from-what-was-witnessed"]


def test_the_rebuilt_tree_is_the_contracts_and_its_state_survives() -> None:
    leaves = hash_entries(str(number).encode() for number in range(700))
    tiles: dict[tuple[int, int], bytes] = {}
    tree = RebuiltTree()
    for number, leaf in enumerate(leaves):
        tree.add(leaf, lambda level, index, data, root: tiles.update({(level, index): data + root}))
        if number in {0, 1, 254, 255, 256, 511, 698, 699}:
            assert tree.root() == compute_root(leaves[: number + 1])
            assert tree.edge() == b"".join(RightEdge().append(leaves[: number + 1]).after.hashes)
        if number == 300:
            tree = RebuiltTree.from_json(json.loads(json.dumps(tree.to_json())))
    expected = {n: leaves[n * 256 : n * 256 + 256] for n in (0, 1)}
    assert tiles == {(0, n): b"".join([*hashes, compute_root(hashes)]) for n, hashes in expected.items()}


def test_a_note_is_read_by_hand_exactly(tmp_path: Path) -> None:
    jwk = generate_ed25519_jwk(KeyUse.LOG)
    key, root = decode_base64url(jwk["x"]), bytes(range(32))
    note = sign_checkpoint(Checkpoint(ORIGIN, 5, root), jwk)
    reader = NoteReader(ORIGIN, key)
    assert reader.is_signed(note, 5, root)
    for wrong in (
        note + "\n",
        note.replace("\n5\n", "\n6\n"),
        note[:-3] + "A\n",
        note + note.split("\n\n")[1],
        note[:-1],
    ):
        assert not reader.is_signed(wrong, 5, root)
    assert not reader.is_signed(note, 5, bytes(32))
    other = decode_base64url(generate_ed25519_jwk(KeyUse.LOG)["x"])
    assert not NoteReader(ORIGIN, other).is_signed(note, 5, root)


def test_the_command_says_what_it_found_by_its_exit_code(world: HubWorld, tmp_path: Path, database: str) -> None:
    loop = asyncio.new_event_loop()
    state, kept = tmp_path / "fsck.json", tmp_path / "csc.json"
    command = ["hub", "fsck", "--config", str(world.config_file), "--state", str(state), "--witness", str(kept)]

    def ask(query: str) -> Any:
        async def run() -> Any:
            connection = await asyncpg.connect(database)
            try:
                return await connection.fetchval(query)
            finally:
                await connection.close()

        return loop.run_until_complete(run())

    note = ask("SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1")
    log = f"{world.log.name}+{world.log.key_id.hex()}+"
    raw = b"\x01" + world.log.public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    kept.write_bytes(LogState("csc.marchshire", log + base64.b64encode(raw).decode(), (note,)).to_bytes())
    good = CliRunner().invoke(app, command)
    assert good.exit_code == 0, good.output
    assert "Nothing was found" in good.output
    assert "csc.marchshire" in good.output
    ask("UPDATE log_entries SET entry = 'x' WHERE position = 3 RETURNING 1")
    resumed = CliRunner().invoke(app, command)
    assert resumed.exit_code == 0, "what was checked is not looked at again"
    bad = CliRunner().invoke(app, [*command, "--fresh"])
    assert bad.exit_code == 4
    assert "leaf-hash-wrong: log_entries 3" in bad.output
    loop.close()
