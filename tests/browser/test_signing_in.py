"""Signing in and out as people do, in a real browser."""

from tests.support.browser import People
from tests.support.console import ConsoleSite


def test_password_and_code_lead_to_the_overview_and_are_logged(people: People, console: ConsoleSite) -> None:
    before = console.log_size()
    page = people.stranger()
    page.goto("/overview")
    assert "/sign-in?next=" in page.url
    page.get_by_label("User name").fill("auditor")
    page.get_by_label("Password", exact=True).fill(console.people["auditor"].password)
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Code").fill(console.people["auditor"].code())
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Overview").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="You have signed out").wait_for()
    outcomes = [event["outcome"] for event in console.events("console_login", before)]
    assert outcomes == ["signed_in_password_code", "signed_out"]
    reads = [event["action"] for event in console.events("audit_read", before)]
    assert "overview" in reads
