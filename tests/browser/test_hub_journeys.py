"""Journeys over a whole hub: an officer and a colleague release a hold, ask who knew what of a child, take a policy into use; a consent is withdrawn;
an operator brings an agency in and sees it go.

One hub with its worker, API and console serves them all; agencies send with their own keys, officers sign on "their own machine", a folder.
"""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from broker.console.access import Role
from broker.decisions import DEFAULT_PACK, bundle_pack, load_bundle
from deploy.authority.directory_building import revoke_agency
from deploy.authority.policies import name_pack
from deploy.authority.state import save_state
from deploy.local.stack import LocalStack
from schemas.canonical import parse_object
from schemas.codes import ConsentState, ReceiptState
from schemas.objects import digest_object, peek_object
from tests.integration.test_chronology import TOKEN, VALUES, Tokened
from tests.integration.test_policy_activation import write_local
from tests.support.authority import AgencyKit
from tests.support.browser import People, assert_accessible, assert_no_sideways_scroll, picture
from tests.support.console import ROOT, ConsoleSite
from tests.support.drafts import EARLY_HELP, consent, early_help
from tests.support.hub_agency import check_evidence, open_as, sign_receipt, verify_as
from tests.support.hub_console import HubConsole, open_hub_console
from tests.support.hub_world import CHILD, CSC, POLICE, SCHOOL, Draft
from tests.support.reviewing import PASSPHRASE, make_approver, sign_addendum, write_partnership

pytestmark = pytest.mark.timeout(300)


