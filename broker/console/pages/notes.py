"""Pages about the console itself: what it cannot see, the codes in plain words, and how accessible it is. They need no session."""

from fastapi import Response

from broker.console.page import Page
from broker.console.routing import Pages

pages = Pages("notes")


@pages.public("/about/what-the-console-cannot-see")
async def show_limits(page: Page) -> Response:
    """Say what the hub, and so the console, does not have."""
    await page.recognise()
    return await page.render("cannot-see.html")


@pages.public("/about/codes")
async def show_codes(page: Page) -> Response:
    """Say what the codes mean."""
    await page.recognise()
    return await page.render("codes.html")


@pages.public("/about/accessibility")
async def show_accessibility(page: Page) -> Response:
    """Return the accessibility statement."""
    await page.recognise()
    return await page.render("accessibility.html", help_text=page.context.settings.help_text)
