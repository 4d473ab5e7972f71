"""Erasing: what may go goes when its time is over, what is held or under way stays, nobody can take more, and every proof stays good."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from broker.config import read_log_key
from broker.delivery.quarantine import reject_quarantined
from broker.log import LogWriter
from broker.retention.erasing import Eraser, StillUnderWay, UnderLegalHold
from broker.retention.holds import place_hold
from broker.store import open_pool
from broker.store.pool import StoreUnavailable
from deploy.authority.signing import read_trust
from deploy.cli import app
from deploy.evidence.checking import PackChecker, Verdict
from deploy.evidence.export import export_evidence
from deploy.evidence.pack import Files, seal_pack
from schemas.checkpoint import read_proof, verify_proof
from schemas.codes import Compartment, ReceiptState
from schemas.envelope import SectionDraft
from schemas.errors import Conflict, MalformedMessage
from schemas.header import RoutingHeader, SubjectRouting, SubjectToken
from tests.support.fsck import list_findings
from tests.support.hub_agency import check_evidence, sign_receipt, verify_as
from tests.support.hub_world import CHILD, ORIGIN, POLICE, SCHOOL, Draft, HubWorld, open_hub_world
from tests.support.servers import RabbitVhost

KEEP = timedelta(days=30)
TOKEN = SubjectToken(scheme="nhs", pepper_id="pepper-1", value="aa" * 32)
TOKEN_TEXT = f"nhs|pepper-1|{TOKEN.value}"


@dataclass
class ToSchool(Draft):
    """A referral to the school alone, about a child with a token."""

    recipients: Any = ((SCHOOL, "dsl"),)

    def sections(self) -> list[SectionDraft]:
        return [section for section in super().sections() if section.compartment is not Compartment.C10]

    def header(self) -> RoutingHeader:
        header = super().header()
        routing = (SubjectRouting(subject_id=CHILD, tied_agencies=(SCHOOL,), tokens=(TOKEN,)), *header.routing[1:])
        return header.model_copy(update={"routing": routing})


OLD, OTHER, OPEN = (ToSchool(referral_id=f"ref-{name:0>13}-0001") for name in ("old", "other", "open"))


@pytest.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    """Two referrals that the school has receipted, and one that it has not."""
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub") as world:
        async with world.running_worker():
            await world.publish(POLICE, [world.seal(draft).body for draft in (OLD, OTHER, OPEN)])
            for message in await world.receive(SCHOOL, 3):
                delivery = verify_as(world, SCHOOL, message.body)
                if delivery.manifest.referral_id != OPEN.referral_id:
                    accepted = sign_receipt(world, delivery, ReceiptState.ACCEPTED)
                    await world.publish(SCHOOL, [accepted], message_type="receipt")
            await world.wait_for("SELECT count(*) FROM receipts", 2)
            # Notices and forwarded receipts have left.
            await world.wait_for("SELECT count(*) FROM outbox WHERE kind <> 'delivery'", 0)
        yield world


@pytest.fixture
async def pool(world: HubWorld) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(world.config.postgres.read_dsn("eraser"), name="test", most=2)
    yield pool
    await pool.close()


def writer(world: HubWorld) -> LogWriter:
    return LogWriter(ORIGIN, read_log_key(world.config.log.key_file))


def agreed(reason_code: str) -> Any:
    """Two people's agreement, as the pairing of approvals gives it (``test_chronology`` has the real one)."""

    async def approve(_: Any) -> tuple[list[str], str]:
        return ["ann", "bob"], reason_code

    return approve


def eraser(world: HubWorld, pool: asyncpg.Pool, *, days: float = 31) -> Eraser:
    return Eraser(pool, writer(world), lambda: datetime.now(UTC) + timedelta(days=days), KEEP)


async def findings(world: HubWorld) -> list[str]:
    return [
        code for code in await list_findings(world) if code != "act-without-its-approval"
    ]  # the two who ``agreed`` signed nothing


async def export(world: HubWorld, referral_id: str) -> tuple[Files, Verdict]:
    trust = read_trust(world.folder / "authority" / "trust.json")
    pool = await open_pool(world.config.postgres.read_dsn("worker"), name="test", most=1)
    try:
        files = await export_evidence(
            pool, writer(world), referral_id, trust.authority, by="ann", now=datetime.now(UTC)
        )
    finally:
        await pool.close()
    return files, PackChecker(files, trust.authority_keys()).check()


