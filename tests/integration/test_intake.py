"""A sealed referral on a real RabbitMQ becomes what each agency may have, and nothing else; rows and log in a real PostgreSQL."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.amqp.consumer import BatchConsumer
from broker.config import read_log_key
from broker.delivery.quarantine import list_quarantined, reject_quarantined, replay_quarantined
from broker.log import LogWriter
from broker.store import open_pool
from broker.wiring import Deciders
from schemas.canonical import canonical_bytes
from schemas.codes import ReceiptState
from schemas.decision import Decision
from schemas.errors import NotFound
from schemas.header import RoutingHeader
from schemas.keys import public_part
from schemas.objects import digest_object
from tests.support.authority import AgencyKit
from tests.support.fsck import list_findings
from tests.support.hub_agency import (
    assert_nothing_else_readable,
    check_evidence,
    check_notice,
    open_as,
    sign_receipt,
    verify_as,
)
from tests.support.hub_world import CSC, HEALTH, POLICE, SCHOOL, Draft, HubWorld, new_message_id, open_hub_world
from tests.support.servers import RabbitVhost


@pytest.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub") as world:
        yield world


async def test_a_referral_reaches_each_agency_with_its_part_alone(world: HubWorld) -> None:
    draft = Draft()
    async with world.running_worker():
        await world.publish(POLICE, [world.seal(draft).body])
        deliveries = {agency: (await world.receive(agency, 1))[0] for agency in (CSC, HEALTH, SCHOOL)}
        notices = await world.receive(POLICE, 1)

    assert {d.type for d in deliveries.values()} == {"delivery"}
    child, sibling = ("C01", "subject-000000000child"), ("C01", "subject-0000000sibling")
    csc = open_as(world, CSC, deliveries[CSC].body)
    assert csc == {
        child: "full",
        sibling: "full",
        ("C04", "incident"): "full",
        ("C08", "subject-000000000child"): "full",
        ("C14", "incident"): "full",
        ("C17", "incident"): "summary",
    }
    health = open_as(world, HEALTH, deliveries[HEALTH].body)
    assert health[("C04", "incident")] == "summary"
    assert not {c for c, _ in health} & {"C08", "C10"}
    school = open_as(world, SCHOOL, deliveries[SCHOOL].body)
    assert sibling not in school
    assert child in school

    assert_nothing_else_readable(
        deliveries[HEALTH].body,
        (SCHOOL, CSC, "C08", "C10", "section-00000000000005", "section-00000000000006", "held", "withheld"),
    )
    assert_nothing_else_readable(
        deliveries[SCHOOL].body,
        (HEALTH, CSC, "subject-0000000sibling", "C10", "section-00000000000002", "section-00000000000006"),
    )

    (notice,) = notices
    assert notice.type == "notice"
    told = check_notice(world, notice.body)
    assert told["outcome"] == "accepted"
    assert told["message_id"] == draft.message_id
    by_recipient = {d["recipient"]: d for d in told["decisions"]}
    assert {agency: d["outcome"] for agency, d in by_recipient.items()} == dict.fromkeys(
        (CSC, HEALTH, SCHOOL), "delivered"
    )
    assert by_recipient[CSC]["compartments"]["C10"] | {"reason": ""} == {"result": "held", "row": "D12", "reason": ""}
    assert by_recipient[CSC]["compartments"]["C10"]["reason"]

    assert await world.owner.fetchval("SELECT count(*) FROM messages") == 1
    states = await world.owner.fetch("SELECT recipient, state FROM deliveries ORDER BY recipient")
    assert [(r["recipient"], r["state"]) for r in states] == [(CSC, "open"), (HEALTH, "open"), (SCHOOL, "open")]
    assert await world.owner.fetchval("SELECT count(*) FROM holds WHERE delivery_id LIKE '0000000000%'") == 1
    positions = await world.owner.fetch("SELECT position, kind FROM log_entries ORDER BY position")
    assert [r["position"] for r in positions] == list(range(len(positions)))
    assert [r["kind"] for r in positions] == ["accepted", "decided", "decided", "decided"]


async def test_the_same_bytes_again_have_one_effect_and_are_told_again(world: HubWorld) -> None:
    body = world.seal(Draft()).body
    async with world.running_worker():
        await world.publish(POLICE, [body, body])
        notices = await world.receive(POLICE, 1)
        await world.publish(POLICE, [body])
        notices += await world.receive(POLICE, 2, seconds=2, again=True)
        assert len(notices) >= 2
        deliveries = await world.receive(CSC, 2, seconds=1.5, again=True)
    assert len(deliveries) == 1
    assert {check_notice(world, notice.body)["outcome"] for notice in notices} == {"accepted"}
    assert len({notice.body for notice in notices}) == 1
    assert await world.owner.fetchval("SELECT count(*) FROM log_entries") == 4


async def test_another_message_of_the_same_revision_has_no_second_effect(world: HubWorld) -> None:
    first = Draft()
    again = Draft(referral_id=first.referral_id)
    async with world.running_worker():
        await world.publish(POLICE, [world.seal(first).body, world.seal(again).body])
        notices = await world.receive(POLICE, 2)
        deliveries = await world.receive(CSC, 2, seconds=1.5)
    assert len(deliveries) == 1
    assert {check_notice(world, notice.body)["message_id"] for notice in notices} == {first.message_id}


async def test_other_bytes_under_a_known_message_id_are_a_security_event(world: HubWorld) -> None:
    draft = Draft()
    async with world.running_worker():
        await world.publish(POLICE, [world.seal(draft).body])
        await world.receive(POLICE, 1)
        await world.publish(POLICE, [world.seal(replace(draft, referral_id="ref-0000000ofanother00")).body])
        (notice,) = await world.receive(POLICE, 1)
    told = check_notice(world, notice.body)
    assert (told["outcome"], told["error"]["code"]) == ("rejected", "message-id-reused")
    assert await world.owner.fetchval("SELECT count(*) FROM messages") == 1
    assert await world.owner.fetchval("SELECT security FROM quarantine") is True
    assert await world.owner.fetchval("SELECT kind FROM log_entries ORDER BY position DESC LIMIT 1") == "security"


async def test_an_agency_cannot_send_as_another(world: HubWorld) -> None:
    body = world.seal(Draft()).body
    async with world.running_worker():
        await world.publish(HEALTH, [body])
        (notice,) = await world.receive(HEALTH, 1)
        assert await world.receive(CSC, 1, seconds=1) == []
    assert check_notice(world, notice.body)["error"]["code"] == "signature-invalid"
    assert await world.owner.fetchval("SELECT user_id FROM quarantine") == HEALTH


async def test_bad_messages_leave_good_neighbours_alone(world: HubWorld) -> None:
    good = [world.seal(Draft()).body for _ in range(3)]
    bodies = [
        b"{",
        good[0],
        b"\xff\x00",
        good[1],
        b'{"manifest":{},"openings":[],"sections":{},"keyrings":{}}',
        good[2],
    ]
    async with world.running_worker():
        await world.publish(POLICE, bodies)
        notices = [check_notice(world, n.body) for n in await world.receive(POLICE, 6)]
        deliveries = await world.receive(CSC, 3)
    assert sorted(n["outcome"] for n in notices) == ["accepted"] * 3 + ["rejected"] * 3
    assert len(deliveries) == 3
    assert all(n["error"]["field"] is not None or n["error"]["code"] for n in notices if n["error"])


async def test_a_keyring_for_an_old_key_asks_the_sender_to_seal_again(world: HubWorld) -> None:
    keys = world.encryption_keys()
    keys[CSC] = world.kits[POLICE].encryption_jwk
    async with world.running_worker():
        await world.publish(POLICE, [Draft().seal(world.kits[POLICE], keys).body])
        (notice,) = await world.receive(POLICE, 1)
    told = check_notice(world, notice.body)
    assert (told["outcome"], told["retryable"], told["error"]["code"]) == (
        "rejected",
        True,
        "encryption-key-not-current",
    )


async def test_receipts_are_chained_logged_forwarded_and_end_the_delivery(world: HubWorld) -> None:
    async with world.running_worker():
        await world.publish(POLICE, [world.seal(Draft()).body])
        await world.receive(POLICE, 1)
        (incoming,) = await world.receive(SCHOOL, 1)
        delivery = verify_as(world, SCHOOL, incoming.body)
        assert await world.owner.fetchval("SELECT count(*) FROM outbox WHERE kind = 'delivery'") == 3
        accepted = sign_receipt(world, delivery, ReceiptState.ACCEPTED)
        opened = sign_receipt(world, delivery, ReceiptState.OPENED, accepted)
        await world.publish(SCHOOL, [accepted, opened], message_type="receipt")
        forwarded = await world.receive(POLICE, 2)
        recorded = await world.receive(SCHOOL, 2)
        await world.publish(SCHOOL, [accepted], message_type="receipt")
        recorded += await world.receive(SCHOOL, 1)
    assert [incoming.type for incoming in forwarded] == ["receipt", "receipt"]
    for incoming, signed in zip(forwarded, (accepted, opened), strict=True):
        told, event = check_evidence(world, incoming.body)
        assert canonical_bytes(told["receipt"]) == signed
        assert event["receipt_digest"] == digest_object(signed)
    told = [check_evidence(world, incoming.body)[0] for incoming in recorded]
    assert sorted(t["receipt_digest"] for t in told) == sorted(digest_object(r) for r in (accepted, accepted, opened))
    first, again = (t for t in told if t["receipt_digest"] == digest_object(accepted))
    assert first == again, "whenever it is handed in, the answer stays the same, though the delivery has gone on"
    assert await world.owner.fetchval("SELECT count(*) FROM receipts") == 2
    assert await world.owner.fetchval("SELECT state FROM deliveries WHERE recipient = $1", SCHOOL) == "opened"
    assert await world.owner.fetchval("SELECT count(*) FROM outbox WHERE kind = 'delivery'") == 2


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sections": ("section-00000000000002",)}, "conflict"),
        ({"decision_leaf": "A" * 43}, "conflict"),
        ({"manifest_digest": "A" * 43}, "conflict"),
        ({"sender": HEALTH}, "conflict"),
        ({"delivery_id": "delivery-00000ofnobody"}, "not-found"),
        ({"recipient": CSC}, "signature-invalid"),
        ({"state": ReceiptState.OPENED, "previous": "A" * 43}, "conflict"),
    ],
)
async def test_a_receipt_that_binds_something_else_is_refused(
    world: HubWorld, changes: dict[str, Any], code: str
) -> None:
    async with world.running_worker():
        await world.publish(POLICE, [world.seal(Draft()).body])
        (incoming,) = await world.receive(SCHOOL, 1)
        delivery = verify_as(world, SCHOOL, incoming.body)
        state = changes.pop("state", ReceiptState.ACCEPTED)
        await world.publish(SCHOOL, [sign_receipt(world, delivery, state, **changes)], message_type="receipt")
        (notice,) = await world.receive(SCHOOL, 1)
    assert check_notice(world, notice.body)["error"]["code"] == code
    assert await world.owner.fetchval("SELECT count(*) FROM receipts") == 0


class Poisoned:
    """Decides like the real engine, but gives one kind of referral a reason that PostgreSQL cannot store."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def decide_all(self, header: RoutingHeader, *, sender: str, registers: Any, now: datetime) -> list[Decision]:
        decisions = self.engine.decide_all(header, sender=sender, registers=registers, now=now)
        if header.case.kind == "CP_S47":
            return decisions
        return [d.model_copy(update={"reason": "a NUL byte: \x00"}) for d in decisions]


