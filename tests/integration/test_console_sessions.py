"""Sessions, forms, limits and headers, against the running console without a browser."""

import re
from datetime import timedelta

import pytest

from broker.console.access import Role
from tests.support.console import ConsoleSite, run_users_command

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
COOKIE = re.compile(r"__Host-safelane-session=([^;]+); HttpOnly; Path=/; SameSite=strict; Secure", re.IGNORECASE)


def read_token(text: str) -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', text)
    assert found
    return found[1]


def sign_in(
    console: ConsoleSite, name: str, password: str | None = None, code: str | None = None
) -> tuple[object, str]:
    """Go through the two steps; return the last answer and the session's cookie, or an empty text."""
    person = console.people[name]
    console.free_codes(person)
    with console.client() as client:
        token = read_token(client.get("/sign-in").text)
        first = client.post(
            "/sign-in", data={"form_token": token, "name": name, "password": password or person.password}
        )
        if first.status_code != 303:
            return first, ""
        second = client.post(
            "/sign-in/code", data={"form_token": token, "next": "/account", "code": code or person.code()}
        )
        found = COOKIE.search(" ".join(second.headers.get_list("set-cookie")))
        return second, found[1] if found else ""


def test_signing_in_sets_a_strict_cookie_under_a_new_secret_each_time(console: ConsoleSite) -> None:
    console.forget_attempts()
    _, first = sign_in(console, "auditor")
    _, second = sign_in(console, "auditor")
    assert first
    assert second
    assert first != second
    stored = console.fetch("SELECT secret_sha256 FROM console_sessions")
    assert all(first.encode() not in bytes(row["secret_sha256"]) for row in stored)


def test_wrong_name_wrong_password_and_disabled_account_look_the_same(console: ConsoleSite) -> None:
    console.forget_attempts()
    console.add_person("gone", Role.AUDITOR)
    assert run_users_command(console, "disable", "gone").returncode == 0
    texts = set()
    with console.client() as client:
        token = read_token(client.get("/sign-in").text)
        for name, password in (
            ("nobody-at-all", "wrong password"),
            ("auditor", "wrong password"),
            ("gone", console.people["gone"].password),
        ):
            answer = client.post("/sign-in", data={"form_token": token, "name": name, "password": password})
            assert answer.status_code == 422
            texts.add(re.sub(r'value="[^"]*"', "", answer.text))
    assert len(texts) == 1


def test_failures_slow_an_account_down_whether_it_exists_or_not(console: ConsoleSite) -> None:
    for name in ("auditor", "nobody-at-all"):
        console.forget_attempts()
        before = console.log_size()
        with console.client() as client:
            token = read_token(client.get("/sign-in").text)
            answers = [
                client.post("/sign-in", data={"form_token": token, "name": name, "password": "wrong password"})
                for _ in range(6)
            ]
        assert [answer.status_code for answer in answers] == [422] * 5 + [429]
        assert "Try again in 1 minute." in answers[-1].text
        outcomes = [event["outcome"] for event in console.events("console_login", before)]
        assert outcomes == ["failed_password"] * 4 + ["failed_password_locked_out"]
    console.forget_attempts()


def test_a_code_works_once(console: ConsoleSite) -> None:
    console.forget_attempts()
    person = console.people["auditor"]
    code = person.code()
    _, first = sign_in(console, "auditor", code=code)
    assert first
    with console.client() as client:
        token = read_token(client.get("/sign-in").text)
        client.post("/sign-in", data={"form_token": token, "name": "auditor", "password": person.password})
        answer = client.post("/sign-in/code", data={"form_token": token, "code": code})
        assert answer.status_code == 422
        assert "was used before" in answer.text
        answer = client.post("/sign-in/code", data={"form_token": token, "code": "000000"})
        assert answer.status_code == 422


def test_a_copied_visit_cannot_begin_a_second_session(console: ConsoleSite) -> None:
    console.forget_attempts()
    person = console.people["auditor"]
    console.free_codes(person)
    with console.client() as client:
        token = read_token(client.get("/sign-in").text)
        client.post("/sign-in", data={"form_token": token, "name": "auditor", "password": person.password})
        copied = dict(client.cookies)
        assert client.post("/sign-in/code", data={"form_token": token, "code": person.code()}).status_code == 303
    console.free_codes(person)
    with console.client() as thief:
        thief.cookies.update(copied)
        answer = thief.post("/sign-in/code", data={"form_token": token, "code": person.code()})
        assert answer.status_code == 403