async def bodies(world: HubWorld) -> set[str]:
    rows = await world.owner.fetch("SELECT referral_id FROM messages WHERE body IS NOT NULL")
    return {row["referral_id"] for row in rows}


async def run(world: HubWorld, *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--config", str(world.config_file)])


async def test_sealed_bytes_go_when_their_time_is_over_and_everything_stays_provable(
    world: HubWorld, pool: asyncpg.Pool
) -> None:
    assert (await eraser(world, pool, days=29).erase_due()).messages == 0
    counts = await eraser(world, pool).count()
    assert (counts.due, counts.held, counts.under_way) == (2, 0, 1)
    assert (await eraser(world, pool).erase_due()).messages == 2
    assert (await eraser(world, pool).erase_due()).messages == 0
    assert await bodies(world) == {OPEN.referral_id}, "what is under way stays"
    assert await findings(world) == []
    assert await world.owner.fetchval("SELECT count(*) FROM log_entries WHERE kind = 'erased'") == 2

    files, verdict = await export(world, OLD.referral_id)
    assert verdict.broken == []
    assert [line for line in verdict.proved if "sealed bytes were erased on" in line]
    assert not [name for name in files if name.startswith("envelopes/")]
    facts = {k: v for k, v in json.loads(files["pack.json"]).items() if k not in {"files", "format"}}
    events = [e for e in json.loads(files["events.json"]) if e["kind"] != "erased"]
    unsaid = {n: d for n, d in files.items() if n != "pack.json"} | {"events.json": json.dumps(events).encode()}
    trust = read_trust(world.folder / "authority" / "trust.json")
    assert PackChecker(seal_pack(unsaid, **facts), trust.authority_keys()).check().exit_code == 4

    shown = await run(world, "audit", "show", OLD.referral_id)
    assert "erased ciphertext by the hub (commitment intact)" in shown.output, shown.output
    assert (await run(world, "hub", "retention", "status")).output.count("0") >= 3


async def test_a_repeat_of_what_was_erased_has_no_second_effect_and_the_same_answer(
    world: HubWorld, pool: asyncpg.Pool
) -> None:
    await eraser(world, pool).erase_due()
    notice = await world.owner.fetchval("SELECT notice FROM messages WHERE referral_id = $1", OLD.referral_id)
    await world.receive(POLICE, 5, seconds=2)
    async with world.running_worker():
        await world.publish(POLICE, [world.seal(ToSchool(referral_id=OLD.referral_id)).body])
        (again,) = await world.receive(POLICE, 1)
        told, _ = check_evidence(world, again.body)
        assert told == json.loads(notice)
        await eraser(world, pool).erase_referral(OTHER.referral_id, by="ann", approve=agreed("subject_request"))
        await world.publish(POLICE, [world.seal(ToSchool(referral_id=OTHER.referral_id)).body])
        (again,) = await world.receive(POLICE, 1)
        told, _ = check_evidence(world, again.body)
        assert told["code"] == "ERASED"
    assert await world.owner.fetchval("SELECT count(*) FROM messages") == 3


async def test_erasing_a_referral_takes_payloads_and_salts_and_leaves_every_proof_good(
    world: HubWorld, pool: asyncpg.Pool
) -> None:
    before = await world.owner.fetch("SELECT position, entry FROM log_entries ORDER BY position")
    known = await world.owner.fetch(
        "SELECT p.event_id FROM log_payloads p JOIN messages m USING (message_id) WHERE m.referral_id = $1",
        OLD.referral_id,
    )
    assert len(known) >= 3, "accepted, decided, receipt"
    count = await eraser(world, pool).erase_referral(OLD.referral_id, by="ann", approve=agreed("subject_request"))
    assert count == len(known)
    gone = await world.owner.fetch(
        "SELECT event, salt FROM log_payloads WHERE event_id = ANY($1::uuid[])", [row["event_id"] for row in known]
    )
    assert all(row["event"] is None and row["salt"] is None for row in gone)
    held = await world.owner.fetchrow(
        "SELECT body, manifest, notice, native_ref_digest FROM messages WHERE referral_id = $1", OLD.referral_id
    )
    assert set(held.values()) == {None}
    assert await world.owner.fetchval(
        "SELECT count(*) FROM message_subjects s JOIN messages m USING (message_id) WHERE m.referral_id = $1",
        OLD.referral_id,
    ) == 0  # fmt: skip
    assert await findings(world) == []
    from broker.log.reading import prove_entry

    for row in before:
        proof = read_proof(await prove_entry(world.owner, row["position"], latest=True))
        assert verify_proof(proof, row["entry"], world.log) is not None
    _, verdict = await export(world, OLD.referral_id)
    assert verdict.broken == []
    assert [line for line in verdict.open if "subject_request" in line and "commitments are intact" in line]
    _, other = await export(world, OTHER.referral_id)
    assert other.broken == []
    assert len([line for line in other.open if "erased" in line]) == 0
    with pytest.raises(Conflict):
        await eraser(world, pool).erase_referral(OLD.referral_id, by="ann", approve=agreed("again"))


async def test_legal_holds_stop_time_and_requests_for_the_referral_and_for_the_child(
    world: HubWorld, pool: asyncpg.Pool
) -> None:
    operator = await open_pool(world.config.postgres.read_dsn("api"), name="test", most=1)
    given: dict[str, Any] = {"reason_code": "court_order", "by": "ann", "now": datetime.now(UTC)}
    try:
        hold_id = await place_hold(operator, writer(world), scope="referral", subject=OLD.referral_id, **given)
        assert (await eraser(world, pool).erase_due()).messages == 1
        assert await bodies(world) == {OLD.referral_id, OPEN.referral_id}
        with pytest.raises(UnderLegalHold):
            await eraser(world, pool).erase_referral(OLD.referral_id, by="ann", approve=agreed("request"))
        with pytest.raises(StillUnderWay):
            await eraser(world, pool).erase_referral(OPEN.referral_id, by="ann", approve=agreed("request"))
        # Whatever a program does, the database's own function passes over it.
        held = await world.owner.fetchval("SELECT message_id FROM messages WHERE referral_id = $1", OLD.referral_id)
        assert await pool.fetch("SELECT erase_everything($1::uuid[])", [held]) == []
        await world.owner.execute("UPDATE legal_holds SET lifted_at = now(), lifted_event = event_id")
        await place_hold(operator, writer(world), scope="subject", subject=TOKEN_TEXT, **given)
        assert (await eraser(world, pool).erase_due()).messages == 0
        await world.owner.execute("UPDATE legal_holds SET lifted_at = now(), lifted_event = event_id")
        assert (await eraser(world, pool).erase_due()).messages == 1
    finally:
        await operator.close()
    events = await world.owner.fetch(
        "SELECT p.event FROM log_payloads p JOIN log_entries e USING (event_id) WHERE e.kind = 'legal_hold' ORDER BY e.position"
    )
    first, second = (json.loads(row["event"]) for row in events)
    assert (first["hold_id"], first["subject"]) == (str(hold_id), OLD.referral_id)
    assert TOKEN.value not in second["subject"], "a token stands there as its digest"
    placing = ("hub", "hold", "add", "--by", "ann", "--reason-code")
    known = await run(world, *placing, "court_order", "--referral", OPEN.referral_id)
    assert known.exit_code == 0, (known.output, known.exception)
    assert "keeps nothing now" not in known.output
    mistyped = await run(world, *placing, "court_order", "--referral", "referral-000000000nope")
    assert "It keeps nothing now: no message of this referral is here." in mistyped.output
    named = await run(world, *placing, "Ann Lee", "--referral", OPEN.referral_id)
    assert isinstance(named.exception, MalformedMessage)
    assert "court_order" in str(named.exception)
    assert "Ann Lee" not in str(named.exception)
    listed = await run(world, "hub", "hold", "list", "--all")
    assert "4 holds." in listed.output
    assert TOKEN.value not in listed.output


async def test_nobody_can_take_or_write_more_than_their_role_may(world: HubWorld, pool: asyncpg.Pool) -> None:
    for attempt in (
        "UPDATE log_payloads SET event = ''",
        "UPDATE log_payloads SET event = NULL, salt = NULL",
        "DELETE FROM log_payloads",
        "DELETE FROM log_entries",
        "UPDATE messages SET body = ''",
        "SELECT body FROM messages",
        "SELECT body FROM quarantine",
        "UPDATE legal_holds SET lifted_at = now(), lifted_event = event_id",
        "INSERT INTO messages (message_id) VALUES (gen_random_uuid())",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(attempt)
    for role in ("worker", "api"):
        other = await open_pool(world.config.postgres.read_dsn(role), name="test", most=1)
        try:
            for attempt in (
                "SELECT erase_everything(ARRAY[gen_random_uuid()])",
                "SELECT erase_ciphertext(ARRAY[gen_random_uuid()])",
                "INSERT INTO erasures VALUES (gen_random_uuid(), 'ciphertext', now(), gen_random_uuid())",
                "UPDATE log_payloads SET event = NULL",
                "DELETE FROM log_payloads",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await other.execute(attempt)
        finally:
            await other.close()


async def test_what_is_taken_away_without_a_word_or_comes_back_is_found(world: HubWorld, pool: asyncpg.Pool) -> None:
    kept = await world.owner.fetchrow("SELECT message_id, body FROM messages WHERE referral_id = $1", OLD.referral_id)
    accepted = "SELECT event_id FROM log_entries WHERE kind = 'accepted' ORDER BY position LIMIT 1"
    event = await world.owner.fetchrow(f"SELECT * FROM log_payloads WHERE event_id = ({accepted})")  # noqa: S608
    manifest = json.dumps(json.loads(kept["body"])["manifest"]).encode()
    for codes, statement, arguments in (
        ({"payload-missing"}, f"UPDATE log_payloads SET event = NULL, salt = NULL WHERE event_id = ({accepted})", []),  # noqa: S608
        ({"missing-and-not-erased"}, "UPDATE messages SET body = NULL, manifest = $2 WHERE message_id = $1", [kept["message_id"], manifest]),
        ({"missing-and-not-erased"}, "UPDATE receipts SET notice = NULL", []),
    ):  # fmt: skip
        transaction = world.owner.transaction()
        await transaction.start()
        await world.owner.execute(statement, *arguments)
        assert codes <= set(await findings(world)), statement
        await transaction.rollback()
    await eraser(world, pool).erase_due()
    await eraser(world, pool).erase_referral(OLD.referral_id, by="ann", approve=agreed("request"))
    assert await findings(world) == []
    restored = "UPDATE log_payloads SET event = $2, salt = $3 WHERE event_id = $1"
    forged = "INSERT INTO erasures VALUES ($1, 'ciphertext', now(), $2)"
    for codes, statement, arguments in (
        ({"erased-and-there-again"}, restored, [event["event_id"], event["event"], event["salt"]]),
        ({"erased-and-there-again"}, "UPDATE messages SET body = $2 WHERE message_id = $1", [kept["message_id"], kept["body"]]),
        ({"erasure-missing"}, "DELETE FROM erasures", []),
        ({"erasure-of-no-event"}, forged, [UUID(int=1), UUID(int=2)]),
    ):  # fmt: skip
        transaction = world.owner.transaction()
        await transaction.start()
        await world.owner.execute(statement, *arguments)
        assert codes <= set(await findings(world)), statement
        await transaction.rollback()


async def test_without_the_log_nothing_is_erased(world: HubWorld, pool: asyncpg.Pool) -> None:
    await world.owner.execute("REVOKE INSERT ON log_entries FROM safelane_eraser")
    with pytest.raises(StoreUnavailable):
        await eraser(world, pool).erase_due()
    with pytest.raises(StoreUnavailable):
        await eraser(world, pool).erase_referral(OLD.referral_id, by="ann", approve=agreed("request"))
    assert len(await bodies(world)) == 3
    await world.owner.execute("GRANT INSERT ON log_entries TO safelane_eraser")
    assert (await eraser(world, pool).erase_due()).messages == 2


async def test_quarantined_bytes_go_after_their_decision(world: HubWorld, pool: asyncpg.Pool) -> None:
    async with world.running_worker():
        await world.publish(POLICE, [b'{"not": "an envelope"}', b'{"neither": "this"}'])
        await world.wait_for("SELECT count(*) FROM quarantine", 2)
    operator = await open_pool(world.config.postgres.read_dsn("worker"), name="test", most=1)
    try:
        chosen = await world.owner.fetchval("SELECT quarantine_id FROM quarantine ORDER BY quarantine_id LIMIT 1")
        words = {"by": "ann", "reason": "a test", "now": datetime.now(UTC)}
        await reject_quarantined(operator, writer(world), chosen, **words)
    finally:
        await operator.close()
    assert (await eraser(world, pool).erase_due()).quarantined == 1
    assert await world.owner.fetchval("SELECT count(*) FROM quarantine WHERE body IS NULL") == 1
    assert await findings(world) == []
