"""Consents as gateways recorded them: signed, chained entries. The hub can neither make one nor hide one, so neither can this page."""

from typing import Final

from fastapi import Response

from broker.audit.registers import list_consent_entries, list_consents
from broker.console.access import Capability
from broker.console.page import Page
from broker.console.routing import Pages
from broker.console.searching import name_id

STATES: Final = ("all", "given", "refused", "withdrawn", "expired")

pages = Pages("consents", navigation=("Consents", "/consents", Capability.READ_CONSENTS, 40))


@pages.read("/consents", capability=Capability.READ_CONSENTS, action="consents")
async def show_consents(page: Page) -> Response:
    """List the newest entry of each consent."""
    asked = page.request.query_params.get("state", "all")
    state = asked if asked in STATES else "all"
    async with page.connection() as connection:
        rows = await list_consents(connection, agency=page.user.agency, state=None if state == "all" else state)
    return await page.render("list.html", rows=rows, state=state, states=STATES)


@pages.read("/consents/{consent_id}", capability=Capability.READ_CONSENTS, action="consent", subject=name_id)
async def show_consent(page: Page, consent_id: str) -> Response:
    """Show a consent's entries, oldest first."""
    async with page.connection() as connection:
        entries = await list_consent_entries(connection, consent_id, agency=page.user.agency)
    return await page.render("one.html", entries=entries, consent_id=consent_id)
