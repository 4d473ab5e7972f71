"""Every page, found by itself: axe, 320 pixels, text at twice its size, no JavaScript, a screenshot on request, keyboard focus that can be seen."""

import re

import pytest

from broker.console.access import GRANTED, Capability
from broker.console.route_policy import RoutePolicy
from tests.support.browser import People, assert_accessible, assert_no_sideways_scroll, picture
from tests.support.console import ConsoleSite
from tests.support.console_paths import fill_path, list_pages

PAGES = list_pages()


def describe(policy: RoutePolicy) -> str:
    return policy.path


def choose_person(console: ConsoleSite, capability: Capability | None) -> str | None:
    """Return who may see a page, the first of the four roles that can; none for a public page."""
    if capability is None:
        return None
    names = ("auditor", "ig-officer", "operator", "inspector")
    return next(
        name
        for name in names
        if capability is Capability.OWN_ACCOUNT or capability in GRANTED[console.people[name].role]
    )


@pytest.mark.parametrize("policy", PAGES, ids=describe)
def test_page_is_accessible_narrow_and_without_scripts(
    policy: RoutePolicy, people: People, console: ConsoleSite
) -> None:
    name = choose_person(console, policy.capability)
    path = fill_path(policy, console)
    page = people.signed_in(name) if name else people.stranger()
    answer = page.goto(path)
    assert answer is not None
    assert answer.status == 200, f"{path}: {answer.status}"
    heading = page.get_by_role("heading", level=1)
    assert heading.count() == 1
    assert page.title().endswith("– Safelane")
    assert_accessible(page)
    picture(page, re.sub(r"[^a-z0-9]+", "-", policy.path.lower()).strip("-") or "home")
    page.set_viewport_size({"width": 320, "height": 640})
    assert_no_sideways_scroll(page)
    assert_accessible(page)
    plain = people.signed_in(name, scripts=False) if name else people.stranger(scripts=False)
    plain.goto(path)
    assert plain.get_by_role("heading", level=1).count() == 1


def test_keyboard_alone_reaches_everything_on_the_first_page(people: People) -> None:
    page = people.signed_in("operator")
    page.goto("/users")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent.trim()") == "Skip to main content"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main-content"
    seen: list[str] = []
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
        seen.append(page.evaluate("document.activeElement.textContent.trim()"))
    assert "Add somebody" in seen
    page.get_by_role("button", name="Add somebody").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Add somebody").wait_for()
    page.get_by_label("Full name").focus()
    page.keyboard.type("Key Board")
    page.keyboard.press("Tab")
    page.keyboard.type("key.board")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.get_by_role("button", name="Add and make a one-time link").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="One-time link for Key Board").wait_for()


def test_errors_are_summarised_first_and_lead_to_their_fields(people: People) -> None:
    page = people.signed_in("operator")
    page.goto("/users/add")
    page.get_by_role("button", name="Add and make a one-time link").click()
    summary = page.get_by_role("alert")
    summary.wait_for()
    assert page.title().startswith("Error: ")
    assert_accessible(page)
    summary.get_by_role("link", name="Enter a user name").click()
    assert page.evaluate("document.activeElement.id") == "name"


@pytest.mark.parametrize(
    ("path", "status", "heading"),
    [
        ("/no-such-page", 404, "Page not found"),
        ("/users/not-an-id", 404, "Page not found"),
        ("/users/00000000-0000-4000-8000-000000000000", 404, "Page not found"),
        ("/users/add", 403, "You cannot do this"),
        ("/join/spent", 404, "This link no longer works"),
    ],
)
def test_problem_pages_are_plain_and_accessible(path: str, status: int, heading: str, people: People) -> None:
    page = people.signed_in("auditor")
    answer = page.goto(path)
    assert answer is not None
    assert answer.status == status
    page.get_by_role("heading", name=heading).wait_for()
    assert_accessible(page)
