"""Late release, consent and its withdrawal, broken glass, recall: through gateways, RabbitMQ, the hub's worker and its API."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.gateways import SAMPLES
from tests.support.hub_agency import check_evidence
from tests.support.hub_world import CSC, POLICE, open_hub_world
from tests.support.living import Living, live
from tests.support.reviewing import make_approver
from tests.support.servers import RabbitVhost

EARLY_HELP = "earlyhelp.marchshire"
SIBLINGS = SAMPLES / "police-ppn-json" / "ppn-0041877-s47-siblings.json"
SIBLINGS_AT = datetime(2026, 11, 16, 22, 32, tzinfo=UTC)
WELFARE = SAMPLES / "police-ppn-json" / "ppn-0041902-s17-welsh-carer.json"
WELFARE_AT = datetime(2026, 11, 17, 10, 6, 10, tzinfo=UTC)
SOURCE_CANARY = "Underhay-Test"


async def list_inbox(living: Living, agency: str, count: int) -> list[dict[str, Any]]:
    async def look() -> Any:
        found = (await living.get(agency, "/inbox"))["deliveries"]
        return found if len(found) >= count else None

    found: list[dict[str, Any]] = await living.eventually(look)
    return found


async def test_a_person_at_the_sender_gives_what_an_approver_released(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    ann, entry = make_approver(tmp_path, "ann.lee", POLICE)
    async with (
        open_hub_world(database, rabbit_vhost, tmp_path / "hub", agencies=(POLICE, CSC), people=[entry]) as world,
        live(world, tmp_path / "gw", SIBLINGS_AT) as living,
    ):
        referral_id = await living.send(POLICE, SIBLINGS)
        [listed] = await list_inbox(living, CSC, 1)
        delivery_id = listed["delivery_id"]
        assert SOURCE_CANARY not in (await living.clients[CSC].get(f"/inbox/{delivery_id}")).text

        row = next(r for r in await living.api.reviews(ann) if r["delivery_id"] == delivery_id)
        response = await living.api.approve(ann, "release", row)
        assert response.status_code == 201, response.text

        async def asked() -> Any:
            return (await living.get(POLICE, "/approvals"))["approvals"]

        [request] = await living.eventually(asked)
        assert (request["state"], request["recipient"], request["cause"]) == ("waiting", CSC, "release")
        # Whoever gives keys sees of which referral, and of what.
        assert (request["referral_id"], request["compartments"]) == (referral_id, ["C10"])
        assert SOURCE_CANARY not in (await living.clients[CSC].get(f"/inbox/{delivery_id}")).text
        given = await living.post(POLICE, f"/approvals/{request['digest']}", {"by": "p-17"}, status=200)
        assert given["state"] == "given"

        async def shown() -> Any:
            return SOURCE_CANARY in (await living.clients[CSC].get(f"/inbox/{delivery_id}")).text

        await living.eventually(shown)
        await world.wait_for("SELECT count(*) FROM outbox WHERE kind = 'delivery'", 0)
        assert await world.owner.fetchval("SELECT state FROM holds WHERE delivery_id = $1", delivery_id) == "released"

        async def told() -> Any:
            delivery = next(
                d for d in (await living.referral(POLICE, referral_id))["deliveries"] if d["delivery_id"] == delivery_id
            )
            return delivery["decision"]["compartments"]["C10"]["result"] == "full"

        await living.eventually(told)


async def test_what_rests_on_consent_is_collected_and_decided_again(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    async with (
        open_hub_world(database, rabbit_vhost, tmp_path / "hub", agencies=(POLICE, CSC, EARLY_HELP)) as world,
        live(world, tmp_path / "gw", WELFARE_AT) as living,
    ):
        await living.send(POLICE, WELFARE)
        [listed] = await list_inbox(living, EARLY_HELP, 1)
        opened = await living.clients[EARLY_HELP].get(f"/inbox/{listed['delivery_id']}")
        assert opened.status_code == 200
        [ticket] = (await living.get(EARLY_HELP, "/told"))["tickets"]
        assert (ticket["delivery_id"], ticket["state"]) == (listed["delivery_id"], "collected")
        # The receipt binds the decision under which it was collected, and ends the ticket.
        await world.wait_for("SELECT count(*) FROM outbox WHERE kind = 'ticket'", 0)
        kinds = [r["kind"] for r in await world.owner.fetch("SELECT kind FROM log_entries ORDER BY position")]
        assert kinds.index("collected") < kinds.index("receipt") or kinds.count("receipt") > 1
        assert len(await list_inbox(living, CSC, 1)) == 1


async def test_a_withdrawal_stops_what_is_queued_and_not_collected(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    async with (
        open_hub_world(database, rabbit_vhost, tmp_path / "hub", agencies=(POLICE, CSC, EARLY_HELP)) as world,
        live(world, tmp_path / "gw", WELFARE_AT, without=[EARLY_HELP]) as living,
    ):
        referral_id = await living.send(POLICE, WELFARE)
        [ticket] = await world.receive(EARLY_HELP, 1)
        assert ticket.type == "ticket"
        promised, _ = check_evidence(world, ticket.body)
        delivery_id = promised["delivery_id"]
        assert (await living.api.call("POST", f"/v1/deliveries/{delivery_id}/collect", CSC)).status_code == 404

        entry = {
            "state": "withdrawn",
            "referral_id": referral_id,
            "recorder": "p-17",
            "giver": "parent_pr_holder",
            "reason_code": "changed_mind",
        }
        await living.post(POLICE, "/consents", entry)
        await world.wait_for("SELECT count(*) FROM consents", 1)
        refused = await living.api.call("POST", f"/v1/deliveries/{delivery_id}/collect", EARLY_HELP)
        assert (refused.status_code, refused.json()["code"]) == (403, "no-longer-released")

        (word,) = await world.receive(EARLY_HELP, 1)
        told, event = check_evidence(world, word.body)
        assert (told["outcome"], told["code"], event["code"]) == ("told", "CONSENT_WITHDRAWN", "CONSENT_WITHDRAWN")

        async def heard() -> Any:
            return [t for t in (await living.get(POLICE, "/told"))["told"] if t["code"] == "CONSENT_WITHDRAWN"]

        await living.eventually(heard)

        async def withheld() -> Any:
            deliveries = (await living.referral(POLICE, referral_id))["deliveries"]
            return next(d for d in deliveries if d["delivery_id"] == delivery_id)["outcome"] == "withheld"

        await living.eventually(withheld)
        await world.wait_for("SELECT state FROM deliveries WHERE delivery_id = $1", "withheld", delivery_id)
        # A child's protection never waits for consent: what rests on other grounds went, and stays.
        assert len(await list_inbox(living, CSC, 1)) == 1
        assert await world.owner.fetchval("SELECT count(*) FROM tickets WHERE collected_at IS NOT NULL") == 0


async def test_a_recall_tells_and_collects_signed_deletions(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    async with (
        open_hub_world(database, rabbit_vhost, tmp_path / "hub", agencies=(POLICE, CSC)) as world,
        live(world, tmp_path / "gw", SIBLINGS_AT, inbox={"folder": {"out_folder": str(tmp_path / "out")}}) as living,
    ):
        referral_id = await living.send(POLICE, SIBLINGS)
        [listed] = await list_inbox(living, CSC, 1)
        delivery_id = listed["delivery_id"]

        async def handed_over() -> Any:
            return [f for f in (tmp_path / "out").glob(f"*-{delivery_id}") if (f / "referral.pdf").exists()]

        await living.eventually(handed_over)
        # Nobody deletes on anybody's word but the sender's.
        await living.post(CSC, f"/inbox/{delivery_id}/deletion", {}, status=404)
        delete_by = (datetime.now(UTC) + timedelta(days=5)).isoformat()
        await living.post(
            POLICE, f"/referrals/{referral_id}/recall", {"reason_code": "wrong_child", "delete_by": delete_by}
        )

        async def recalled() -> Any:
            return (await living.get(CSC, "/told"))["recalled"]

        assert await living.eventually(recalled) == [{"delivery_id": delivery_id, "deleted": False}]
        assert (await living.get(CSC, "/attention"))["recalled"] == [delivery_id]
        # What a court's order keeps is deleted when the order ends; nothing else is said in its place, or after that.
        held = await living.post(CSC, f"/inbox/{delivery_id}/deletion", {"exceptions_code": "legal_hold"})
        assert held["kept_here"] == ["folder"], "everything stays"
        await living.post(CSC, f"/inbox/{delivery_id}/deletion", {"exceptions_code": "court_order"}, status=409)
        done = await living.post(CSC, f"/inbox/{delivery_id}/deletion", {})
        assert done["digest"] != held["digest"]
        await living.post(CSC, f"/inbox/{delivery_id}/deletion", {"exceptions_code": "court_order"}, status=409)
        assert (await living.get(CSC, "/attention"))["recalled"] == []
        assert (done["kept_here"], done["left_with_case_system"]) == ([], [])
        assert list((tmp_path / "out").iterdir()) == [], "the files that the gateway wrote are gone too"
        assert (await living.get(CSC, f"/inbox/{delivery_id}"))["referral"]["sections"] == []

        async def confirmed() -> Any:
            told = [t for t in (await living.get(POLICE, "/told"))["told"] if t["code"] == "DELETION_CONFIRMED"]
            return told if len(told) == 2 else []

        await living.eventually(confirmed)
        # A person who confirms once more says the same, and gives the hub nothing to quarantine.
        again = await living.post(CSC, f"/inbox/{delivery_id}/deletion", {})
        assert again["digest"] == done["digest"]
        words = await world.owner.fetch("SELECT agency, exceptions_code FROM deletions ORDER BY received_at")
        assert [tuple(word) for word in words] == [(CSC, "legal_hold"), (CSC, None)]
        assert await world.owner.fetchval("SELECT count(*) FROM quarantine") == 0


async def test_broken_glass_is_claimed_logged_and_reviewed_by_somebody_else(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    ann, entry = make_approver(tmp_path, "ann.lee", POLICE)
    async with (
        open_hub_world(database, rabbit_vhost, tmp_path / "hub", agencies=(POLICE, CSC), people=[entry]) as world,
        live(world, tmp_path / "gw", SIBLINGS_AT) as living,
    ):
        referral_id = await living.send(POLICE, SIBLINGS)
        await list_inbox(living, CSC, 1)
        claim = {"person": "p-17", "reason_code": "danger_now"}
        await living.post(POLICE, f"/messages/{referral_id}/break-glass", claim)
        await world.wait_for("SELECT count(*) FROM break_glass_claims", 1)
        await world.wait_for("SELECT count(*) FROM redecide_due", 0)
        # The source in confidence stays where it is: broken glass gives exactly the matrix, no more.
        assert await world.owner.fetchval("SELECT count(*) FROM redecisions WHERE 'C10' = ANY(released)") == 0
        assert [r["review"] for r in await living.api.reviews(ann)].count("hold") >= 1
