"""Data-sharing agreements: what the officers' signed directory says, and what of it ends or is due for review."""

from zoneinfo import ZoneInfo

from fastapi import Response

from broker.audit.reader import AgreementLine
from broker.console.access import Capability
from broker.console.page import Page
from broker.console.routing import Pages
from schemas.agreement_warnings import list_agreement_warnings
from schemas.errors import NotFound

pages = Pages("agreements", navigation=("Agreements", "/agreements", Capability.READ_AGREEMENTS, 50))


@pages.read("/agreements", capability=Capability.READ_AGREEMENTS, action="agreements")
async def show_agreements(page: Page) -> Response:
    """List agreements: all, or those of the viewer's agency."""
    return await page.render("list.html", lines=await _read(page))


@pages.read("/agreements/{agreement_id}", capability=Capability.READ_AGREEMENTS, action="agreement")
async def show_agreement(page: Page, agreement_id: str) -> Response:
    """Show what one agreement covers.

    Raises:
        NotFound: the directory has no such agreement, or the viewer's agency is no party to it.
    """
    for line in await _read(page):
        if line.agreement.id == agreement_id:
            return await page.render("one.html", line=line, agencies=await page.context.agency_names())
    raise NotFound("there is no such agreement", field="agreement_id")


async def _read(page: Page) -> list[AgreementLine]:
    directory = (await page.context.registry.current()).directory
    today = page.context.business_clock().astimezone(ZoneInfo(directory.partnership.timezone)).date()
    return [
        AgreementLine(a, a.starts_on <= today <= a.ends_on, tuple(list_agreement_warnings([a], today)))
        for a in directory.agreements
        if page.user.agency is None or page.user.agency in a.parties
    ]