async def test_a_poison_message_goes_to_quarantine_alone(world: HubWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Deciders.__call__

    def poisoned(self: Deciders, snapshot: Any) -> Any:
        engine, registers = real(self, snapshot)
        return Poisoned(engine), registers

    monkeypatch.setattr(Deciders, "__call__", poisoned)
    bodies = [world.seal(Draft()).body for _ in range(6)]
    bodies.insert(3, world.seal(Draft(kind="CIN_S17")).body)
    async with world.running_worker():
        await world.publish(POLICE, bodies)
        notices = [check_notice(world, n.body) for n in await world.receive(POLICE, 7)]
        assert len(await world.receive(CSC, 6)) == 6
    assert sorted(n["outcome"] for n in notices) == ["accepted"] * 6 + ["quarantined"]
    assert await world.owner.fetchval("SELECT code FROM quarantine") == "not-understood"


async def test_what_a_recipient_gives_up_is_kept_for_a_person_and_still_offered(world: HubWorld) -> None:
    async with world.running_worker():
        await world.publish(POLICE, [world.seal(Draft()).body])
        await world.receive(POLICE, 1)
        consumer = BatchConsumer(world.rabbit.amqp_settings(CSC), [world.queues[CSC]])
        batch = await consumer.next_batch(within=5)
        assert len(batch.messages) == 1
        await batch.reject(batch.messages, requeue=False)
        await world.wait_for("SELECT count(*) FROM quarantine WHERE code = 'dead-lettered'", 1)
        await consumer.close()
    assert await world.owner.fetchval("SELECT count(*) FROM outbox WHERE recipient = $1", CSC) == 1
    assert await world.owner.fetchval("SELECT kind FROM log_entries ORDER BY position DESC LIMIT 1") == "quarantined"


async def test_a_replay_from_quarantine_goes_through_intake_again_once(world: HubWorld) -> None:
    body = world.seal(Draft()).body
    log = LogWriter(world.config.log.origin, read_log_key(world.config.log.key_file))
    await world.owner.execute("UPDATE agency_queues SET agency = 'police.away' WHERE agency = $1", POLICE)
    keys = await world.owner.fetchrow("DELETE FROM key_announcements WHERE agency = $1 RETURNING *", CSC)
    await world.owner.execute("UPDATE registry_change SET change = change + 1")
    async with world.running_worker():
        await world.publish(POLICE, [body])
        await world.wait_for("SELECT code FROM quarantine", "encryption-key-not-current")
        columns = ", ".join(keys.keys())
        marks = ", ".join(f"${n}" for n in range(1, len(keys) + 1))
        await world.owner.execute(f"INSERT INTO key_announcements ({columns}) VALUES ({marks})", *keys.values())  # noqa: S608
        await world.owner.execute("UPDATE registry_change SET change = change + 1")
        pool = await open_pool(world.config.postgres.read_dsn("worker"), name="test")
        (row,) = await list_quarantined(pool)
        assert "body" not in row
        await replay_quarantined(
            pool, log, row["quarantine_id"], by="op-1", reason="key is here", now=datetime.now(UTC)
        )
        await world.wait_for("SELECT state FROM quarantine", "replayed")
        assert len(await world.receive(CSC, 2, seconds=2)) == 1
        with pytest.raises(NotFound):
            await reject_quarantined(pool, log, row["quarantine_id"], by="op-1", reason="late", now=datetime.now(UTC))
        await pool.close()
    kinds = [r["kind"] for r in await world.owner.fetch("SELECT kind FROM log_entries ORDER BY position")]
    assert kinds == ["rejected", "quarantine_decided", "accepted", "decided", "decided", "decided"]


async def test_what_its_sender_sealed_again_waits_for_nobody(world: HubWorld) -> None:
    """A recipient's key changed under way: the gateway plans and seals again. A message that looks like a forgery stays open whatever comes later."""
    stranger = AgencyKit.make(CSC)
    draft = Draft()
    keys = world.encryption_keys() | {CSC: public_part(stranger.encryption_jwk)}
    stale = draft.seal(world.kits[POLICE], keys)
    forged = world.seal(replace(draft, message_id=new_message_id()), CSC)
    async with world.running_worker():
        await world.publish(POLICE, [stale.body, forged.body])
        await world.wait_for("SELECT count(*) FROM quarantine WHERE state = 'open'", 2)
        other = replace(draft, message_id=new_message_id())
        await world.publish(POLICE, [world.seal(other, reseals=Draft().message_id).body])
        await world.wait_for("SELECT count(*) FROM messages", 1)
        assert await world.owner.fetchval("SELECT count(*) FROM quarantine WHERE state = 'open'") == 2
        claimed = [stale.message_id, forged.message_id]
        await world.publish(POLICE, [world.seal(Draft(), reseals=old).body for old in claimed])
        await world.wait_for("SELECT count(*) FROM messages", 3)
    rows = {r["claimed_id"]: r for r in await world.owner.fetch("SELECT * FROM quarantine")}
    assert (rows[claimed[0]]["state"], rows[claimed[0]]["decided_by"]) == ("rejected", None)
    assert (rows[claimed[1]]["state"], rows[claimed[1]]["security"]) == ("open", True)
    told = await world.owner.fetchval(
        "SELECT p.event FROM log_entries e JOIN log_payloads p USING (event_id) WHERE e.kind = 'quarantine_decided'"
    )
    assert json.loads(told)["action"] == "superseded"
    assert await list_findings(world) == []
    await world.owner.execute("UPDATE quarantine SET state = 'open' WHERE claimed_id = $1", claimed[0])
    assert await list_findings(world) == ["quarantine-differs-from-its-decision"]


@pytest.mark.parametrize("table", ["log_entries", "log_checkpoints", "log_payloads"])
async def test_without_the_log_nothing_is_released_and_it_goes_on_by_itself(world: HubWorld, table: str) -> None:
    async with world.running_worker():
        await world.owner.execute(f"REVOKE INSERT ON {table} FROM safelane_worker")
        await world.publish(POLICE, [world.seal(Draft()).body, b"{"])
        assert await world.receive(CSC, 1, seconds=1) == []
        assert (
            await world.owner.fetchval("SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM quarantine)")
            == 0
        )
        await world.owner.execute(f"GRANT INSERT ON {table} TO safelane_worker")
        assert len(await world.receive(CSC, 1)) == 1
        assert len(await world.receive(POLICE, 2)) == 2
