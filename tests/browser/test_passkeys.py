"""Passkeys in a real browser with a virtual authenticator: enrolling by link, signing in without a name, confirming, and what is refused."""

from typing import Any

from playwright.sync_api import Page

from tests.support.browser import People, assert_accessible
from tests.support.console import ConsoleSite
from tests.support.console_paths import make_link


def plug_in(page: Page, *, verifies: bool = True) -> Any:
    """Give the page's browser context an authenticator; ``verifies``: it checks its owner."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    session.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": verifies,
                "automaticPresenceSimulation": True,
            }
        },
    )
    return session


def test_a_passkey_is_made_by_link_then_signs_in_and_confirms(people: People, console: ConsoleSite) -> None:
    before = console.log_size()
    page = people.stranger()
    plug_in(page)
    page.goto(f"/join/{make_link(console)}")
    page.get_by_role("button", name="Make a passkey").click()
    assert_accessible(page)
    page.get_by_role("button", name="Make a passkey").click()
    page.get_by_role("heading", name="Overview").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.goto("/sign-in")
    page.get_by_role("link", name="Sign in with a passkey instead").click()
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("heading", name="Overview").wait_for()
    cookie = {c["name"]: c["value"] for c in page.context.cookies()}["__Host-safelane-session"]
    page.goto("/account/confirm")
    page.get_by_role("button", name="Confirm with a passkey").click()
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("heading", name="Overview").wait_for()
    assert {c["name"]: c["value"] for c in page.context.cookies()}["__Host-safelane-session"] != cookie
    page.goto("/account")
    assert_accessible(page)
    page.get_by_role("button", name="Remove the passkey").click()
    page.get_by_text("It is the only way to sign in").wait_for()
    outcomes = [event["outcome"] for event in console.events("console_login", before)]
    assert outcomes == ["signed_in_passkey", "signed_out", "signed_in_passkey", "confirmed_passkey"]


def test_a_passkey_is_added_beside_a_password_and_taken_away(people: People) -> None:
    page = people.signed_in("ig-officer")
    plug_in(page)
    page.goto("/account")
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_role("button", name="Make a passkey").click()
    page.get_by_text("The passkey is ready to sign in with.").wait_for()
    page.get_by_role("button", name="Remove the passkey").click()
    page.get_by_text("The passkey is removed.").wait_for()


def test_a_device_that_does_not_check_its_owner_gets_nowhere(people: People, console: ConsoleSite) -> None:
    page = people.stranger()
    plug_in(page, verifies=False)
    page.goto(f"/join/{make_link(console)}/passkey")
    page.get_by_role("button", name="Make a passkey").click()
    page.get_by_text("Your device did not give a passkey.").wait_for()


def test_an_answer_counts_once_and_rubbish_counts_never(people: People, console: ConsoleSite) -> None:
    page = people.stranger()
    plug_in(page)
    page.goto(f"/join/{make_link(console)}/passkey")
    page.get_by_role("button", name="Make a passkey").click()
    page.get_by_role("heading", name="Overview").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="You have signed out").wait_for()
    page.goto("/sign-in/passkey")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data or "") if request.method == "POST" else None)
    copied = page.context.cookies()
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("heading", name="Overview").wait_for()
    thief = people.stranger()
    thief.context.add_cookies([cookie for cookie in copied if "visit" in cookie["name"]])
    thief.goto("/about/codes")
    for body in (sent[0], sent[0].replace("credential=%7B", "credential=%5B")):
        status = thief.evaluate(
            "async (body) => (await fetch('/sign-in/passkey', {method: 'POST', body, redirect: 'manual',"
            " headers: {'Content-Type': 'application/x-www-form-urlencoded'}})).status",
            body,
        )
        assert status in {401, 403}
    assert "__Host-safelane-session" not in {c["name"] for c in thief.context.cookies()}
