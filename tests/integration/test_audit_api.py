"""``/v1/audit``: people with their own keys, within their roles; pages that link to the next; problems; a bound on how fast one person asks."""

import csv
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import httpx
import pytest

from broker.api.rate import BURST
from deploy.authority.people import Approver
from deploy.authority.signing import read_trust
from deploy.evidence.event_checking import ProofsChecker
from deploy.evidence.verdict import Verdict
from schemas.directory import HubKeys, Person
from schemas.event_proofs import split_proofs
from schemas.jose import sign_jwt
from schemas.merkle import RightEdge
from schemas.tiles import TILE_WIDTH
from tests.support.authority import AgencyKit
from tests.support.hub_api import HUB_URL, LOG_ORIGIN, HubApi, open_hub_api
from tests.support.logged_referrals import START, County, LoggedReferral, store_referrals
from tests.support.reviewing import make_approver

CSC, POLICE = "csc.marchshire", "police.marchshire"
PEOPLE = {
    "all.auditor": (POLICE, ("partnership_auditor",)),
    "csc.auditor": (CSC, ("auditor",)),
    "police.officer": (POLICE, ("ig_officer",)),
    "inspector": (POLICE, ("partnership_inspector",)),
    "operator": (POLICE, ("partnership_operator",)),
    "approver": (CSC, ("approver",)),
}
ROUTES = {
    "/v1/audit/events": "search",
    "/v1/audit/export": "export",
    "/v1/audit/access": "access",
    "/v1/audit/access/report?since=2026-01-01T00:00:00Z&until=2026-01-20T00:00:00Z": "access",
    "/v1/audit/overview": "overview",
    "/v1/audit/consents": "registers",
    "/v1/audit/quarantine?state=all": "registers",
    "/v1/audit/agencies": "registers",
    "/v1/audit/agreements": "registers",
    "/v1/audit/policies": "registers",
    "/v1/audit/checkpoints": "registers",
    "/v1/audit/views": "search",
    "/v1/audit/reports": "reports",
    "/v1/audit/reports/clocks?from=2026-01-01&to=2026-01-31": "reports",
    "/v1/audit/reports/clocks/clocks.csv?from=2026-01-01&to=2026-01-31": "reports",
    "/v1/audit/reports/clocks/clocks.svg?from=2026-01-01&to=2026-01-31": "reports",
}
MAY = {
    "all.auditor": {"search", "export", "access", "overview", "registers", "reports"},
    "csc.auditor": {"search", "export", "access", "overview", "registers"},
    "police.officer": {"search", "export", "access", "overview", "registers"},
    "inspector": {"overview", "reports"},
    "operator": {"overview", "registers"},
    "approver": set(),
}


class AuditDesk:
    """The API with people in its directory and a county in its log."""

    def __init__(self, hub: HubApi, people: dict[str, Approver], referrals: list[LoggedReferral]) -> None:
        self.hub, self.people, self.referrals = hub, people, referrals

    async def get(self, path: str, person: str, method: str = "GET", **rest: Any) -> httpx.Response:
        who = self.people[person]
        token = sign_jwt(
            f"person:{who.id}",
            HUB_URL,
            who.api_jwk,
            jti=token_urlsafe(18),
            now=datetime.now(UTC),
            lifetime=timedelta(minutes=2),
        )
        return await self.hub.call(method, path, token=token, **rest)

    async def count_looks(self) -> int:
        return int(
            await self.hub.owner.fetchval("SELECT count(*) FROM log_entries WHERE kind IN ('audit_read', 'export')")
        )


