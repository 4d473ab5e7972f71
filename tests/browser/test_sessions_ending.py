"""Access that ends: an inspector's on the instant, and that of a second tab whose session was left or replaced elsewhere."""

import re

import pytest
from playwright.sync_api import Page, expect

from broker.console.access import Role
from broker.console.sessions import digest_secret
from broker.console.visits import SESSION_COOKIE
from tests.support.browser import People, assert_accessible
from tests.support.console import ConsoleSite
from tests.support.console_paths import make_link


def read_cookie(page: Page) -> str:
    return {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}[SESSION_COOKIE]


def test_an_inspectors_access_ends_on_the_instant_and_the_page_says_so(people: People, console: ConsoleSite) -> None:
    person = console.add_person("visiting-inspector", Role.INSPECTOR, days=1)
    page = people.signed_in(person.name)
    page.goto("/account")
    expect(page.get_by_text("Your access ends")).to_be_visible()
    page.goto("/reports")
    report = page.locator("main a[href^='/reports/']").first
    address = report.get_attribute("href")
    report.click()
    page.wait_for_url(f"**{address}")
    session_end = console.value("SELECT expires_at FROM console_sessions WHERE user_id = $1", person.user_id)
    account_end = console.value("SELECT expires_at FROM console_users WHERE user_id = $1", person.user_id)
    assert session_end <= account_end

    before = console.log_size()
    console.execute("UPDATE console_users SET expires_at = now() WHERE user_id = $1", person.user_id)
    page.reload()
    expect(page).to_have_url(re.compile(r"/sign-in\?next=%2Freports%2F"))
    expect(page.get_by_text("Your session is over.")).to_be_visible()
    assert_accessible(page)
    assert console.events("audit_read", before) == []

    # Signing in again does not help: the account itself is over.
    page.get_by_label("User name").fill(person.name)
    page.get_by_label("Password", exact=True).fill(person.password)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert console.value("SELECT count(*) FROM console_sessions WHERE user_id = $1", person.user_id) == 1


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_an_open_page_tells_the_end_beforehand_and_closes_by_itself(
    scripts: bool, people: People, console: ConsoleSite
) -> None:
    person = console.add_person(f"leaving-{scripts:d}", Role.INSPECTOR, days=1)
    console.execute(
        "UPDATE console_users SET expires_at = now() + interval '15 minutes' WHERE user_id = $1", person.user_id
    )
    page = people.signed_in(person.name, scripts=scripts)
    notice = page.locator("[data-ends-in]").filter(has_text="Your access ends")
    if scripts:
        page.clock.install()
        page.goto("/reports")
        expect(notice).to_be_hidden()
        page.clock.fast_forward("06:00")
        expect(notice).to_be_visible()
        assert_accessible(page)
    # What is open at the end is left for the sign-in page, and nobody did anything.
    last = people.signed_in(person.name, scripts=scripts)
    end = "now() + interval '7 seconds'"
    console.execute(f"UPDATE console_users SET expires_at = {end} WHERE user_id = $1", person.user_id)  # noqa: S608 (a constant)
    last.goto("/reports")
    expect(last.locator("[data-ends-in]").filter(has_text="Your access ends")).to_be_visible()
    last.wait_for_url(re.compile(r"/sign-in\?next=%2Freports"), timeout=20_000)
    expect(last.get_by_text("Your session is over.")).to_be_visible()


def test_who_opens_no_page_is_asked_and_stays_signed_in(people: People, console: ConsoleSite) -> None:
    page = people.signed_in("operator")
    page.clock.install()
    page.goto("/users/add")
    page.get_by_label("Full name").fill("Slow Typist")
    notice = page.locator("[data-ends-in]").filter(has_text="opened no page for a while")
    page.clock.fast_forward("26:00")
    expect(notice).to_be_visible()
    seen = "SELECT max(seen_at) FROM console_sessions WHERE user_id = $1"
    operator = console.people["operator"]
    console.execute(
        "UPDATE console_sessions SET seen_at = now() - interval '26 minutes' WHERE user_id = $1", operator.user_id
    )
    before = console.value(seen, operator.user_id)
    page.get_by_role("link", name="Stay signed in").click()
    expect(notice).to_be_hidden()
    assert console.value(seen, operator.user_id) > before
    assert page.get_by_label("Full name").input_value() == "Slow Typist"


def test_a_second_tab_is_refused_after_signing_out_in_the_first(people: People, console: ConsoleSite) -> None:
    first = people.signed_in("operator")
    first.goto("/users/add")
    second = first.context.new_page()
    second.goto("/users/add")
    second.get_by_label("Full name").fill("Second Tab")
    second.get_by_label("User name").fill("second.tab")
    second.get_by_label("Auditor").first.check()
    first.get_by_role("button", name="Sign out").click()
    first.get_by_role("heading", name="You have signed out").wait_for()
    second.get_by_role("button", name="Add and make a one-time link").click()
    expect(second).to_have_url(re.compile("/sign-in"))
    assert console.value("SELECT count(*) FROM console_users WHERE name = 'second.tab'") == 0


