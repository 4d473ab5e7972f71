"""Acts that need two people, on real servers: who knew what of one child; erasing a referral; lifting a legal hold."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.config import read_log_key
from broker.log import LogWriter
from broker.retention.holds import list_holds, place_hold
from broker.store import open_pool
from deploy import hub_retention
from deploy.authority.people import Approver, sign_approval
from schemas.canonical import canonical_bytes, decode_base64url, sha256_base64url
from schemas.checkpoint import read_proof, verify_checkpoint, verify_proof
from schemas.codes import Compartment, ReceiptState
from schemas.envelope import SectionDraft
from schemas.errors import NotFound, SafelaneError
from schemas.header import RoutingHeader, SubjectRouting, SubjectToken
from schemas.log_entry import commit_event
from tests.support.hub_agency import sign_receipt, verify_as
from tests.support.hub_world import CHILD, CSC, HEALTH, ORIGIN, POLICE, SCHOOL, SIBLING, Draft, HubWorld, open_hub_world
from tests.support.reviewing import PersonalApi, make_approver, serve_api
from tests.support.servers import RabbitVhost

VALUES = {CHILD: "aa" * 32, SIBLING: "bb" * 32}
TOKEN = f"nhs|pepper-1|{VALUES[CHILD]}"


@dataclass
class Tokened(Draft):
    """A referral whose children have tokens, with nothing in it that is held."""

    child: str = CHILD

    def sections(self) -> list[SectionDraft]:
        return [section for section in super().sections() if section.compartment is not Compartment.C10]

    def header(self) -> RoutingHeader:
        header = super().header()
        token = SubjectToken(scheme="nhs", pepper_id="pepper-1", value=VALUES[self.child])
        routing = (SubjectRouting(subject_id=CHILD, tied_agencies=(SCHOOL,), tokens=(token,)), *header.routing[1:])
        return header.model_copy(update={"routing": routing})


Hub = tuple[PersonalApi, dict[str, Approver]]
ABOUT = Tokened(referral_id="ref-0000000about-child")
OTHER = Tokened(referral_id="ref-0000000other-child", child=SIBLING, recipients=((SCHOOL, "dsl"),))


@pytest.fixture
async def hub(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[Hub]:
    """A hub with a referral about the child, which the school opened, and one about another."""
    made = {
        "ann": make_approver(tmp_path, "ann.lee", POLICE, ("partnership_auditor",)),
        "bob": make_approver(tmp_path, "bob.lee", CSC, ("partnership_ig_officer",)),
        "eve": make_approver(tmp_path, "eve.lee", CSC, ("auditor",)),
        "kim": make_approver(tmp_path, "kim.lee", HEALTH, ("partnership_ig_officer",)),
    }
    people = [person for _, person in made.values()]
    async with (
        open_hub_world(database, rabbit_vhost, tmp_path / "hub", people=people) as world,
        serve_api(world) as api,
    ):
        async with world.running_worker():
            await world.publish(POLICE, [world.seal(draft).body for draft in (ABOUT, OTHER)])
            for message in await world.receive(SCHOOL, 2):
                delivery = verify_as(world, SCHOOL, message.body)
                accepted = sign_receipt(world, delivery, ReceiptState.ACCEPTED)
                opened = sign_receipt(world, delivery, ReceiptState.OPENED, accepted)
                await world.publish(SCHOOL, [accepted, opened], message_type="receipt")
            await world.wait_for("SELECT count(*) FROM receipts", 4)
            await world.wait_for("SELECT count(*) FROM outbox WHERE kind <> 'delivery'", 0)
        yield api, {name: approver for name, (approver, _) in made.items()}


async def agree(api: PersonalApi, person: Approver, action: str, subject: str, **members: Any) -> httpx.Response:
    digest = sha256_base64url(subject.encode())
    given = {"action": action, "subject_digest": digest, "reason_code": "serious_case_review"} | members
    return await api.call("POST", "/v1/approvals", person, sign_approval(person, now=datetime.now(UTC), **given))


async def ask(api: PersonalApi, person: Approver, token: str = TOKEN) -> httpx.Response:
    return await api.call("POST", "/v1/chronology", person, canonical_bytes({"token": token}))


async def count(api: PersonalApi, kind: str) -> int:
    return int(await api.world.owner.fetchval("SELECT count(*) FROM log_entries WHERE kind = $1", kind))


async def test_who_knew_what_of_one_child_with_proofs_and_two_peoples_word(hub: Hub) -> None:
    api, people = hub
    refused = await ask(api, people["ann"])
    assert (refused.status_code, refused.json()["code"]) == (403, "two-must-approve")
    assert (await agree(api, people["ann"], "chronology", TOKEN)).status_code == 201
    assert (await ask(api, people["ann"])).json()["code"] == "two-must-approve", "nobody approves their own alone"
    assert (await agree(api, people["ann"], "chronology", TOKEN)).status_code == 409, "nor twice"
    assert (await agree(api, people["eve"], "chronology", TOKEN)).status_code == 403, "nor without the role"
    assert (await agree(api, people["bob"], "chronology", TOKEN)).status_code == 201
    assert (await ask(api, people["kim"])).status_code == 403, "who approved nothing reads nothing"
    assert (await ask(api, people["ann"], f"nhs|pepper-1|{VALUES[SIBLING]}")).status_code == 403, "of this child alone"

    answer = await ask(api, people["ann"])
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["approved_by"] == ["ann.lee", "bob.lee"]
    acts = {agency: [line["act"] for line in lines] for agency, lines in found["agencies"].items()}
    assert acts[POLICE] == ["sent"]
    assert acts[SCHOOL] == ["released", "accepted", "opened"]
    assert acts[CSC] == acts[HEALTH] == ["released"]
    assert {line["referral_id"] for lines in found["agencies"].values() for line in lines} == {ABOUT.referral_id}
    released = found["agencies"][SCHOOL][0]["compartments"]
    assert {"C01", "C08", "C14"} <= released.keys()
    assert "C10" not in released
    assert verify_checkpoint(found["checkpoint"], api.world.log).size > 0
    for lines in found["agencies"].values():
        for line in lines:
            proof = read_proof(line["proof"])
            entry = commit_event(decode_base64url(line["event"]), decode_base64url(line["salt"]))
            assert proof.index == line["position"]
            assert verify_proof(proof, entry, api.world.log) is not None
    assert (await ask(api, people["ann"])).status_code == 403, "the two approvals served once"
    assert await count(api, "chronology") == 1
    event = json.loads(
        await api.world.owner.fetchval(
            "SELECT p.event FROM log_payloads p JOIN log_entries e USING (event_id) WHERE e.kind = 'chronology'"
        )
    )
    assert (event["by"], event["approvers"]) == ("ann.lee", ["ann.lee", "bob.lee"])
    stored = await api.world.owner.fetch("SELECT event FROM log_payloads WHERE event IS NOT NULL")
    assert not [row for row in stored if VALUES[CHILD].encode() in row["event"]], (
        "the log holds the token's digest alone"
    )


async def test_an_approval_expires_and_what_cannot_be_logged_is_not_shown(hub: Hub) -> None:
    api, people = hub
    assert (await agree(api, people["ann"], "chronology", TOKEN)).status_code == 201
    soon = sign_approval(
        people["bob"],
        now=datetime.now(UTC),
        lifetime=timedelta(seconds=1),
        action="chronology",
        subject_digest=sha256_base64url(TOKEN.encode()),
        reason_code="serious_case_review",
    )
    assert (await api.call("POST", "/v1/approvals", people["bob"], soon)).status_code == 201
    await asyncio.sleep(1.1)
    assert (await ask(api, people["ann"])).status_code == 403
    assert (await agree(api, people["kim"], "chronology", TOKEN)).status_code == 201
    await api.world.owner.execute("REVOKE INSERT ON log_entries FROM safelane_api")
    assert (await ask(api, people["ann"])).status_code == 503
    await api.world.owner.execute("GRANT INSERT ON log_entries TO safelane_api")
    assert (await ask(api, people["ann"])).status_code == 200, "the approvals were not used up by what failed"


async def test_two_at_once_use_the_approvals_once(hub: Hub) -> None:
    api, people = hub
    for name in ("ann", "bob"):
        assert (await agree(api, people[name], "chronology", TOKEN)).status_code == 201
    answers = await asyncio.gather(*(ask(api, people[name]) for name in ("ann", "bob", "ann", "bob")))
    assert sorted(answer.status_code for answer in answers) == [200, 403, 403, 403]
    assert await count(api, "chronology") == 1


async def test_erasing_a_referral_and_lifting_a_hold_take_two(hub: Hub) -> None:
    api, people = hub
    world: HubWorld = api.world
    operator = await open_pool(world.config.postgres.read_dsn("api"), name="test", most=1)
    log = LogWriter(ORIGIN, read_log_key(world.config.log.key_file))
    given: dict[str, Any] = {"reason_code": "court_order", "by": "ann.lee", "now": datetime.now(UTC)}
    try:
        hold = str(await place_hold(operator, log, scope="referral", subject=OTHER.referral_id, **given))
        for action, subject in (("erase", OTHER.referral_id), ("lift_hold", hold)):
            assert (await agree(api, people["ann"], action, subject)).status_code == 403, "an auditor may not"
            assert (await agree(api, people["bob"], action, subject)).status_code == 201

        async def erase() -> str:
            try:
                return str(await hub_retention.erase_referral(world.config, OTHER.referral_id, by="ann.lee"))
            except SafelaneError as error:
                return error.code

        async def lift() -> str:
            try:
                return " ".join(await hub_retention.lift_hold(world.config, hold, by="ann.lee"))
            except SafelaneError as error:
                return error.code

        assert await erase() == "under-legal-hold"
        assert await lift() == "two-must-approve"
        assert (await agree(api, people["kim"], "lift_hold", hold)).status_code == 201
        assert await lift() == "bob.lee kim.lee"
        assert await list_holds(operator) == []
        assert await erase() == "two-must-approve"
        assert (await agree(api, people["kim"], "erase", OTHER.referral_id)).status_code == 201
        assert int(await erase()) >= 4
        assert await erase() == "conflict"
        with pytest.raises(NotFound):
            await hub_retention.lift_hold(world.config, "no-hold", by="ann.lee")
    finally:
        await operator.close()