@pytest.fixture
async def desk(database: str, tmp_path: Path) -> AsyncIterator[AuditDesk]:
    opened: dict[str, Approver] = {}
    entries: list[Person] = []
    for name, (agency, roles) in PEOPLE.items():
        opened[name], entry = make_approver(tmp_path / "people", name, agency, roles)
        entries.append(entry)
    async with open_hub_api(database, tmp_path / "hub") as hub:
        log = HubKeys(log_origin=LOG_ORIGIN, log_verifier=hub.context.log.verifier)
        hub.authority.change(people=tuple(entries), hub=log)
        await hub.enrol(AgencyKit.make(CSC), AgencyKit.make(POLICE))
        referrals = list(County().referrals(60))
        await store_referrals(hub.owner, referrals)
        await store_tiles(hub)
        await hub.context.projector.catch_up()
        yield AuditDesk(hub, opened, referrals)


async def store_tiles(hub: HubApi) -> None:
    """Store the full tiles of a county's entries, so that they can be proved."""
    rows = await hub.owner.fetch("SELECT leaf_hash FROM log_entries ORDER BY position")
    for number in range(len(rows) // TILE_WIDTH):
        leaves = [row["leaf_hash"] for row in rows[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]]
        root = RightEdge().append(leaves).after.root()
        await hub.owner.execute("INSERT INTO log_tiles VALUES (0, $1, $2, $3)", number, b"".join(leaves), root)


async def test_each_route_with_each_role_and_with_none(desk: AuditDesk) -> None:
    kit = AgencyKit.make("school.oakfield")
    await desk.hub.enrol(kit)
    for path, part in ROUTES.items():
        assert (await desk.hub.call("GET", path)).status_code == 401
        assert (await desk.hub.call("GET", path, kit)).status_code == 403, "an agency's system is no person"
        for person, allowed in MAY.items():
            desk.hub.context.audit_rate._left.clear()
            before = await desk.count_looks()
            response = await desk.get(path, person)
            expected = 200 if part in allowed else 403
            assert response.status_code == expected, (path, person, response.text)
            # A look at the overview within a quarter of an hour of the last, and at one's own saved searches, is no new event.
            if expected == 200 and "/views" not in path:
                assert await desk.count_looks() == before + 1, path
            else:
                assert await desk.count_looks() == before
            if expected == 403:
                assert response.headers["content-type"] == "application/problem+json"


async def test_pages_link_to_the_next_until_the_end(desk: AuditDesk) -> None:
    expected = sum(len(r.events) for r in desk.referrals)
    since = (START - timedelta(days=1)).isoformat()
    following: str | None = (
        f"/v1/audit/events?limit=70&event=accepted&event=decided&event=receipt&event=review&event=clock&since={since.replace('+', '%2B')}"
    )
    positions: list[int] = []
    while following:
        response = await desk.get(following, "all.auditor")
        assert response.status_code == 200, response.text
        body = response.json()
        positions += [event["position"] for event in body["events"]]
        link = response.links.get("next")
        assert (link is not None) == ("next_cursor" in body)
        following = link["url"] if link else None
    assert len(positions) == len(set(positions)) == expected
    assert body["complete"]["position"] >= expected


async def test_a_referral_is_the_senders_whole_and_the_recipients_part(desk: AuditDesk) -> None:
    referral = next(
        r
        for r in desk.referrals
        if r.message[1] == POLICE and any(d[3] == CSC and d[6] == "delivered" for d in r.deliveries)
    )
    path = f"/v1/audit/referrals/{referral.referral_id}"
    whole = (await desk.get(path, "police.officer")).json()
    part = (await desk.get(path, "csc.auditor")).json()
    assert whole["whole"] is True
    assert part["whole"] is False
    assert {d["recipient"] for m in part["messages"] for d in m["deliveries"]} == {CSC}
    assert "C10" in json.dumps(whole)
    assert "C10" not in json.dumps(part)
    missing = await desk.get("/v1/audit/referrals/ref-not-there-at-all", "csc.auditor")
    other = next(r for r in desk.referrals if CSC not in {r.message[1], *(d[3] for d in r.deliveries)})
    hidden = await desk.get(f"/v1/audit/referrals/{other.referral_id}", "csc.auditor")
    assert (hidden.status_code, hidden.content) == (missing.status_code, missing.content) == (404, missing.content)


async def test_exports_are_files_that_no_spreadsheet_runs(desk: AuditDesk) -> None:
    response = await desk.get("/v1/audit/export?event=decided", "all.auditor")
    assert response.headers["content-type"].startswith("text/csv")
    assert response.headers["content-disposition"].startswith("attachment")
    assert response.headers["cache-control"] == "no-store"
    rows = list(csv.DictReader(response.text.splitlines()))
    assert len(rows) == sum(1 for r in desk.referrals for event, _ in r.events if event.kind == "decided")
    lines = await desk.get("/v1/audit/export?event=decided&format=jsonl", "all.auditor")
    assert [json.loads(line)["position"] for line in lines.text.splitlines()] == [int(row["position"]) for row in rows]


def verify_proofs(desk: AuditDesk, file: bytes) -> Verdict:
    trust = read_trust(desk.hub.authority.folder / "trust.json")
    return ProofsChecker(split_proofs(file), trust.authority_keys()).check()


async def test_events_are_taken_outside_with_their_bytes_and_verified_there(desk: AuditDesk) -> None:
    sent = next(r for r in desk.referrals if r.message[1] == POLICE and any(d[3] == CSC for d in r.deliveries))
    asked = f"id={sent.referral_id}"
    found = (await desk.get(f"/v1/audit/events?{asked}", "all.auditor")).json()["events"]
    before = await desk.count_looks()
    response = await desk.get(f"/v1/audit/proofs?{asked}", "police.officer")
    assert response.status_code == 200, response.text
    assert response.headers["content-disposition"].startswith("attachment")
    assert await desk.count_looks() == before + 1
    newest = "SELECT event FROM log_payloads JOIN log_entries USING (event_id) ORDER BY position DESC LIMIT 1"
    told = json.loads(await desk.hub.owner.fetchval(newest))
    assert (told["event"], told["action"], told["subject"]) == ("export", "export_proofs", asked)
    held = response.json()
    assert {event["position"] for event in held["events"]} == {event["position"] for event in found}
    verdict = verify_proofs(desk, response.content)
    assert (verdict.broken, verdict.open) == ([], ["that witnesses saw this log: the directory names no witnesses"])

    position = found[0]["position"]
    one = (await desk.get(f"/v1/audit/proofs/{position}", "all.auditor")).content
    assert any(line.startswith(f'event {position}: {{"') for line in verify_proofs(desk, one).proved)
    other = next(event for event in held["events"] if event["position"] != position)
    for change in (
        {"position": position + 1},
        {"kind": "consent"},
        {"salt": held["events"][0]["salt"][::-1]},
        {"event": other["event"], "salt": other["salt"]},
    ):
        events = json.loads(one)["events"]
        forged = json.dumps(json.loads(one) | {"events": [events[0] | change]}).encode()
        assert verify_proofs(desk, forged).exit_code == 4, change
    assert verify_proofs(desk, json.dumps(json.loads(one) | {"events": []}).encode()).exit_code == 4


async def test_proofs_are_for_whom_the_events_are_and_each_attempt_is_logged(desk: AuditDesk) -> None:
    sent = next(r for r in desk.referrals if r.message[1] == POLICE and any(d[3] == CSC for d in r.deliveries))
    position = (await desk.get(f"/v1/audit/events?id={sent.referral_id}", "all.auditor")).json()["events"][0][
        "position"
    ]
    paths = (f"/v1/audit/proofs?id={sent.referral_id}", f"/v1/audit/proofs/{position}")
    for path in paths:
        before = await desk.count_looks()
        assert (await desk.get(path, "csc.auditor")).status_code == 404, "it only received"
        assert await desk.count_looks() == before + 1
        for person in ("inspector", "operator", "approver"):
            assert (await desk.get(path, person)).status_code == 403
        assert (await desk.hub.call("GET", path)).status_code == 401
        assert await desk.count_looks() == before + 1
    for path, status in (("/v1/audit/proofs", 400), ("/v1/audit/proofs/99999999", 404), ("/v1/audit/proofs/-1", 400)):
        assert (await desk.get(path, "all.auditor")).status_code == status, path


async def test_saved_searches_over_http(desk: AuditDesk) -> None:
    saved = await desk.get("/v1/audit/views/Held today", "csc.auditor", "PUT", json={"state": ["held"]})
    assert saved.status_code == 200, saved.text
    views = (await desk.get("/v1/audit/views", "csc.auditor")).json()["views"]
    assert [(view["name"], view["search"]) for view in views] == [("Held today", {"state": ["held"]})]
    assert (await desk.get("/v1/audit/views", "all.auditor")).json()["views"] == []
    assert (await desk.get("/v1/audit/views/Held today", "all.auditor", "DELETE")).status_code == 404
    assert (await desk.get("/v1/audit/views/Held today", "csc.auditor", "DELETE")).status_code == 200


BAD_QUERIES = (
    "limit=0",
    "limit=101",
    "limit=x",
    "cursor=rubbish",
    "cursor=" + "e" * 401,
    "agency=Jane Roe",
    "unknown=1",
    "since=yesterday",
    "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z",
    "&".join("event=e" for _ in range(13)),
    "id=" + "x" * 101,
    "format=xlsx",
)


async def test_questions_that_are_not_of_their_form_are_refused_and_not_repeated(desk: AuditDesk) -> None:
    before = await desk.count_looks()
    for query in BAD_QUERIES:
        for route in ("events", "access", "export"):
            desk.hub.context.audit_rate._left.clear()
            response = await desk.get(f"/v1/audit/{route}?{query}", "all.auditor")
            assert response.status_code == 400, (route, query, response.text)
            assert "Roe" not in response.text
    assert await desk.count_looks() == before


async def test_nobody_asks_faster_than_people_read(desk: AuditDesk) -> None:
    answers = [await desk.get("/v1/audit/views", "csc.auditor") for _ in range(3 * BURST)]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused
    assert {(a.status_code, a.json()["code"]) for a in refused} == {(429, "too-many-requests")}
    assert refused[0].headers["retry-after"]
    assert (await desk.get("/v1/audit/views", "all.auditor")).status_code == 200


async def test_a_revoked_right_to_log_shows_nothing(desk: AuditDesk) -> None:
    await desk.hub.owner.execute("REVOKE INSERT ON log_payloads FROM safelane_api")
    for path in ROUTES:
        if "/views" not in path:
            response = await desk.get(path, "all.auditor")
            assert response.status_code == 503, path
            assert set(response.json()) <= {"type", "title", "status", "code", "detail", "retryable", "field"}


async def test_reports_are_the_same_as_json_csv_and_svg(desk: AuditDesk) -> None:
    query = "from=2026-01-01&to=2026-01-31"
    listed = (await desk.get("/v1/audit/reports", "inspector")).json()["reports"]
    assert [report["number"] for report in listed] == list(range(1, 21))
    report = (await desk.get(f"/v1/audit/reports/undelivered?{query}&hours=1", "inspector")).json()
    assert report["asked"] == {"from": "2026-01-01", "to": "2026-01-31", "hours": "1"}
    table = next(table for table in report["tables"] if table["name"] == "reached")
    file = (await desk.get(f"/v1/audit/reports/undelivered/reached.csv?{query}&hours=1", "inspector")).text
    rows = [[cell["text"] for cell in row] for row in table["rows"]]
    assert list(csv.reader(file.splitlines()))[1:] == rows
    assert len(rows) > 1
    plot = await desk.get(f"/v1/audit/reports/undelivered/reached.svg?{query}", "inspector")
    assert plot.headers["content-type"].startswith("image/svg+xml")
    assert plot.text.startswith("<svg")
    assert (await desk.get("/v1/audit/reports/undelivered?from=yesterday", "inspector")).status_code == 400
    assert (await desk.get("/v1/audit/reports/nothing", "inspector")).status_code == 404
    assert (await desk.get(f"/v1/audit/reports/clocks/nothing.csv?{query}", "inspector")).status_code == 404
