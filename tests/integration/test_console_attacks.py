"""What an attacker with an account tries in the console: other agencies' pages, ids that are no ids, scripts in names, foreign redirects."""

import re

import httpx
import pytest

from broker.console.access import Role
from broker.console.visits import SESSION_COOKIE
from tests.support.console import AGENCY, ConsoleSite
from tests.support.console_paths import find_hold

SCRIPT = "<script>alert(1)</script>"
DEEP = "[" * 30_000

ODD_PATHS = (
    "/consents/%00",
    "/consents/%ff%fe",
    "/consents/%ed%a0%80",
    "/referrals/%00",
    "/referrals/a%00b",
    "/referrals/..%2f..%2fetc%2fpasswd",
    "/referrals/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    f"/referrals/{'a' * 3000}",
    "/log/proofs/-1",
    "/log/proofs/99999999999999999999999",
    "/log/proofs/9223372036854775808",
    "/log/proofs/9223372036854775807",
    "/log/proofs/1e3",
    "/log/proofs/7/file/../../users",
    "/log-integrity?below=999999999999999999",
    "/log-integrity?below=0",
    "/agencies/%00",
    "/agencies/csc.marchshire%27--",
    "/agreements/%00",
    "/policies/%00",
    "/policies/zz",
    "/quarantine/%00",
    "/reports/%00",
    "/reports/clocks/%00.csv",
    "/reports/clocks?from=9999-12-31&to=9999-12-31",
    "/reports/clocks?area=%00",
    "/audit-samples/%00",
    "/reviews/00000000-0000-4000-8000-000000000000/%00",
    "/reviews?state=%00",
    "/log?id=%00",
    "/log?id=%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "/log?until-day=31&until-month=12&until-year=9999",
    "/log?since-day=1&since-month=1&since-year=1",
    "/log?token=%ff",
    "/log?cursor=AAAA",
    "/log?agency=%00",
    "/log/export.csv?until-day=31&until-month=12&until-year=9999",
    "/access?person=%00",
    "/static/../../../etc/passwd",
    "/static/0000000000000000/..%2f..%2fapp.py",
    "//evil.example/overview",
    "/overview/",
)


@pytest.mark.parametrize("name", ["auditor", "operator", "ig-officer", "agency-auditor"])
def test_odd_addresses_are_answered_in_plain_words_and_never_by_a_fault(name: str, console: ConsoleSite) -> None:
    faults: list[tuple[str, int]] = []
    with console.client(console.people[name]) as client:
        for path in ODD_PATHS:
            console.forget_attempts()
            answer = client.get(path)
            location = answer.headers.get("location", "/")
            assert location.startswith((console.url, "/")), path
            assert not location.startswith("//"), path
            assert SCRIPT not in answer.text, path
            assert "root:" not in answer.text, path
            if answer.status_code >= 500:
                faults.append((path, answer.status_code))
    assert not faults


def list_foreign(console: ConsoleSite) -> list[str]:
    """Return referrals in which the agency of the limited auditor has no part."""
    rows = console.fetch(
        "SELECT DISTINCT m.referral_id FROM messages m WHERE m.sender <> $1"
        " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = m.message_id AND d.recipient = $1) ORDER BY 1 LIMIT 5",
        AGENCY,
    )
    return [row["referral_id"] for row in rows]


def test_an_agencys_auditor_reads_nothing_of_other_agencies_by_any_page(console: ConsoleSite) -> None:
    foreign = list_foreign(console)
    assert foreign
    message = console.value("SELECT message_id::text FROM messages WHERE referral_id = $1 LIMIT 1", foreign[0])
    hold, delivery = find_hold(console, "message_id"), find_hold(console, "delivery_id")
    owner = console.value("SELECT owner FROM holds WHERE message_id = $1::uuid LIMIT 1", hold)
    with console.client(console.people["agency-auditor"]) as client:
        searches = [f"/log?id={foreign[0]}", f"/log/export.csv?id={foreign[0]}", "/log/export.csv?event=accepted"]
        pages = [f"/referrals/{foreign[0]}", f"/referrals/{message}", f"/referrals/{foreign[0]}/evidence.zip"]
        pages += ["/reports", "/reports/clocks", "/reports/clocks/clocks.csv", "/audit-samples"]
        for path in pages:
            console.forget_attempts()
            answer = client.get(path)
            assert answer.status_code in {403, 404}, path
            assert not any(found in answer.text for found in foreign[1:]), path
        for path in searches:
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert not any(f"/referrals/{found}" in answer.text for found in foreign), path
            assert ".csv" not in path or not any(found in answer.text for found in foreign), path
        people = client.get("/users").text
        assert "agency-auditor" in people
        assert "ig-officer" not in people
        other = console.people["ig-officer"].user_id
        assert client.get(f"/users/{other}").status_code == 404
        for path in ("/overview", "/reviews?state=all", "/consents", "/quarantine", "/access"):
            text = client.get(path).text
            assert not any(found in text for found in foreign), path
        if owner != AGENCY:
            assert client.get(f"/reviews/{hold}/{delivery}").status_code == 404


