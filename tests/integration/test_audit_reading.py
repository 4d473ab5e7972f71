"""The query layer on a real PostgreSQL: every read logged first or refused, everybody within their scope, pages without gaps while the log grows."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from broker.audit.exporting import ExportFormat
from broker.audit.filters import SearchFilter
from broker.audit.gate import AuditGate
from broker.audit.scope import Reader
from broker.audit.searching import FoundEvent
from broker.log import LogWriter, NewEvent
from broker.store import open_pool
from broker.store.pool import StoreUnavailable
from schemas.errors import MalformedMessage, NotFound, NotPermitted
from schemas.keys import KeyUse, generate_ed25519_jwk
from tests.support.audited import Audited, make_reader, open_audited
from tests.support.hub_api import LOG_ORIGIN, set_role_password, with_login
from tests.support.logged_referrals import START, County, LoggedReferral, log_events
from tests.support.sample_registry import SampleRegistry

EVERYTHING = make_reader("partnership_auditor")
CSC = make_reader("auditor", agency="csc.marchshire")
POLICE = make_reader("auditor", agency="police.marchshire")


@pytest.fixture
async def audited(database: str) -> AsyncIterator[Audited]:
    async with open_audited(database, 150) as audited:
        yield audited


def decided(audited: Audited, outcome: str, recipient: str) -> tuple[LoggedReferral, tuple]:
    """Return a referral and one of its deliveries with that outcome for that recipient."""
    return next(
        (r, d)
        for r in audited.referrals
        for d in r.deliveries
        if d[6] == outcome and d[3] == recipient and r.message[1] == "police.marchshire"
    )


async def test_nothing_is_shown_that_cannot_be_logged(audited: Audited) -> None:
    referral = audited.referrals[0].referral_id
    since, until = START, START + timedelta(days=2)
    reads = (
        lambda: audited.reader.search(EVERYTHING, SearchFilter()),
        lambda: audited.reader.show(EVERYTHING, referral),
        lambda: audited.reader.export(EVERYTHING, SearchFilter(), ExportFormat.CSV),
        lambda: audited.reader.access_log(EVERYTHING, SearchFilter()),
        lambda: audited.reader.access_report(EVERYTHING, since=since, until=until),
        lambda: audited.reader.overview(EVERYTHING),
        lambda: audited.reader.consents(EVERYTHING),
        lambda: audited.reader.consent(EVERYTHING, "consent-00000000000001"),
        lambda: audited.reader.quarantine(EVERYTHING),
        lambda: audited.reader.checkpoints(EVERYTHING),
        lambda: audited.reader.agreements(EVERYTHING),
        lambda: audited.reader.policies(EVERYTHING),
    )
    await audited.owner.execute("REVOKE INSERT ON log_entries FROM safelane_api")
    for read in reads:
        with pytest.raises(StoreUnavailable):
            await read()
    assert await audited.looks() == []
    await audited.owner.execute("GRANT INSERT ON log_entries TO safelane_api")
    assert (await audited.reader.search(EVERYTHING, SearchFilter())).events
    assert len(await audited.looks()) == 1


async def test_each_read_is_one_event_that_says_who_and_what_and_repeats_nothing_typed(audited: Audited) -> None:
    referral = audited.referrals[0].referral_id
    await audited.reader.search(CSC, SearchFilter(kind=("CP_S47",), agency="police.marchshire", state=("JaneRoe",)))
    await audited.reader.show(EVERYTHING, referral)
    with pytest.raises(NotFound):
        await audited.reader.show(EVERYTHING, "Jane.Roe")
    await audited.reader.search(EVERYTHING, SearchFilter(token="nhs|p1|CANARYtoken"))
    pieces = [piece async for piece in await audited.reader.export(EVERYTHING, SearchFilter(), ExportFormat.CSV)]
    looks = await audited.looks()
    assert [(kind, m["by"], m["action"]) for kind, m in looks] == [
        ("audit_read", "p.auditor1", "search"),
        ("audit_read", "p.auditor1", "show"),
        ("audit_read", "p.auditor1", "show"),
        ("audit_read", "p.auditor1", "search"),
        ("export", "p.auditor1", "export_csv"),
    ]
    assert "kind=CP_S47 agency=police.marchshire state=sha256:" in looks[0][1]["subject"]
    assert looks[1][1]["subject"] == referral
    said = json.dumps(looks)
    assert not [typed for typed in ("Roe", "CANARY") if typed in said]
    assert len(b"".join(pieces).splitlines()) == 1 + sum(len(r.events) for r in audited.referrals)


async def test_a_search_finds_exactly_what_a_plain_scan_finds(audited: Audited) -> None:
    everything = await audited.find(EVERYTHING)
    assert [e.position for e in everything] != []
    questions = (
        {"event": ["decided"], "state": ["held"]},
        {"kind": ["MISSING", "FGM"], "agency": "csc.marchshire"},
        {"rule": ["D9"], "agency": "police.northdale"},
        {"agency": "csc.northdale", "since": START + timedelta(hours=4), "until": START + timedelta(hours=11)},
        {"state": ["breached"], "event": ["clock"]},
        {"person": "p.reviewer3"},
        {"event": ["receipt"], "kind": ["CP_S47"], "state": ["opened"]},
        {"agency": "nobody.here"},
    )
    for asked in questions:
        expected = [e for e in everything if _matches(e, asked)]
        assert await audited.find(EVERYTHING, limit=7, **asked) == expected, asked
    page = await audited.reader.search(EVERYTHING, SearchFilter(event=("decided",)))
    assert page.total == len([e for e in everything if e.event == "decided"])
    assert page.complete.behind >= 0


def _matches(event: FoundEvent, asked: dict) -> bool:
    return (
        (not asked.get("event") or event.event in asked["event"])
        and (not asked.get("kind") or event.kind in asked["kind"])
        and (not asked.get("state") or event.state in asked["state"])
        and (not asked.get("rule") or event.rule in asked["rule"])
        and (not asked.get("agency") or asked["agency"] in {event.sender, event.recipient})
        and (not asked.get("person") or event.person == asked["person"])
        and (not asked.get("since") or event.at >= asked["since"])
        and (not asked.get("until") or event.at < asked["until"])
    )


async def test_one_referral_is_found_by_each_of_its_ids_and_by_its_childs_token(audited: Audited) -> None:
    referral = audited.referrals[3]
    expected = {e.position for e in await audited.find(EVERYTHING) if e.referral_id == referral.referral_id}
    for searched in (referral.referral_id, str(referral.message[0]), referral.deliveries[0][1]):
        assert {e.position for e in await audited.find(EVERYTHING, id=searched)} == expected
    token = referral.subjects[0][1][0]
    assert expected <= {e.position for e in await audited.find(EVERYTHING, token=token)}
    assert await audited.find(EVERYTHING, id=str(uuid4())) == []


async def test_pages_have_no_gaps_and_no_repeats_while_the_log_grows(audited: Audited) -> None:
    seed = 77
    for asked in ({}, {"agency": "csc.marchshire"}, {"event": ["decided"], "state": ["delivered"]}):
        search = SearchFilter.read(asked)
        before = [e.position for e in await audited.find(EVERYTHING, **asked)]
        page = await audited.reader.search(EVERYTHING, search, limit=40)
        start = page.complete.position
        pages = [e.position for e in page.events]
        while page.next_cursor:
            seed += 1
            # At the county's beginning: instants older than the cursor's.
            await audited.store(list(County(seed).referrals(3)))
            page = await audited.reader.search(EVERYTHING, search, cursor=page.next_cursor, limit=40)
            pages += [e.position for e in page.events]
        assert len(pages) == len(set(pages))
        assert [p for p in pages if p in set(before)] == before
        assert max(pages) < start


async def test_cursors_of_other_questions_and_rubbish_are_refused(audited: Audited) -> None:
    page = await audited.reader.search(EVERYTHING, SearchFilter(), limit=5)
    for search, cursor in (
        (SearchFilter(event=("decided",)), page.next_cursor),
        (SearchFilter(), "rubbish"),
        (SearchFilter(), (page.next_cursor or "")[:-4]),
        (SearchFilter(), "e30"),
    ):
        with pytest.raises(MalformedMessage):
            await audited.reader.search(EVERYTHING, search, cursor=cursor)
    for limit in (0, -1, 101):
        with pytest.raises(MalformedMessage):
            await audited.reader.search(EVERYTHING, SearchFilter(), limit=limit)


async def test_an_agency_finds_what_it_sent_and_of_what_it_received_no_more_than_it_was_told(audited: Audited) -> None:
    everything = await audited.find(EVERYTHING)
    found = await audited.find(CSC)
    assert all("csc.marchshire" in {e.sender, e.recipient} for e in found)
    received = [e for e in found if e.sender != "csc.marchshire"]
    assert received
    assert all(e.rule is None for e in received)
    assert {e.event for e in received} == {"decided", "receipt"}
    assert {e.state for e in received if e.event == "decided"} == {"delivered"}
    sent = [e for e in everything if e.sender == "csc.marchshire"]
    assert [e for e in found if e.sender == "csc.marchshire"] == sent
    # Asking by what it may not know finds nothing of what it received.
    assert all(e.sender == "csc.marchshire" for e in await audited.find(CSC, rule=["D3", "D5", "D12"]))
    assert all(e.sender == "csc.marchshire" for e in await audited.find(CSC, state=["held", "withheld"]))
    assert await audited.find(CSC, agency="school.s001", event=["accepted"]) == []


async def test_a_recipient_sees_its_own_delivery_and_a_sender_everything(audited: Audited) -> None:
    referral, delivery = decided(audited, "delivered", "csc.marchshire")
    whole = await audited.reader.show(POLICE, referral.referral_id)
    part = await audited.reader.show(CSC, delivery[1])
    assert whole.whole
    assert not part.whole
    assert len(whole.messages[0].deliveries) == len(referral.deliveries)
    (own,) = part.messages[0].deliveries
    assert own.delivery_id == delivery[1]
    assert [c.compartment for c in own.decisions[0].cells] == ["C01"]
    said = json.dumps(part.to_json())
    assert "C10" not in said
    assert "D12" not in said
    assert all(d[1] not in said for d in referral.deliveries if d[1] != delivery[1])
    gaps = [c for d in whole.messages[0].deliveries for c in d.decisions[0].cells if not c.sent]
    assert gaps
    assert all(c.words.startswith(("Withheld: ", "Held until an approver releases it: ")) for c in gaps)
    assert whole.timeline[0].words == "The hub took the message in."
    assert whole.messages[0].position is not None


async def test_a_recipient_is_given_the_reason_that_it_was_told_and_no_other(audited: Audited) -> None:
    for rule, reason, authority in (
        ("D4", "It is shared to keep a child safe.", ""),
        ("D5", "Row D5 applies.", "An Act"),
    ):
        delivery = next(d for r in audited.referrals for d in r.deliveries if d[7] == rule)
        part = await audited.reader.show(make_reader("auditor", agency=delivery[3]), delivery[1])
        (decision,) = part.messages[0].deliveries[0].decisions
        assert (decision.reason, decision.authority) == (reason, authority)
        assert decision.row == ("" if rule == "D4" else "D5")
        assert all((c.row, c.reason, c.authority) == ("", "", "") for c in decision.cells)
        whole = await audited.reader.show(EVERYTHING, delivery[1])
        (own,) = [d for d in whole.messages[0].deliveries if d.delivery_id == delivery[1]]
        assert (own.decisions[0].row, own.decisions[0].reason) == (rule, f"Row {rule} applies.")


async def test_what_is_held_from_an_agency_does_not_exist_for_it(audited: Audited) -> None:
    referral, delivery = decided(audited, "held", "csc.marchshire")
    if any(d[6] == "delivered" and d[3] == "csc.marchshire" for d in referral.deliveries):
        pytest.fail("the county gives one delivery to each recipient")
    for searched in (referral.referral_id, delivery[1], str(referral.message[0])):
        with pytest.raises(NotFound):
            await audited.reader.show(CSC, searched)
        assert await audited.find(CSC, id=searched) == []
    view = await audited.reader.show(POLICE, delivery[1])
    (held,) = [d for d in view.messages[0].deliveries if d.delivery_id == delivery[1]]
    assert [hold.review for hold in held.holds] == ["hold"]


@pytest.mark.parametrize(
    ("roles", "allowed"),
    [
        (("inspector",), {"overview"}),
        (("operator",), {"overview", "consents"}),
        (("auditor",), {"search", "show", "export", "access", "overview", "consents"}),
        (("ig_officer",), {"search", "show", "export", "access", "overview", "consents"}),
    ],
)
async def test_roles_read_their_own_parts_alone(audited: Audited, roles: tuple[str, ...], allowed: set[str]) -> None:
    reader = audited.reader
    who = make_reader(*roles, agency="police.marchshire", person=f"p.{roles[0]}")
    referral = next(r.referral_id for r in audited.referrals if r.message[1] == "police.marchshire")
    attempts = {
        "search": lambda: reader.search(who, SearchFilter()),
        "show": lambda: reader.show(who, referral),
        "export": lambda: reader.export(who, SearchFilter(), ExportFormat.JSON_LINES),
        "access": lambda: reader.access_log(who, SearchFilter()),
        "consents": lambda: reader.consents(who),
    }
    for name, attempt in attempts.items():
        before = len(await audited.looks())
        if name in allowed:
            await attempt()
            assert len(await audited.looks()) == before + 1
        else:
            with pytest.raises(NotPermitted):
                await attempt()
            assert len(await audited.looks()) == before


def test_a_person_without_an_audit_role_is_no_reader() -> None:
    for roles in ((), ("approver",), ("partnership_approver",), ("partnership_",)):
        with pytest.raises(NotPermitted):
            make_reader(*roles)
    assert make_reader("auditor", "partnership_inspector") == Reader(
        "p.auditor1", None, make_reader("inspector").permissions
    )


async def test_saved_searches_are_ones_own(audited: Audited) -> None:
    reader, other = audited.reader, make_reader("auditor", person="p.other")
    await reader.save_view(CSC, " held today ", SearchFilter(state=("held",)))
    await reader.save_view(CSC, "held today", SearchFilter(state=("held",), event=("decided",)))
    assert [(v.name, v.search.event) for v in await reader.list_views(CSC)] == [("held today", ("decided",))]
    assert await reader.list_views(other) == []
    with pytest.raises(NotFound):
        await reader.delete_view(other, "held today")
    for name in ("", "  ", "x" * 61, "two\nlines"):
        with pytest.raises(MalformedMessage):
            await reader.save_view(CSC, name, SearchFilter())
    await reader.delete_view(CSC, "held today")
    assert await reader.list_views(CSC) == []


async def test_the_access_report_counts_each_persons_use_and_asks_about_what_is_unusual(audited: Audited) -> None:
    reader = replace(audited.reader, registry=SampleRegistry(["csc.marchshire"]))
    night = START.replace(hour=23)
    referral = audited.referrals[0].referral_id
    looks = [("show", referral)] * 10 + [("search", "event=decided")] * 3 + [("export_csv", "")]
    events = []
    for action, subject in looks:
        kind = "export" if action.startswith("export") else "audit_read"
        members = {"at": night.isoformat(), "by": "p.night", "action": action, "subject": subject}
        events.append((NewEvent.salted(kind, members), night))
    await log_events(audited.owner, events)
    await audited.projector.catch_up()
    report = await reader.access_report(EVERYTHING, since=START, until=START + timedelta(days=3))
    (own,) = [person for person in report.people if person.person == "p.night"]
    assert (own.reads, own.searches, own.exports, own.decisions, own.referrals) == (10, 3, 1, 0, 1)
    reviews = sum(1 for r in audited.referrals for e, at in r.events if e.kind == "review" and at < report.until)
    assert sum(person.decisions for person in report.people) == reviews
    unusual = {(u.rule, u.words) for u in report.unusual if u.person == "p.night"}
    assert unusual == {
        ("outside_hours", "14 times between 20:00 and 07:00."),
        ("same_referral", "Looked at one referral 10 times on one day."),
    }
    with pytest.raises(MalformedMessage):
        await reader.access_report(EVERYTHING, since=START, until=START + timedelta(days=32))


async def test_the_consoles_own_role_may_do_every_read(audited: Audited, database: str) -> None:
    await set_role_password(audited.owner, "safelane_console")
    pool = await open_pool(with_login(database, "safelane_console"), name="test-console", most=2)
    try:
        gate = AuditGate(pool, LogWriter(LOG_ORIGIN, generate_ed25519_jwk(KeyUse.LOG)), audited.reader.clock)
        reader = replace(audited.reader, pool=pool, gate=gate, registry=SampleRegistry(["csc.marchshire"]))
        referral = audited.referrals[0]
        assert (await reader.search(EVERYTHING, SearchFilter(agency="csc.marchshire"))).events
        assert (await reader.search(EVERYTHING, SearchFilter(token=referral.subjects[0][1][0]))).events
        assert (await reader.show(EVERYTHING, referral.deliveries[0][1])).messages
        assert await reader.decisions(EVERYTHING, referral.referral_id)
        assert b"".join([p async for p in await reader.export(EVERYTHING, SearchFilter(), ExportFormat.JSON_LINES)])
        assert (await reader.access_log(EVERYTHING, SearchFilter())).complete.position
        assert (await reader.access_report(EVERYTHING, since=START, until=START + timedelta(days=3))).people
        assert (await reader.overview(EVERYTHING)).log.newest_size
        assert await reader.agencies(EVERYTHING)
        assert await reader.checkpoints(EVERYTHING)
        assert await reader.consents(EVERYTHING) == await reader.quarantine(EVERYTHING) == []
        await reader.save_view(EVERYTHING, "all", SearchFilter())
        assert len(await reader.list_views(EVERYTHING)) == 1
    finally:
        await pool.close()