@dataclass
class Desks:
    """The hub with its console, browsers for its people, and the folder of officers' key files."""

    hub: HubConsole
    people: People
    keys: Path

    def sign(self, person: str, command: str) -> str:
        """Run the command that the page shows, with a person's own key file, and return what it prints."""
        program, *arguments = shlex.split(command)
        assert program == "safelane"
        arguments[arguments.index("ann.key.json")] = str(self.keys / f"{person}.key.json")
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", *arguments, "--passphrase-file", str(self.keys / "passphrase")],
            cwd=ROOT,
            env={name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert f"Signed as {person}." in done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def hub(
    console: ConsoleSite, rabbit: LocalStack, postgres: LocalStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[HubConsole, Path]]:
    folder = tmp_path_factory.mktemp("hub-journeys")
    roles = ("partnership_ig_officer", "approver", "policy_approver")
    made = {name: make_approver(folder, name, POLICE, roles) for name in ("ann.lee", "bob.lee")}
    passphrase = folder / "passphrase"
    passphrase.write_text(PASSPHRASE)
    passphrase.chmod(0o600)
    partnership = write_partnership(folder / "partnership", approvers_needed={"C10": 2})
    with open_hub_console(
        rabbit,
        console,
        folder / "hub",
        agencies=(POLICE, CSC, EARLY_HELP),
        people=[p for _, p in made.values()],
        partnership=partnership,
    ) as opened:
        opened.site.add_person("ann", Role.IG_OFFICER, person_id="ann.lee")
        opened.site.add_person("bob", Role.IG_OFFICER, person_id="bob.lee")
        opened.site.add_person("eve", Role.AUDITOR, person_id="eve.lee")
        opened.site.add_person("operator", Role.OPERATOR)
        opened.site.add_person("auditor", Role.AUDITOR)
        opened.approvers = {name: approver for name, (approver, _) in made.items()}
        yield opened, folder


@pytest.fixture
def desks(hub: tuple[HubConsole, Path], browser: Browser) -> Iterator[Desks]:
    opened, keys = hub
    people = People(browser, opened.site, [])
    yield Desks(opened, people, keys)
    for context in people.opened:
        context.close()


def prepare_release(page: Page) -> str:
    """Choose to release, and return the command that the page then shows."""
    page.get_by_label("Release what is held").check()
    page.get_by_label("Reason").select_option(label="They need to know it")
    page.get_by_role("button", name="Prepare for signing").click()
    expect(page.get_by_role("heading", level=1, name="Sign your decision")).to_be_visible()
    return page.locator("#command").text_content() or ""


def hand_in(page: Page, signed: str) -> None:
    page.locator("#signed").fill(signed)
    page.get_by_role("button", name="Hand in").click()


def send_held(hub: HubConsole) -> tuple[Draft, Any]:
    """Send a referral whose source is held for two people; return it, and it sealed."""

    async def send() -> tuple[Draft, Any]:
        draft = Draft(recipients=((CSC, "csc"),))
        sealed = hub.world.seal(draft)
        await hub.world.publish(POLICE, [sealed.body])
        await hub.world.receive(POLICE, 1)
        await hub.world.receive(CSC, 1)
        return draft, sealed

    return hub.do(send())


def list_requests(site: ConsoleSite, since: int) -> list[str]:
    """Return the deliveries whose senders the hub has asked for a late release."""
    return [event["delivery_id"] for event in site.events("told", since) if event.get("code") == "RELEASE_REQUESTED"]


def release_late(hub: HubConsole, sealed: Any) -> Any:
    """Answer the hub's request to the sender as the sender's gateway does; return what the recipient then opens."""

    async def answer() -> Any:
        [asked] = [m for m in await hub.world.receive(POLICE, 3, seconds=20) if m.type == "approval"]
        request = parse_object(asked.body, max_bytes=1 << 20)
        await hub.world.publish(POLICE, [sign_addendum(hub.world, sealed, request)], message_type="keyring_addendum")
        (late,) = await hub.world.receive(CSC, 1)
        await hub.world.wait_for("SELECT state FROM holds WHERE delivery_id = $1", "released", request["delivery_id"])
        return open_as(hub.world, CSC, late.body)

    return hub.do(answer())


def test_an_officer_releases_a_hold_with_a_colleague_and_not_alone(desks: Desks) -> None:
    hub, site = desks.hub, desks.hub.site
    draft, sealed = send_held(hub)
    delivery = draft.header().deliveries[0].delivery_id
    address = f"/reviews/{draft.message_id}/{delivery}"
    approvals = "SELECT count(*) FROM approvals WHERE delivery_id = $1"
    before = site.log_size()

    ann = desks.people.signed_in("ann")
    ann.goto("/reviews")
    ann.locator(f"a[href='{address}']").click()
    ann.get_by_role("button", name="Claim it").click()
    expect(ann.get_by_text("It is yours.")).to_be_visible()
    assert_accessible(ann)
    first = desks.sign("ann.lee", prepare_release(ann))
    assert_accessible(ann)
    hand_in(ann, first)
    expect(ann.get_by_text("Your signed decision is registered and logged.")).to_be_visible()
    expect(ann.get_by_role("table", name="Signed decisions").get_by_text("ann.lee")).to_be_visible()

    # One is not two: neither again by herself, nor with her signature in her colleague's hands.
    ann.get_by_label("Release what is held").check()
    ann.get_by_label("Reason").select_option(label="They need to know it")
    ann.get_by_role("button", name="Prepare for signing").click()
    expect(ann.get_by_role("alert").first).to_contain_text("You have approved this already")
    bob = desks.people.signed_in("bob")
    bob.goto(address)
    expect(bob.get_by_role("button", name="Claim it")).to_have_count(0)
    joining = prepare_release(bob)
    hand_in(ann, desks.sign("ann.lee", joining))
    expect(ann.get_by_role("alert").first).to_contain_text("joins no approval of somebody else")
    hand_in(bob, desks.sign("ann.lee", re.sub(r',"joins":"[^"]*"', "", joining)))
    expect(bob.get_by_role("alert").first).to_contain_text("is signed by somebody else")
    hand_in(bob, "not what it prints")
    expect(bob.get_by_role("alert").first).to_contain_text("Paste all of it")
    assert site.value(approvals, delivery) == 1
    assert site.value("SELECT state FROM holds WHERE delivery_id = $1", delivery) == "open"
    hub.do(hub.world.wait_for("SELECT count(*) FROM redecide_due", 0))
    assert list_requests(site, before) == []

    command = prepare_release(bob)
    expect(bob.get_by_text("your colleague’s approval")).to_be_visible()
    hand_in(bob, desks.sign("bob.lee", command))
    expect(bob.get_by_text("Your signed decision is registered and logged.")).to_be_visible()
    hub.do(hub.world.wait_for("SELECT count(*) FROM redecide_due", 0))
    assert list_requests(site, before) == [delivery]
    assert release_late(hub, sealed) == {("C10", "incident"): "full"}
    bob.goto(address)
    decisions = bob.get_by_role("table", name="Signed decisions")
    expect(decisions.get_by_text("ann.lee")).to_be_visible()
    expect(decisions.get_by_text("bob.lee")).to_be_visible()
    expect(bob.get_by_role("button", name="Prepare for signing")).to_have_count(0)
    bob.goto("/reviews?state=released")
    expect(bob.locator(f"a[href='{address}']")).to_be_visible()
    reviewed = [(e["action"], e["by"]) for e in site.events("review", before)]
    assert reviewed[0] == ("claimed", "ann.lee")
    assert {("release", "ann.lee"), ("release", "bob.lee")} <= set(reviewed)
    assert [e["type"] for e in site.events("object", before)].count("approval") == 2


def ask_about(page: Page, token: str, reason: str) -> str:
    """Type a child's token and why; return the command that the page then shows."""
    page.get_by_label("The child’s token").fill(token)
    page.get_by_label(reason).check()
    page.get_by_role("button", name="Prepare for signing").click()
    expect(page.get_by_role("heading", level=1, name="Sign your approval")).to_be_visible()
    return page.locator("#command").text_content() or ""


def test_who_knew_what_of_one_child_takes_two_people_and_is_read_once(desks: Desks, tmp_path: Path) -> None:
    hub, site = desks.hub, desks.hub.site
    draft = Tokened(referral_id="ref-0000000chronology1", recipients=((CSC, "csc"),))

    async def send() -> None:
        await hub.world.publish(POLICE, [hub.world.seal(draft).body])
        (message,) = await hub.world.receive(CSC, 1)
        delivery = verify_as(hub.world, CSC, message.body)
        accepted = sign_receipt(hub.world, delivery, ReceiptState.ACCEPTED)
        opened = sign_receipt(hub.world, delivery, ReceiptState.OPENED, accepted)
        await hub.world.publish(CSC, [accepted, opened], message_type="receipt")
        await hub.world.wait_for("SELECT count(*) FROM receipts WHERE delivery_id = $1", 2, delivery_id)

    delivery_id = draft.header().deliveries[0].delivery_id
    hub.do(send())
    before = site.log_size()
    ann, bob = desks.people.signed_in("ann", accept_downloads=True), desks.people.signed_in("bob")
    ann.goto("/chronology")
    ann.get_by_role("button", name="Prepare for signing").click()
    expect(ann.get_by_role("alert").first).to_contain_text("Enter the child’s token")
    assert_accessible(ann)
    picture(ann, "chronology-ask")
    first = desks.sign("ann.lee", ask_about(ann, TOKEN, "A court ordered it"))
    assert_accessible(ann)
    hand_in(ann, "not what it prints")
    expect(ann.get_by_role("alert").first).to_contain_text("Paste all of it")
    hand_in(ann, first)
    expect(ann.get_by_text("Your signed approval is registered and logged.")).to_be_visible()
    expect(ann.get_by_text("A second person must, on this page, before it ends.")).to_be_visible()
    assert_accessible(ann)

    # The second person types the token too, of the same child; the first one's signature is not theirs.
    bob.goto("/chronology")
    bob.get_by_role("link", name=re.compile("Asked")).first.click()
    bob.get_by_label("The child’s token").fill(TOKEN.replace("a", "b"))
    bob.get_by_label("A court ordered it").check()
    bob.get_by_role("button", name="Prepare for signing").click()
    expect(bob.get_by_role("alert").first).to_contain_text("another child’s token")
    command = ask_about(bob, TOKEN, "A court ordered it")
    hand_in(bob, first)
    expect(bob.get_by_role("alert").first).to_contain_text("signed by somebody else")
    hand_in(bob, desks.sign("bob.lee", command))
    expect(bob.get_by_role("button", name="Show who knew what, and when")).to_be_visible()
    assert_accessible(bob)

    # Who approved nothing reads nothing; it is read once.
    eve = desks.people.signed_in("eve")
    eve.goto(bob.url)
    expect(eve.get_by_role("button", name="Show who knew what, and when")).to_have_count(0)
    ann.goto(bob.url)
    ann.get_by_label("The child’s token").fill(TOKEN)
    ann.get_by_role("button", name="Show who knew what, and when").click()
    expect(ann.get_by_role("heading", level=1, name="Who knew what, and when")).to_be_visible()
    assert_accessible(ann)
    picture(ann, "chronology-found")
    ann.set_viewport_size({"width": 320, "height": 640})
    assert_no_sideways_scroll(ann)
    ann.set_viewport_size({"width": 1200, "height": 900})
    given = ann.get_by_role("table", name="What each agency was given, and when").get_by_role("row", name=CSC)
    expect(given).to_contain_text("In full: Identity")
    expect(given).not_to_contain_text("Not opened")
    expect(ann.get_by_role("table", name="Everything that happened, in order")).to_contain_text(
        "A person there opened it"
    )
    with ann.expect_download() as coming:
        ann.get_by_role("link", name="Keep it as a file (CSV)").click()
    coming.value.save_as(tmp_path / "chronology.csv")
    with (tmp_path / "chronology.csv").open(newline="", encoding="utf-8") as file:
        kept = list(csv.DictReader(file))
    assert [line["act"] for line in kept if line["agency"] == CSC][:3] == ["released", "accepted", "opened"]
    bob.get_by_label("The child’s token").fill(TOKEN)
    bob.get_by_role("button", name="Show who knew what, and when").click()
    expect(bob.get_by_role("heading", level=1, name="Two people must approve this")).to_be_visible()
    expect(bob.get_by_text("each with their own key")).to_be_visible()

    # The auditor sees who read it, by name.
    site.project()
    eve.goto("/access/looks?person=ann.lee")
    looks = eve.get_by_role("table", name="Looks, newest first")
    expect(looks).to_contain_text("A person read who knew what of one child")
    expect(looks).to_contain_text("Test ann (ann.lee)")

    (read,) = site.events("chronology", before)
    assert (read["by"], read["approvers"]) == ("ann.lee", ["ann.lee", "bob.lee"])
    stored = site.fetch("SELECT p.event FROM log_payloads p WHERE p.event IS NOT NULL")
    assert not [row for row in stored if VALUES[CHILD].encode() in row["event"]]
    log = (site.folder / "console.log").read_text()
    assert VALUES[CHILD] not in log


def test_a_withdrawn_consent_pulls_the_delivery_that_was_queued_on_it(desks: Desks) -> None:
    hub, world = desks.hub, desks.hub.world
    given = consent(world, POLICE, ConsentState.GIVEN)
    consent_id = str(peek_object(given)["consent_id"])
    draft = early_help()

    async def record(entry: bytes, *, entries: int) -> None:
        await world.publish(POLICE, [entry], message_type="consent")
        await world.wait_for("SELECT count(*) FROM consents WHERE consent_id = $1", entries, consent_id)

    async def queue() -> str:
        await record(given, entries=1)
        await world.publish(POLICE, [world.seal(draft).body])
        (ticket,) = await world.receive(EARLY_HELP, 1)
        assert ticket.type == "ticket"
        return str(check_evidence(world, ticket.body)[0]["delivery_id"])

    queued = hub.do(queue())
    page = desks.people.signed_in("ann")
    page.goto("/consents")
    page.get_by_role("link", name=consent_id).click()
    expect(page.get_by_role("heading", name="Entry 1 Given")).to_be_visible()
    page.goto(f"/referrals/{draft.referral_id}")
    heading = page.get_by_role("heading", level=3, name=re.compile(EARLY_HELP))
    expect(heading).not_to_contain_text("Withheld")

    async def withdraw() -> None:
        entry = consent(world, POLICE, ConsentState.WITHDRAWN, consent_id=consent_id, previous=digest_object(given))
        await record(entry, entries=2)
        await world.wait_for("SELECT state FROM deliveries WHERE delivery_id = $1", "withheld", queued)
        collected = await hub.api.call("POST", f"/v1/deliveries/{queued}/collect", EARLY_HELP)
        assert collected.status_code == 403

    hub.do(withdraw())
    page.goto(f"/consents/{consent_id}")
    expect(page.get_by_role("heading", name="Entry 2 Withdrawn")).to_be_visible()
    assert_accessible(page)
    page.goto(f"/referrals/{draft.referral_id}")
    expect(heading).to_contain_text("Withheld")
    assert_accessible(page)


def test_an_operator_invites_an_agency_and_sees_it_enrolled_and_revoked(desks: Desks) -> None:
    hub = desks.hub
    page = desks.people.signed_in("operator")
    page.goto("/agencies")
    page.locator(f"a[href='/agencies/{SCHOOL}']").click()
    page.get_by_role("button", name="Invite it to enrol").click()
    invitation = json.loads(page.locator("pre").text_content() or "")
    assert invitation["agency"] == SCHOOL
    assert_accessible(page)

    now = datetime.now(UTC)
    kit = AgencyKit.make(SCHOOL)
    request = kit.request(invitation["invitation"], now=now)

    async def post(path: str, **rest: Any) -> Any:
        response = await hub.api.client.post(path, **rest)
        assert response.status_code in {200, 201}, response.text
        return response.json()

    asked = hub.do(post("/v1/enrolments", json={"invitation": invitation["invitation"], "request": request}))
    page.goto("/agencies")
    waiting = page.get_by_role("table", name="Waiting for an officer")
    expect(waiting).to_contain_text(asked["fingerprint"])
    assert_accessible(page)

    authority = hub.authority
    authority.approve(asked["enrolment_id"], request, now=now)
    signed = authority.sign()
    hub.do(post("/v1/directory", content=signed.body))
    (welcome,) = signed.welcomes.values()
    hub.do(post(f"/v1/enrolments/{asked['enrolment_id']}/welcome", json=welcome))
    row = page.get_by_role("row", name=re.compile(re.escape(SCHOOL)))
    page.goto("/agencies")
    expect(waiting).to_have_count(0)
    expect(row).to_contain_text("Enrolled")
    expect(row).to_contain_text("1 key")

    gone = revoke_agency(authority.state(), SCHOOL, now=datetime.now(UTC))
    hub.do(post("/v1/directory", content=authority.sign(changed=gone).body))
    page.goto("/agencies")
    expect(row).to_contain_text("Revoked")
    page.goto(f"/agencies/{SCHOOL}")
    expect(page.get_by_role("button", name="Invite it to enrol")).to_have_count(0)


NO_EDUCATION = """
@id("local-no-education") @row("D0") @step("300") @reason("Schools answer for attendance themselves.") @authority("A trial.")
forbid (principal == Role::"csc", action in Action::"disclose", resource is Compartment) when { resource.code == "C08" };
"""


def test_two_officers_activate_a_policy_that_decides_the_next_message_without_a_restart(
    desks: Desks, tmp_path: Path
) -> None:
    hub, site = desks.hub, desks.hub.site

    async def post(path: str, body: bytes, person: str | None = None) -> Any:
        if person is None:
            return await hub.api.client.post(path, content=body)
        return await hub.api.call("POST", path, hub.approvers[person], body)

    async def decide() -> dict[str, Any]:
        draft = Draft(recipients=((CSC, "csc"),))
        await hub.world.publish(POLICE, [hub.world.seal(draft).body])
        delivery = draft.header().deliveries[0].delivery_id
        await hub.world.wait_for("SELECT count(*) FROM deliveries WHERE delivery_id = $1", 1, delivery)
        query = "SELECT decision FROM deliveries WHERE delivery_id = $1"
        return dict(json.loads(await hub.world.owner.fetchval(query, delivery)))

    def publish() -> int:
        """Sign, as the two authority officers, a directory that names the pack; what the hub refuses is not kept."""
        before = hub.authority.state()
        signed = hub.authority.sign(changed=name_pack(before, new))
        status = int(hub.do(post("/v1/directory", signed.body)).status_code)
        if status != 201:
            save_state(hub.authority.folder, before)
        return status

    body = bundle_pack(DEFAULT_PACK, write_local(tmp_path / "local", NO_EDUCATION))
    new = load_bundle(body)
    assert hub.do(decide())["compartments"]["C08"]["result"] == "full"
    assert hub.do(post("/v1/policies", body, "ann.lee")).status_code == 201

    # Read it, see what it changes, and rehearse it on what was decided.
    ann = desks.people.signed_in("ann")
    ann.goto("/policies")
    ann.locator(f"a[href='/policies/{new.digest}']").click()
    changes = ann.get_by_role("table", name="What it says otherwise than the pack in force")
    expect(changes.get_by_role("row", name="local-no-education")).to_contain_text("Added")
    ann.get_by_text("Difference of the rules’ text").click()
    expect(ann.get_by_label("Difference of the rules’ text")).to_contain_text('+@id("local-no-education")')
    ann.get_by_role("button", name=re.compile("Decide the last .* again")).click()
    expect(ann.get_by_role("table", name="What would change, and for whom")).to_contain_text(CSC)
    assert_accessible(ann)
    picture(ann, "policies-rehearsed")

    # One officer is not two, and approving is not activating: the authority's next directory does that.
    hand_in(ann, desks.sign("ann.lee", ann.locator("#command").text_content() or ""))
    expect(ann.get_by_text("Your signed approval is registered and logged.")).to_be_visible()
    assert publish() == 409
    again = desks.sign("ann.lee", ann.locator("#command").text_content() or "")
    hand_in(ann, again)
    expect(ann.get_by_role("alert").first).to_contain_text("another person must")
    bob = desks.people.signed_in("bob")
    bob.goto(f"/policies/{new.digest}")
    expect(bob.get_by_text("Lodged: it decides nothing")).to_be_visible()
    hand_in(bob, again)
    expect(bob.get_by_role("alert").first).to_contain_text("signed by somebody else")
    hand_in(bob, desks.sign("bob.lee", bob.locator("#command").text_content() or ""))
    expect(bob.get_by_text("the officers’ next directory can take it into use")).to_be_visible()
    assert hub.do(decide())["compartments"]["C08"]["result"] == "full"

    # The same worker decides the next message by it.
    before = site.log_size()
    assert publish() == 201
    after = hub.do(decide())
    assert (after["policy_digest"], after["compartments"]["C08"]["result"]) == (new.digest, "withheld")
    bob.goto(f"/policies/{new.digest}")
    expect(bob.get_by_text("In force", exact=True).first).to_be_visible()
    expect(bob.get_by_role("button", name="Hand in")).to_have_count(0)
    (entry,) = [
        json.loads(row["entry"])
        for row in site.fetch("SELECT entry FROM log_entries WHERE kind = 'policy' AND position >= $1", before)
    ]
    assert (entry["policy_digest"], len(entry["approvals"])) == (new.digest, 2)
