"""Every route says who may use it, every page what is logged before it is shown; nothing comes in another way."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Response

from broker.console.access import CONFIRMED, GRANTED, PARTNERSHIP_ONLY, Capability, Role, list_capabilities
from broker.console.addresses import choose_next
from broker.console.app import list_policies, require_policies
from broker.console.pages import PAGES
from broker.console.routing import Pages

POLICIES = list_policies()
PUBLIC = {policy.path for policy in POLICIES if policy.capability is None}
TEMPLATES = Path(__file__).parents[4] / "broker" / "console" / "templates"


def test_every_page_names_its_read_event_and_every_form_needs_a_session() -> None:
    pages = [policy for policy in POLICIES if policy.method == "GET" and policy.path not in PUBLIC]
    assert len(pages) >= 3
    assert all(policy.action for policy in pages)
    assert not [policy.path for policy in POLICIES if policy.method == "POST" and policy.action]


def test_what_needs_no_session_is_sign_in_static_health_and_notes() -> None:
    assert {path.split("/")[1] for path in PUBLIC} == {
        "about", "healthz", "join", "readyz", "sign-in", "signed-out", "static",
    }  # fmt: skip


def test_no_two_routes_share_method_and_path() -> None:
    keys = [(policy.method, policy.path) for policy in POLICIES]
    assert len(keys) == len(set(keys))


def test_a_capability_that_needs_confirmation_cannot_be_had_without() -> None:
    for policy in POLICIES:
        if policy.capability in CONFIRMED:
            assert policy.confirmed, policy.path


def test_every_capability_but_ones_own_belongs_to_a_role_and_no_role_has_all() -> None:
    granted = frozenset().union(*GRANTED.values())
    assert granted == set(Capability) - {Capability.OWN_ACCOUNT}
    assert all(list_capabilities([role]) < granted | {Capability.OWN_ACCOUNT} for role in Role)
    assert Role.OPERATOR in PARTNERSHIP_ONLY
    assert Capability.DECIDE_REVIEWS not in list_capabilities([Role.AUDITOR, Role.OPERATOR, Role.INSPECTOR])


async def answer() -> Response:
    return Response()


def test_a_route_that_comes_in_another_way_stops_the_start() -> None:
    app: Any = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    group = Pages("test")
    group.read("/logged", capability=Capability.READ_OVERVIEW, action="something")(answer)
    app.router.routes.extend(group.router.routes)
    require_policies(app, group.policies)
    app.add_api_route("/forgotten", answer)
    with pytest.raises(RuntimeError, match="/forgotten"):
        require_policies(app, group.policies)


def test_a_page_without_a_read_event_stops_the_start() -> None:
    app: Any = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    group = Pages("test")
    group.read("/silent", capability=Capability.READ_OVERVIEW, action="")(answer)
    app.router.routes.extend(group.router.routes)
    with pytest.raises(RuntimeError, match="/silent"):
        require_policies(app, group.policies)


def test_navigation_leads_to_pages_that_are_there() -> None:
    pages = {(policy.path, policy.capability) for policy in POLICIES if policy.method == "GET"}
    for group in PAGES:
        if group.navigation is not None:
            assert (group.navigation.path, group.navigation.capability) in pages


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_templates_have_no_inline_script_or_style_and_a_token_in_every_form(path: Path) -> None:
    text = path.read_text()
    assert "style=" not in text
    assert "<style" not in text
    assert " onclick" not in text
    assert all(" src=" in part.split(">")[0] for part in text.split("<script")[1:])
    posts = text.count('method="post"')
    assert text.count("{{ form_token(") == posts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/overview?x=1", "/overview?x=1"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
        ("/a\\b", "/"),
        ("/a\nb", "/"),
        ("", "/"),
        ("/" + "a" * 400, "/"),
    ],
)
def test_where_to_go_next_is_a_page_of_ours(text: str, expected: str) -> None:
    assert choose_next(text) == expected