def test_names_that_people_type_are_shown_as_text(console: ConsoleSite) -> None:
    with console.client(console.people["auditor"]) as client:
        made = console.post(client, "/log/views", view_name=SCRIPT, event="accepted")
        assert made.status_code == 303
        text = client.get("/log?event=accepted").text
        assert SCRIPT not in text
        assert "&lt;script&gt;" in text
        assert console.post(client, "/log/views/delete", view_name=SCRIPT).status_code == 303
    with console.client(console.people["operator"]) as client:
        fields = {"name": "odd.name", "display_name": f'"><img src=x onerror=alert(1)>{SCRIPT}', "roles": "auditor"}
        answer = console.post(client, "/users/add", **fields)
        listed = client.get("/users").text
        for page in (answer.text, listed):
            assert SCRIPT not in page
            assert "<img src=x" not in page


@pytest.mark.parametrize(
    "aim",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/%5cevil.example",
        "javascript:alert(1)",
        "/\tevil",
        "http:evil.example",
        "/overview\r\nSet-Cookie: a=b",
        " //evil.example",
    ],
)
def test_nobody_is_sent_elsewhere_after_signing_in(aim: str, console: ConsoleSite) -> None:
    with console.client(console.people["auditor"]) as client:
        answer = client.get("/sign-in", params={"next": aim})
        assert answer.status_code == 303
        target = httpx.URL(console.url).join(answer.headers["location"])
        assert str(target).startswith(console.url + "/")
        assert "set-cookie" not in {name.lower() for name in answer.headers if "a=b" in answer.headers[name]}
    with console.client() as client:
        hidden = re.search(r'name="next" value="([^"]*)"', client.get("/sign-in", params={"next": aim}).text)
        assert hidden is not None
        assert str(httpx.URL(console.url).join(hidden[1])).startswith(console.url + "/")


@pytest.mark.parametrize("host", ["evil.example", "localhost", "localhost:1", "localhost@evil.example", ""])
def test_no_other_host_is_served_and_forwarding_headers_count_for_nothing(host: str, console: ConsoleSite) -> None:
    with console.client(console.people["auditor"]) as client:
        assert client.get("/overview", headers={"Host": host}).status_code in {400, 421}
        forwarded = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example", "X-Original-URL": "/users"}
        answer = client.get("/sign-in?next=/overview", headers=forwarded)
        assert "evil.example" not in answer.headers["location"]


@pytest.mark.parametrize("signed", [DEEP, "[1]", "NaN", '{"payload": 1}', '"\\ud800"', "{}", "é" * 20_000])
def test_rubbish_in_place_of_a_signed_decision_is_told_as_such(signed: str, console: ConsoleSite) -> None:
    hold, delivery = find_hold(console, "message_id"), find_hold(console, "delivery_id")
    digest = console.value("SELECT policy_digest FROM policy_packs LIMIT 1")
    with console.client(console.people["ig-officer"]) as client:
        for path in (f"/reviews/{hold}/{delivery}/hand-in", f"/policies/{digest}/hand-in"):
            answer = console.post(client, path, signed=signed)
            assert answer.status_code == 422, path
            assert "This is not what safelane review sign prints" in answer.text


def test_a_form_with_a_nul_is_refused(console: ConsoleSite) -> None:
    with console.client(console.people["operator"]) as client:
        fields = {"name": "nul.name", "display_name": "N\x00ul", "roles": "auditor"}
        assert console.post(client, "/users/add", **fields).status_code == 400
    with console.client() as client:
        token = re.search(r'name="form_token" value="([0-9a-f]{64})"', client.get("/sign-in").text)
        assert token is not None
        answer = client.post("/sign-in", data={"form_token": token[1], "name": "a\x00b", "password": "x"})
        assert answer.status_code == 400


def test_a_role_taken_away_takes_forms_away_that_are_open(console: ConsoleSite) -> None:
    person = console.add_person("demoted", Role.OPERATOR)
    with console.client(person) as client:
        assert client.get("/users/add").status_code == 200
        console.execute("UPDATE console_user_roles SET role = 'auditor' WHERE user_id = $1", person.user_id)
        fields = {"name": "late.comer", "display_name": "Late Comer", "roles": "operator"}
        assert console.post(client, "/users/add", **fields).status_code == 403
        assert console.value("SELECT count(*) FROM console_users WHERE name = 'late.comer'") == 0


