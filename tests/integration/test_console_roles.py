"""The role matrix: every route with every role and with none, against what its policy declares. Nothing is listed by hand, so nothing is forgotten."""

import re

import httpx
import pytest

from broker.console.access import GRANTED, Capability
from broker.console.app import list_policies
from broker.console.route_policy import RoutePolicy
from tests.support.console import AGENCY, ConsoleSite
from tests.support.console_paths import SKIPPED, fill_path

POLICIES = [policy for policy in list_policies() if policy.path not in SKIPPED]
NAMES = ("auditor", "ig-officer", "operator", "inspector", "agency-auditor")
NOT_YOURS = "Your role does not include this"
OUT_OF_DATE = "This page was out of date"


def describe(policy: RoutePolicy) -> str:
    return f"{policy.method} {policy.path}"


def may(console: ConsoleSite, name: str, capability: Capability) -> bool:
    return capability is Capability.OWN_ACCOUNT or capability in GRANTED[console.people[name].role]


@pytest.mark.parametrize("policy", POLICIES, ids=describe)
def test_route_admits_exactly_the_roles_that_its_capability_names(policy: RoutePolicy, console: ConsoleSite) -> None:
    console.forget_attempts()
    path = fill_path(policy, console)
    with console.client() as nobody:
        answer = nobody.request(policy.method, path, data={"x": "1"} if policy.method == "POST" else None)
        if policy.capability is None:
            assert NOT_YOURS not in answer.text
            assert answer.status_code in ({200, 303, 403, 404} if policy.method == "GET" else {403}), answer.text
            return
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/sign-in")
    for name in NAMES:
        path = fill_path(policy, console)
        before = console.log_size()
        with console.client(console.people[name]) as client:
            if not may(console, name, policy.capability):
                for answer in (client.request(policy.method, path), console_request(console, client, policy, path)):
                    assert answer.status_code == 403, f"{name}: {answer.status_code}"
                    assert NOT_YOURS in answer.text
                denied = console.events("console_denied", before)
                assert [event["action"] for event in denied] == [describe(policy)] * 2
                assert not console.events("audit_read", before)
                continue
            if policy.method == "POST":
                answer = client.post(path, data={"form_token": "0" * 64})
                assert answer.status_code == 403
                assert OUT_OF_DATE in answer.text
            answer = console_request(console, client, policy, path)
            # Admitted: what is refused now is the empty form, or the person's own account, for a reason that the page names.
            assert NOT_YOURS not in answer.text
            assert answer.status_code not in {405, 500, 503}, f"{name}: {answer.status_code}"
            assert not console.events("console_denied", before)
            assert not answer.headers.get("location", "").startswith("/sign-in")
            reads = [event["action"] for event in console.events("audit_read", before)]
            assert reads == ([policy.action] if policy.method == "GET" else [])


def console_request(console: ConsoleSite, client: httpx.Client, policy: RoutePolicy, path: str) -> httpx.Response:
    return console.post(client, path) if policy.method == "POST" else client.get(path)


@pytest.mark.parametrize("policy", [p for p in POLICIES if p.confirmed], ids=describe)
def test_what_needs_confirmation_asks_for_it(policy: RoutePolicy, console: ConsoleSite) -> None:
    assert policy.capability is not None
    (name,) = [n for n in NAMES if may(console, n, policy.capability)][:1]
    path = fill_path(policy, console)
    with console.client(console.people[name], confirmed=False) as client:
        answer = console_request(console, client, policy, path)
    assert answer.status_code == 303
    assert re.match(r"/account/confirm\?next=", answer.headers["location"])


def test_somebody_of_one_agency_has_no_role_of_the_partnership(console: ConsoleSite) -> None:
    assert console.people["agency-auditor"].agency == AGENCY
    with console.client(console.people["operator"]) as client:
        fields = {"name": "wide.eyed", "display_name": "Wide Eyed", "agency": AGENCY}
        answer = console.post(client, "/users/add", roles="operator", **fields)
        assert answer.status_code == 422
        assert "belongs to the partnership" in answer.text
        assert console.post(client, "/users/add", roles="auditor", **fields).status_code == 200
        answer = console.post(client, "/users/add", roles="auditor", **fields | {"agency": "csc.elsewhere"})
        assert "Choose an agency from the list" in answer.text
