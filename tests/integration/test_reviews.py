"""What policy holds is released by people with their own keys, and late release gives the hub no key: on real servers."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.registry.packs import InstalledPack, PackShelf
from deploy.recorded_decisions import read_recorded, run_again
from schemas.canonical import parse_object
from schemas.codes import ReceiptState
from tests.support.hub_agency import check_evidence, check_notice, open_as, sign_receipt, verify_as
from tests.support.hub_world import CSC, HEALTH, POLICE, Draft, HubWorld, open_hub_world
from tests.support.reviewing import PersonalApi, make_approver, serve_api, sign_addendum, write_partnership
from tests.support.servers import RabbitVhost

SOURCE = ("C10", "incident")


@pytest.fixture
async def hub(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[tuple[PersonalApi, Any]]:
    people = {
        "ann": make_approver(tmp_path, "ann.lee", POLICE),
        "bob": make_approver(tmp_path, "bob.lee", POLICE),
        "eve": make_approver(tmp_path, "eve.lee", CSC),
        "joe": make_approver(tmp_path, "joe.lee", POLICE, ("clerk",)),
        "kim": make_approver(tmp_path, "kim.lee", HEALTH, ("partnership_approver",)),
        "gil": make_approver(tmp_path, "gil.lee", HEALTH),
    }
    async with (
        open_hub_world(
            database, rabbit_vhost, tmp_path / "hub", people=[person for _, person in people.values()]
        ) as world,
        serve_api(world) as api,
    ):
        yield api, {name: approver for name, (approver, _) in people.items()}


async def send(world: HubWorld, draft: Draft) -> Any:
    sealed = world.seal(draft)
    await world.publish(POLICE, [sealed.body])
    await world.receive(POLICE, 1)
    return sealed


async def test_a_release_reaches_the_recipient_through_the_senders_own_addendum(hub: Any) -> None:
    api, people = hub
    world: HubWorld = api.world
    draft = Draft(recipients=((CSC, "csc"),))
    async with world.running_worker():
        sealed = await send(world, draft)
        (first,) = await world.receive(CSC, 1)
        before = verify_as(world, CSC, first.body)
        accepted = sign_receipt(world, before, ReceiptState.ACCEPTED)
        await world.publish(CSC, [accepted], message_type="receipt")
        await world.receive(CSC, 1)
        await world.receive(POLICE, 1)

        (row,) = await api.reviews(people["ann"])
        assert (row["owner"], row["held"].keys(), row["overdue"]) == (POLICE, {"C10"}, False)
        assert (
            await api.call("POST", f"/v1/reviews/{row['message_id']}/{row['delivery_id']}/claim", people["ann"])
        ).status_code == 200
        response = await api.approve(people["ann"], "release", row)
        assert response.status_code == 201, response.text
        messages = await world.receive(POLICE, 2)
        (asked,) = [m for m in messages if m.type == "approval"]
        request, event = check_evidence(world, asked.body)
        assert event["code"] == "RELEASE_REQUESTED"
        assert request["sections"] == ["section-00000000000006"]
        # Before the sender has answered, nothing goes, and the hold stays with its owner.
        assert await world.owner.fetchval("SELECT state FROM holds") == "open"
        assert await world.owner.fetchval("SELECT count(*) FROM outbox WHERE kind = 'delivery'") == 0

        await world.publish(POLICE, [sign_addendum(world, sealed, request)], message_type="keyring_addendum")
        (late,) = await world.receive(CSC, 1)
        assert open_as(world, CSC, late.body) == {SOURCE: "full"}
        later = verify_as(world, CSC, late.body)
        assert later.decision_leaf != before.decision_leaf
        await world.wait_for("SELECT state FROM holds", "released")

        # The late release has receipts of its own, and is not offered again once one is here.
        await world.publish(CSC, [sign_receipt(world, later, ReceiptState.ACCEPTED)], message_type="receipt")
        (recorded,) = await world.receive(CSC, 1)
        told, _ = check_evidence(world, recorded.body)
        assert told["outcome"] == "recorded"
        await world.wait_for("SELECT count(*) FROM outbox WHERE kind = 'delivery'", 0)
    kinds = [r["kind"] for r in await world.owner.fetch("SELECT kind FROM log_entries ORDER BY position")]
    assert {"review", "object", "redecided", "told"} <= set(kinds)
    assert kinds.count("decided") >= 3


async def test_who_may_not_approve_is_refused(hub: Any) -> None:
    api, people = hub
    world: HubWorld = api.world
    async with world.running_worker():
        await send(world, Draft(recipients=((CSC, "csc"),)))
    (row,) = await api.reviews(people["ann"])
    assert (await api.approve(people["joe"], "release", row)).json()["code"] == "not-permitted"
    # Nobody at the recipient releases to itself; nobody approves what they asked for; nor in somebody else's name.
    assert (await api.approve(people["eve"], "release", row)).json()["code"] == "not-permitted"
    # Nor does a third agency's approver, who may have been told the ids.
    third = (await api.approve(people["gil"], "release", row)).json()
    assert (third["code"], third["field"]) == ("not-permitted", "approval.approver_agency")
    assert await api.reviews(people["gil"]) == []
    assert (await api.call("GET", "/v1/reviews", people["joe"])).status_code == 403  # no approver's role, no queue
    same = await api.approve(people["ann"], "release", row, approver_role="clerk")
    assert same.json()["code"] == "not-permitted"
    forged = await api.approve(replace(people["ann"], id="bob.lee"), "release", row)
    assert forged.json()["code"] in {"not-authenticated", "signature-invalid"}
    claim = await api.call("POST", f"/v1/reviews/{row['message_id']}/{row['delivery_id']}/claim", people["bob"])
    assert claim.status_code == 200
    assert (await api.approve(people["ann"], "release", row)).json()["code"] == "conflict"
    assert await world.owner.fetchval("SELECT count(*) FROM approvals") == 0
    assert await api.reviews(people["eve"]) == []
    assert [r["delivery_id"] for r in await api.reviews(people["kim"])] == [row["delivery_id"]]


async def test_a_refusal_tells_the_sender_why_and_nothing_goes(hub: Any) -> None:
    api, people = hub
    world: HubWorld = api.world
    async with world.running_worker():
        await send(world, Draft(recipients=((CSC, "csc"),)))
        await world.receive(CSC, 1)
        (row,) = await api.reviews(people["ann"])
        response = await api.approve(people["ann"], "refuse", row, reason_code="source_at_risk")
        assert response.status_code == 201, response.text
        notices = [check_notice(world, notice.body) for notice in await world.receive(POLICE, 2)]
        told = next(notice for notice in notices if notice["outcome"] == "refused")
        assert (told["reason_code"], told["decided_by"]) == ("source_at_risk", "ann.lee")
        assert await world.receive(CSC, 1, seconds=1) == []
    assert await world.owner.fetchval("SELECT state FROM holds") == "refused"
    assert (await api.approve(people["bob"], "release", row)).json()["code"] == "conflict"


async def test_a_refusal_after_a_release_stops_what_waits_for_the_senders_keys(hub: Any) -> None:
    api, people = hub
    world: HubWorld = api.world
    async with world.running_worker():
        sealed = await send(world, Draft(recipients=((CSC, "csc"),)))
        await world.receive(CSC, 1)
        (row,) = await api.reviews(people["ann"])
        assert (await api.approve(people["ann"], "release", row)).status_code == 201
        (asked,) = [m for m in await world.receive(POLICE, 2) if m.type == "approval"]
        request, _ = check_evidence(world, asked.body)
        assert (await api.approve(people["bob"], "refuse", row, reason_code="source_at_risk")).status_code == 201
        messages = await world.receive(POLICE, 3)
        assert [m for m in messages if m.type == "approval"] == []  # a refusal asks nobody for keys
        again = [check_notice(world, m.body) for m in messages]
        (decided,) = [n["decisions"][0] for n in again if n["outcome"] == "decided"]
        assert decided["compartments"]["C10"]["result"] == "withheld"
        # A sender that had not heard of it yet answers all the same: nothing goes.
        await world.publish(POLICE, [sign_addendum(world, sealed, request)], message_type="keyring_addendum")
        assert await world.receive(CSC, 1, seconds=2) == []
    assert await world.owner.fetchval("SELECT state FROM holds") == "refused"
    recorded, lost = await read_recorded(world.owner, last=50)
    assert lost == 0
    reruns = await run_again(world.owner, recorded, PackShelf(InstalledPack.load(None, None)))
    assert [r.differences or r.not_run for r in reruns if not r.is_same] == []


async def test_an_addendum_without_a_registered_approval_is_refused(hub: Any) -> None:
    api, people = hub
    world: HubWorld = api.world
    async with world.running_worker():
        draft = Draft(recipients=((CSC, "csc"),))
        sealed = await send(world, draft)
        await world.receive(CSC, 1)
        (row,) = await api.reviews(people["ann"])
        request = {
            "recipient": CSC,
            "delivery_id": row["delivery_id"],
            "message_id": row["message_id"],
            "referral_id": draft.referral_id,
            "manifest_digest": sealed.manifest_digest,
            "sections": ["section-00000000000006"],
            "bases": [],
        }
        await world.publish(POLICE, [sign_addendum(world, sealed, request)], message_type="keyring_addendum")
        (notice,) = await world.receive(POLICE, 1)
        assert check_notice(world, notice.body)["error"]["code"] == "not-permitted"
        assert await world.receive(CSC, 1, seconds=1) == []


async def test_two_people_where_local_policy_wants_two(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    ann, ann_entry = make_approver(tmp_path, "ann.lee", POLICE)
    bob, bob_entry = make_approver(tmp_path, "bob.lee", POLICE)
    partnership = write_partnership(tmp_path / "p", approvers_needed={"C10": 2})
    async with (
        open_hub_world(
            database, rabbit_vhost, tmp_path / "hub", people=[ann_entry, bob_entry], partnership=partnership
        ) as world,
        serve_api(world) as api,
        world.running_worker(),
    ):
        sealed = await send(world, Draft(recipients=((CSC, "csc"),)))
        await world.receive(CSC, 1)
        (row,) = await api.reviews(ann)
        assert (await api.approve(ann, "release", row)).status_code == 201
        assert (
            await api.approve(ann, "release", row)
        ).status_code == 201  # again by the same person is still one person
        assert await world.receive(POLICE, 1, seconds=1.5) == []
        (row,) = await api.reviews(bob)
        assert (await api.approve(bob, "release", row)).status_code == 201
        messages = await world.receive(POLICE, 2)
        (asked,) = [m for m in messages if m.type == "approval"]
        request = parse_object(asked.body, max_bytes=1 << 20)
        await world.publish(POLICE, [sign_addendum(world, sealed, request)], message_type="keyring_addendum")
        (late,) = await world.receive(CSC, 1)
        assert open_as(world, CSC, late.body) == {SOURCE: "full"}