def test_roles_count_from_the_next_request_and_a_disabled_account_is_out(console: ConsoleSite) -> None:
    person = console.add_person("changing", Role.AUDITOR)
    with console.client(person) as client:
        assert client.get("/users").status_code == 200
        assert run_users_command(console, "roles", "changing", "--role", "ig_officer").returncode == 0
        assert client.get("/users").status_code == 403
        assert client.get("/overview").status_code == 200
        assert run_users_command(console, "disable", "changing").returncode == 0
        assert client.get("/overview").headers["location"].startswith("/sign-in")
    actions = [event["action"] for event in console.events("console_user") if event["user"] == str(person.user_id)]
    assert actions == ["roles_changed", "disabled"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE console_sessions SET seen_at = seen_at - interval '31 minutes' WHERE user_id = $1",
        "UPDATE console_sessions SET expires_at = now() WHERE user_id = $1",
        "UPDATE console_sessions SET ended_at = now() WHERE user_id = $1",
        "UPDATE console_users SET expires_at = now() WHERE user_id = $1",
    ],
    ids=["idle", "too old", "ended", "account over"],
)
def test_a_session_that_is_over_asks_to_sign_in(change: str, console: ConsoleSite) -> None:
    person = console.add_person(f"over-{abs(hash(change)) % 10**6}", Role.INSPECTOR, days=2)
    with console.client(person) as client:
        shown = client.get("/account")
        assert shown.status_code == 200
        assert "Your access ends" in shown.text
        console.execute(change, person.user_id)
        assert client.get("/account").headers["location"] == "/sign-in?next=%2Faccount"


def test_an_inspectors_session_ends_with_the_account(console: ConsoleSite) -> None:
    person = console.add_person("brief", Role.INSPECTOR, days=1)
    console.execute(
        "UPDATE console_users SET expires_at = now() + interval '1 hour' WHERE user_id = $1", person.user_id
    )
    console.new_session(person)
    ends = console.value("SELECT expires_at - created_at FROM console_sessions WHERE user_id = $1", person.user_id)
    assert ends <= timedelta(hours=1)


def test_a_form_of_another_session_changes_nothing(console: ConsoleSite) -> None:
    operator = console.people["operator"]
    with console.client(operator) as old, console.client(operator) as new:
        token = read_token(old.get("/users/add").text)
        fields = {"form_token": token, "name": "two.tabs", "display_name": "Two Tabs", "roles": "auditor"}
        answer = new.post("/users/add", data=fields)
        assert answer.status_code == 403
        assert "signed in or out in another tab" in answer.text
        assert console.value("SELECT count(*) FROM console_users WHERE name = 'two.tabs'") == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://localhost", "Sec-Fetch-Site": "same-site"},
        {"Origin": "", "Sec-Fetch-Site": ""},
    ],
    ids=str,
)
def test_a_form_from_elsewhere_is_refused_with_the_right_token_too(
    headers: dict[str, str], console: ConsoleSite
) -> None:
    with console.client(console.people["operator"]) as client:
        client.headers.update(headers)
        assert console.post(client, "/account/sessions/end-others").status_code == 403


def test_other_sessions_can_be_ended_and_signing_out_ends_ones_own(console: ConsoleSite) -> None:
    person = console.add_person("many", Role.AUDITOR)
    with console.client(person) as here, console.client(person) as there:
        assert console.post(here, "/account/sessions/end-others").status_code == 303
        assert "You are signed in here only." in here.get("/account").text
        assert "You are signed in here only." not in here.get("/account").text
        assert there.get("/account").status_code == 303
        assert console.post(here, "/sign-out").status_code == 303
    console.new_session(person)
    for _ in range(7):
        console.new_session(person)
    assert (
        console.value("SELECT count(*) FROM console_sessions WHERE user_id = $1 AND ended_at IS NULL", person.user_id)
        == 5
    )


def test_every_answer_carries_the_security_headers(console: ConsoleSite) -> None:
    with console.client(console.people["auditor"]) as client:
        for path in ("/overview", "/nothing-here", "/healthz"):
            headers = client.get(path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["cache-control"] == "no-store"
            assert headers["cross-origin-opener-policy"] == "same-origin"
            assert headers["strict-transport-security"].startswith("max-age=31536000")
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            assert "server" not in headers
        style = re.search(r'href="(/static/[0-9a-f]{16}/safelane.css)"', client.get("/overview").text)
        assert style
        assert "immutable" in client.get(style[1]).headers["cache-control"]
        assert client.get("/static/0000000000000000/safelane.css").status_code == 404


def test_another_host_and_what_is_too_large_go_no_further(console: ConsoleSite) -> None:
    with console.client(console.people["operator"]) as client:
        assert client.get("/overview", headers={"Host": "evil.example"}).status_code == 421
        assert client.post("/users/add", content=b"x" * 200_000).status_code == 413
        assert client.post("/users/add", content=iter([b"x" * 100_000] * 2), headers=FORM).status_code == 413
        assert client.get("/overview?x=" + "y" * 5000).status_code == 414
        assert client.request("DELETE", "/overview").status_code == 405
        assert client.get("/readyz").json() == {"ready": True}
        answer = client.post("/users/add", json={"name": "x"})
        assert answer.status_code == 400


def test_nothing_is_shown_while_the_log_cannot_be_written(console: ConsoleSite) -> None:
    with console.client(console.people["auditor"]) as client:
        console.execute("REVOKE INSERT ON log_entries FROM safelane_console")
        try:
            answer = client.get("/overview")
            assert answer.status_code == 503
            assert "could not be recorded in the message log" in answer.text
            assert "held deliveries" not in answer.text
            assert client.get("/readyz").status_code == 503
        finally:
            console.execute("GRANT INSERT ON log_entries TO safelane_console")
        assert client.get("/overview").status_code == 200
