"""The first page: figures, live where the browser can, and fresh at every look where it cannot."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from fastapi import Response
from fastapi.responses import StreamingResponse

from broker.console.access import Capability
from broker.console.formats import count_of, format_moment, format_number, format_time
from broker.console.overview import Overview, read_overview
from broker.console.page import Page, PageContext
from broker.console.routing import Pages
from broker.console.sessions import is_alive
from broker.registry.registry import NoDirectory
from schemas.canonical import canonical_bytes
from schemas.directory import WitnessPolicy
from schemas.errors import SafelaneError

STREAM_SECONDS: Final = 600.0
LOOK_EVERY_SECONDS: Final = 5.0

pages = Pages("home", navigation=("Overview", "/overview", Capability.READ_OVERVIEW, 10))


@pages.read("/", capability=Capability.OWN_ACCOUNT, action="own_account")
async def choose_first_page(page: Page) -> Response:
    """Send people to the first page that their roles allow."""
    items = page.navigation
    return await page.redirect(items[0]["href"] if items else "/account")


@pages.read("/overview", capability=Capability.READ_OVERVIEW, action="overview")
async def show_overview(page: Page) -> Response:
    """Show the figures."""
    overview = await _read(page)
    return await page.render("overview.html", overview=overview, figures=describe(overview))


@pages.read("/overview/stream", capability=Capability.READ_OVERVIEW, action="overview_stream")
async def stream_overview(page: Page) -> Response:
    """Send the figures whenever they change, for ten minutes at most, while the session lives and may."""
    page.extend_time(STREAM_SECONDS + LOOK_EVERY_SECONDS)
    return StreamingResponse(_send_changes(page), media_type="text/event-stream")


async def _send_changes(page: PageContext) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    end = loop.time() + STREAM_SECONDS
    sent: dict[str, str] = {}
    yield b"retry: 15000\n\n"
    while loop.time() < end:
        try:
            async with page.connection() as connection:
                if not await is_alive(connection, page.user, Capability.READ_OVERVIEW, page.context.clock()):
                    yield b"event: over\ndata: {}\n\n"
                    return
            figures = describe(await _read(page))
        except SafelaneError:
            return  # the browser asks again, and is told then
        if changed := {name: text for name, text in figures.items() if sent.get(name) != text}:
            sent = figures
            yield b"data: " + canonical_bytes(changed) + b"\n\n"
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def _read(page: PageContext) -> Overview:
    witnesses = await _read_witnesses(page)
    async with page.connection() as connection:
        return await read_overview(
            connection,
            page.user.agency,
            now=page.context.clock(),
            business_now=page.context.business_clock(),
            witnesses=witnesses,
        )


async def _read_witnesses(page: PageContext) -> WitnessPolicy:
    """Return whose quorum counts: nobody's before the first directory is published."""
    try:
        return (await page.context.registry.current()).directory.witnesses
    except NoDirectory:
        return WitnessPolicy()


def describe(overview: Overview) -> dict[str, str]:
    """Return the text of each figure, by the id that it has in the page."""
    return {
        "holds-open": format_number(overview.holds_open),
        "holds-overdue": f"{count_of(overview.holds_overdue, 'is', 'are')} past the deadline",
        "clocks-running": format_number(overview.clocks_running),
        "clocks-due-soon": f"{count_of(overview.clocks_due_soon, 'falls', 'fall')} due within 24 hours",
        "clocks-breached": format_number(overview.clocks_breached),
        "quarantine-open": format_number(overview.quarantine_open),
        "quarantine-security": f"{count_of(overview.security, 'looks', 'look')} like a forgery",
        "accepted-today": format_number(overview.accepted_today),
        "outbox-overdue": count_of(overview.outbox_overdue, "message waits", "messages wait")
        + " longer than 2 minutes to be sent",
        "log-size": format_number(overview.log_size),
        "checkpoint-at": format_moment(overview.checkpoint_at),
        "witnessed-size": format_number(overview.witnessed_size),
        "as-of": format_time(overview.as_of),
        **{f"today-{state}": format_number(overview.deliveries_today.get(state, 0)) for state in SHOWN_STATES},
    }


SHOWN_STATES: Final = (
    "open",
    "accepted",
    "opened",
    "actioned",
    "refused",
    "held",
    "withheld",
    "rejected",
    "undeliverable",
)
