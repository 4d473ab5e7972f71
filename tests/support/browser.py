"""The distribution's Chromium, headless: real pages, real keyboard, and axe on what is shown."""

import base64
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from broker.console.visits import SESSION_COOKIE
from deploy.local.install import ensure_browser
from tests.support.console import ConsoleSite, Seeded
from tests.support.node_packages import find_packages

TIMEOUT_MS: Final = 15_000
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)


@dataclass
class People:
    """Opens browser contexts for people; each has cookies of its own. ``scripts=False`` is a browser without JavaScript."""

    browser: Browser
    console: ConsoleSite
    opened: list[BrowserContext]

    def stranger(self, *, scripts: bool = True, width: int = 1200, **options: Any) -> Page:
        """Return a page of somebody who is not signed in."""
        context = self.browser.new_context(
            base_url=self.console.url,
            java_script_enabled=scripts,
            viewport={"width": width, "height": 900},
            locale="en-GB",
            **options,
        )
        context.set_default_timeout(TIMEOUT_MS)
        self.opened.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: pytest.fail(f"a script failed: {error}"))
        page.on("console", _fail_on_refusal)
        return page

    def signed_in(self, name: str, *, confirmed: bool = True, **options: Any) -> Page:
        """Return a page of somebody who has a session already, without the steps of a sign-in."""
        page = self.stranger(**options)
        secret = self.console.new_session(self.console.people[name], confirmed=confirmed)
        page.context.add_cookies(
            [
                {
                    "name": SESSION_COOKIE,
                    "value": secret,
                    "url": self.console.url,
                    "secure": True,
                    "httpOnly": True,
                    "sameSite": "Strict",
                }
            ]
        )
        return page

    def sign_in(self, page: Page, person: Seeded) -> None:
        """Sign in as a person would, with password and one-time code."""
        self.console.free_codes(person)
        page.goto("/sign-in")
        page.get_by_label("User name").fill(person.name)
        page.get_by_label("Password", exact=True).fill(person.password)
        page.get_by_role("button", name="Continue").click()
        page.get_by_label("Code").fill(person.code())
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda url: "/sign-in" not in url)


def _fail_on_refusal(message: Any) -> None:
    """Fail when the Content-Security-Policy refused something of ours."""
    if "Content Security Policy" in message.text or "Refused to" in message.text:
        pytest.fail(f"the browser refused something: {message.text}")


@pytest.fixture(scope="module")
def browser(console: ConsoleSite) -> Iterator[Browser]:
    """Chromium, which trusts this console's certificate and no other.

    Started for each module: Playwright keeps this thread's event loop for itself while it runs, and the next module's tests may need one.
    """
    certificate = x509.load_pem_x509_certificate(console.certificate_file.read_bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode()
    program = ensure_browser(print)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=str(program),
            args=[*ARGUMENTS, f"--ignore-certificate-errors-spki-list={digest}"],
            timeout=60_000,
        )
        yield launched
        launched.close()


@pytest.fixture
def people(browser: Browser, console: ConsoleSite) -> Iterator[People]:
    """Opens pages for people, and closes them afterwards."""
    console.forget_attempts()
    opened: list[BrowserContext] = []
    yield People(browser, console, opened)
    for context in opened:
        context.close()


def assert_accessible(page: Page) -> None:
    """Fail with what axe finds against WCAG 2.2 AA and its best practices: rule, place, what to do."""
    source = (find_packages() / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    # Through the debugging protocol, not as a script element: the page's own policy forbids those, and stays as it is.
    found = page.evaluate(
        f"async () => {{ {source}; const r = await axe.run(document, {{resultTypes: ['violations']}}); return r.violations; }}"
    )
    faults = [f"{v['id']}: {v['help']} at {[n['target'] for n in v['nodes']]}" for v in found]
    assert not faults, f"{page.url}\n" + "\n".join(faults)


def picture(page: Page, name: str) -> None:
    """Keep pictures of what is shown, wide and narrow, where ``make screenshots`` asked for them."""
    folder = os.environ.get("SAFELANE_SCREENSHOTS")
    if not folder:
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    size = page.viewport_size or {"width": 1200, "height": 900}
    for kind, width in (("wide", 1200), ("narrow", 320)):
        page.set_viewport_size({"width": width, "height": 900})
        page.screenshot(path=Path(folder) / f"{name}-{kind}.png", full_page=True)
    page.set_viewport_size(size)


def assert_no_sideways_scroll(page: Page) -> None:
    """Fail where the page is wider than its window (WCAG 1.4.10); tables scroll inside their own frames."""
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{page.url} is {wide} pixels wider than its window"