def test_what_shows_every_agency_is_not_for_an_officer_of_one(console: ConsoleSite) -> None:
    person = console.add_person("officer-of-one", Role.IG_OFFICER, agency=AGENCY, person_id="ann")
    digest = console.value("SELECT policy_digest FROM policy_packs LIMIT 1")
    with console.client(person) as client:
        answer = console.post(client, f"/policies/{digest}/rehearse")
        assert answer.status_code == 403
        assert "only the partnership" in answer.text
        assert "/rehearse" not in client.get(f"/policies/{digest}").text
        asked = {"token": f"nhs|pepper-1|{'a' * 64}", "reason_code": "court_order"}
        for answer in (client.get("/chronology"), console.post(client, "/chronology", **asked)):
            assert answer.status_code == 403
        assert 'href="/chronology"' not in client.get("/policies").text


def test_a_kept_form_is_the_sessions_own_and_only_what_passed_every_other_check_is_kept(console: ConsoleSite) -> None:
    operator = console.people["operator"]
    kept = "SELECT count(*) FROM console_kept_forms"
    fields = {"name": "kept.form", "display_name": "Kept Form", "roles": "auditor"}
    with console.client(operator, confirmed=False) as mine, console.client(operator) as other:
        assert mine.post("/users/add", data={"form_token": "0" * 64, **fields}).status_code == 403
        cross = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        assert mine.post("/users/add", data=fields, headers=cross).status_code == 403
        assert console.value(kept) == 0
        assert console.post(mine, "/users/add", **fields).headers["location"].endswith("%2Faccount%2Fconfirm%2Fresume")
        sealed = console.value("SELECT sealed FROM console_kept_forms")
        assert b"Kept Form" not in bytes(sealed)
        assert other.get("/account/confirm/resume").headers["location"] == "/"
        assert console.value(kept) == 1
        # Handing it back is no way round the confirmation: it is asked for again, and what was kept is gone after ten minutes.
        page = mine.get("/account/confirm/resume").text
        assert "Kept Form" in page
        again = console.post(mine, "/users/add", **fields)
        assert again.headers["location"].startswith("/account/confirm")
        console.execute("UPDATE console_kept_forms SET kept_at = kept_at - interval '11 minutes'")
        assert mine.get("/account/confirm/resume").headers["location"] == "/"
    assert console.value("SELECT count(*) FROM console_users WHERE name = 'kept.form'") == 0


def test_a_code_that_signed_in_confirms_nothing_afterwards(console: ConsoleSite) -> None:
    person = console.add_person("replayer", Role.OPERATOR)
    code = person.code()
    with console.client(person, confirmed=False) as client:
        first = console.post(client, "/account/confirm", code=code, next="/users/add")
        assert (first.status_code, first.headers["location"]) == (303, "/users/add")
        renewed = first.cookies[SESSION_COOKIE]
        client.cookies.clear()
        client.cookies.set(SESSION_COOKIE, renewed)
        console.execute(
            "UPDATE console_sessions SET confirmed_at = confirmed_at - interval '1 day' WHERE user_id = $1",
            person.user_id,
        )
        again = console.post(client, "/account/confirm", code=code)
        assert again.status_code == 422
        assert "was used before" in again.text


def test_nobody_deletes_or_sees_anothers_saved_search(console: ConsoleSite) -> None:
    other = console.add_person("other-auditor", Role.AUDITOR)
    with console.client(console.people["auditor"]) as mine, console.client(other) as theirs:
        assert console.post(mine, "/log/views", view_name="Mine alone", event="accepted").status_code == 303
        assert "Mine alone" not in theirs.get("/log").text
        assert console.post(theirs, "/log/views/delete", view_name="Mine alone").status_code == 404
        assert "Mine alone" in mine.get("/log").text
        console.post(mine, "/log/views/delete", view_name="Mine alone")


def test_a_form_of_too_many_fields_is_refused_and_a_user_name_finds_what_its_owner_did(console: ConsoleSite) -> None:
    auditor = console.people["auditor"]
    with console.client(auditor) as client:
        fields = {f"f{number}": "x" for number in range(400)}
        assert console.post(client, "/log/views", view_name="Many", **fields).status_code == 400
        client.get("/referrals/ref-not-there-at-all")
        console.project()
        by_name, by_id = (client.get(f"/access/looks?person={who}").text for who in ("auditor", str(auditor.user_id)))
        assert f"Test {auditor.name}" in by_name
        assert by_name.count("<tr") == by_id.count("<tr") > 1
        exported = client.get("/log/export.csv?person=auditor").text
        assert str(auditor.user_id) in exported
    with console.client(console.people["agency-auditor"]) as client:
        assert f"Test {auditor.name}" not in client.get("/access/looks?person=auditor").text