def test_a_tab_from_before_the_session_was_renewed_changes_nothing_and_its_cookie_is_dead(
    people: People, console: ConsoleSite
) -> None:
    operator = console.people["operator"]
    console.free_codes(operator)
    first = people.signed_in("operator", confirmed=False)
    console.new_session(operator)
    first.goto("/account")
    second = first.context.new_page()
    second.goto("/account")
    old = read_cookie(first)
    first.goto("/account/confirm")
    first.get_by_label("Code").fill(operator.code())
    first.get_by_role("button", name="Confirm").click()
    first.get_by_role("heading", name="Overview").wait_for()
    assert read_cookie(first) != old
    open_sessions = "SELECT count(*) FROM console_sessions WHERE user_id = $1 AND ended_at IS NULL"
    sessions = console.value(open_sessions, operator.user_id)
    second.get_by_role("button", name=re.compile("other")).first.click()
    expect(second.get_by_text("This page was out of date, so nothing was changed.")).to_be_visible()
    assert console.value(open_sessions, operator.user_id) == sessions
    # Who copied the old cookie has nothing.
    thief = people.stranger()
    thief.context.add_cookies([{"name": SESSION_COOKIE, "value": old, "url": console.url, "secure": True}])
    thief.goto("/account")
    expect(thief).to_have_url(re.compile("/sign-in"))


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "when the script does not come"])
def test_a_confirmation_asked_for_in_the_middle_loses_nothing_that_was_typed(
    scripts: bool, people: People, console: ConsoleSite
) -> None:
    operator, name = console.people["operator"], f"in.the.middle{scripts:d}"
    page = people.signed_in("operator")
    if not scripts:
        page.route("**/safelane.js", lambda route: route.abort())
    page.goto("/users/add")
    page.get_by_label("Full name").fill("Zoë O’Neil & <Sons>")
    page.get_by_label("User name").fill(name)
    page.get_by_label("Auditor").first.check()
    page.get_by_label("Information governance officer").check()
    # Time goes by: what was fresh when the page was opened is not when the form is sent.
    console.execute(
        "UPDATE console_sessions SET confirmed_at = now() - interval '1 hour' WHERE user_id = $1", operator.user_id
    )
    made = "SELECT count(*) FROM console_users WHERE name = $1"
    page.get_by_role("button", name="Add and make a one-time link").click()
    expect(page.get_by_role("heading", level=1, name="Confirm that it is you")).to_be_visible()
    assert console.value(made, name) == 0
    page.get_by_label("Code").fill("000000")
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("alert")).to_contain_text("The code is not right")
    console.free_codes(operator)
    page.get_by_label("Code").fill(operator.code())
    page.get_by_role("button", name="Confirm").click()
    if not scripts:
        expect(page.get_by_role("heading", level=1, name="Go on with what you were doing")).to_be_visible()
        assert_accessible(page)
        page.get_by_role("button", name="Send it now").click()
    expect(page.get_by_role("heading", name="One-time link for Zoë O’Neil & <Sons>")).to_be_visible()
    row = console.fetch(
        "SELECT u.display_name, array_agg(r.role ORDER BY r.role) AS roles FROM console_users u JOIN console_user_roles r USING (user_id)"
        " WHERE u.name = $1 GROUP BY 1",
        name,
    )
    assert [tuple(line) for line in row] == [("Zoë O’Neil & <Sons>", ["auditor", "ig_officer"])]
    # What was kept is used up: nobody sends it a second time, and nothing of it lies in clear.
    assert console.value("SELECT count(*) FROM console_kept_forms") == 0
    page.goto("/account/confirm/resume")
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()


def test_an_inspectors_one_time_link_expires_while_it_is_open(people: People, console: ConsoleSite) -> None:
    secret = make_link(console)
    page = people.stranger()
    page.goto(f"/join/{secret}")
    expect(page.get_by_role("heading", level=1, name="Set up your account")).to_be_visible()
    page.get_by_label("Choose a password").fill("purple otter kettle nineteen")
    console.execute("UPDATE console_links SET expires_at = now() WHERE secret_sha256 = $1", digest_secret(secret))
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", level=1, name="This link no longer works")).to_be_visible()
    expect(page.get_by_text("This link has been used or has expired. Ask an operator for a new one.")).to_be_visible()
    assert_accessible(page)
    page.goto(f"/join/{secret}")
    expect(page.get_by_role("heading", level=1, name="This link no longer works")).to_be_visible()
