"""Signing in through a real OpenID Connect provider: linking by a one-time link, coming back, confirming anew, and what it refuses."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser import People, assert_accessible
from tests.support.console_paths import make_link
from tests.support.identity_provider import OidcConsole


@pytest.fixture
def visitors(browser: Browser, oidc_console: OidcConsole) -> Iterator[People]:
    oidc_console.console.forget_attempts()
    people = People(browser, oidc_console.console, [])
    yield people
    for context in people.opened:
        context.close()


def answer_as(page: Page, account: str, *, second_factor: bool = True) -> None:
    """Sign in at the provider."""
    page.get_by_role("heading", name="Example provider").wait_for()
    page.get_by_label("Account").fill(account)
    if second_factor:
        page.get_by_label("second factor").check()
    page.get_by_role("button", name="Go on").click()


def link_account(visitors: People, oidc_console: OidcConsole, account: str) -> None:
    page = visitors.stranger()
    page.goto(f"/join/{make_link(oidc_console.console)}")
    page.get_by_role("button", name="Link Example provider").click()
    answer_as(page, account)
    page.get_by_role("heading", name="Overview").wait_for()


def test_linked_account_signs_in_and_confirms_through_the_provider(visitors: People, oidc_console: OidcConsole) -> None:
    site = oidc_console.console
    before = site.log_size()
    link_account(visitors, oidc_console, "sub-linked")
    page = visitors.stranger()
    page.goto("/account")
    assert_accessible(page)
    page.get_by_role("button", name="Sign in with Example provider").click()
    answer_as(page, "sub-linked")
    page.get_by_role("heading", name="Your account", exact=True).wait_for()
    assert page.get_by_text("Your organisation’s sign-in").count() >= 1
    cookie = {c["name"]: c["value"] for c in page.context.cookies()}["__Host-safelane-session"]
    page.goto("/account/confirm")
    page.get_by_role("button", name="Confirm with Example provider").click()
    answer_as(page, "sub-linked")  # prompt=login: it asks again although it knows the browser
    page.get_by_role("heading", name="Overview").wait_for()
    assert {c["name"]: c["value"] for c in page.context.cookies()}["__Host-safelane-session"] != cookie
    outcomes = [event["outcome"] for event in site.events("console_login", before)]
    assert outcomes == ["signed_in_oidc", "signed_in_oidc", "confirmed_oidc"]


def test_without_javascript_one_click_goes_on(visitors: People, oidc_console: OidcConsole) -> None:
    link_account(visitors, oidc_console, "sub-plain")
    page = visitors.stranger(scripts=False)
    page.goto("/sign-in")
    page.get_by_role("button", name="Sign in with Example provider").click()
    answer_as(page, "sub-plain")
    page.get_by_role("heading", name="Your organisation has confirmed who you are").wait_for()
    assert_accessible_without_scripts(page)
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("heading", name="Overview").wait_for()


def assert_accessible_without_scripts(page: Page) -> None:
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("button", name="Continue").is_visible()


def test_somebody_unknown_and_somebody_without_a_second_factor_are_refused(
    visitors: People, oidc_console: OidcConsole
) -> None:
    site = oidc_console.console
    link_account(visitors, oidc_console, "sub-weak")
    before = site.log_size()
    for account, second_factor, said in (
        ("sub-stranger", True, "is not linked to an account here"),
        ("sub-weak", False, "did not confirm who you are"),
    ):
        page = visitors.stranger()
        page.goto("/sign-in")
        page.get_by_role("button", name="Sign in with Example provider").click()
        answer_as(page, account, second_factor=second_factor)
        page.get_by_text(said).wait_for()
        assert "__Host-safelane-session" not in {c["name"] for c in page.context.cookies()}
    assert [event["outcome"] for event in site.events("console_login", before)] == ["failed_oidc"] * 2


def test_another_person_cannot_confirm_for_the_one_who_is_signed_in(
    visitors: People, oidc_console: OidcConsole
) -> None:
    link_account(visitors, oidc_console, "sub-one")
    link_account(visitors, oidc_console, "sub-two")
    page = visitors.stranger()
    page.goto("/sign-in")
    page.get_by_role("button", name="Sign in with Example provider").click()
    answer_as(page, "sub-one")
    page.get_by_role("heading", name="Overview").wait_for()
    page.goto("/account/confirm/organisation")
    answer_as(page, "sub-two")
    page.get_by_text("did not confirm who you are").wait_for()


def test_an_answer_that_nobody_asked_for_is_refused(visitors: People) -> None:
    page = visitors.stranger()
    answer = page.goto("/sign-in/organisation/answer?code=made-up&state=made-up")
    assert answer is not None
    assert answer.status == 403
    page.goto("/sign-in")
    page.get_by_role("button", name="Sign in with Example provider").click()
    page.get_by_role("heading", name="Example provider").wait_for()
    answer = page.goto(f"{visitors.console.url}/sign-in/organisation/answer?code=made-up&state=made-up")
    assert answer is not None
    assert answer.status == 401
