"""A referral's page: what happened in order, who got which compartments and why not, receipts, clocks, holds, and where each event stands in the log."""

from collections.abc import Mapping, Sequence
from typing import Final

from fastapi import Response

from broker.audit.referral_view import DeliveryView, MessageView
from broker.audit.showing import read_referral
from broker.console.access import Capability
from broker.console.names import read_names
from broker.console.page import Page
from broker.console.routing import Pages
from broker.console.searching import name_id
from broker.console.vocabulary import COMPARTMENTS, tell_code
from schemas.errors import NotFound

EXPORT_SECONDS: Final = 60.0

pages = Pages("referrals")


@pages.read("/referrals/{searched_id}", capability=Capability.READ_REFERRAL, action="show", subject=name_id)
async def show_referral(page: Page, searched_id: str) -> Response:
    """Show everything that the hub knows of a referral, by its own id or that of one of its messages or deliveries."""
    async with page.connection() as connection:
        view = await read_referral(connection, searched_id, agency=page.user.agency)
    agencies = await page.context.agency_names()
    return await page.render(
        "one.html",
        view=view,
        agencies=agencies,
        people=await read_names(page),
        referral_id=view.messages[0].referral_id,
        grids={message.message_id: build_grid(message, agencies) for message in view.messages},
        gaps=explain_gaps,
        may_export=page.user.may(Capability.EXPORT_EVIDENCE),
        can_export=page.context.services.export_evidence is not None and view.whole,
    )


@pages.read(
    "/referrals/{searched_id}/evidence.zip",
    capability=Capability.EXPORT_EVIDENCE,
    action="export_evidence",
    subject=name_id,
)
async def send_evidence(page: Page, searched_id: str) -> Response:
    """Send the evidence pack. Whoever sees only a part of a referral gets no pack of the whole.

    Raises:
        NotFound: there is no such referral for this viewer, or this machine does not hold the credentials to make packs.
    """
    async with page.connection() as connection:
        view = await read_referral(connection, searched_id, agency=page.user.agency)
    export = page.context.services.export_evidence
    if export is None or not view.whole:
        raise NotFound("packs are made on the hub's machine: safelane evidence export", field="searched_id")
    page.extend_time(EXPORT_SECONDS)
    data = await export(view.messages[0].referral_id, str(page.user.user_id))
    headers = {"Content-Disposition": 'attachment; filename="evidence.zip"'}
    return Response(data, media_type="application/zip", headers=headers)


def build_grid(
    message: MessageView, agencies: Mapping[str, str]
) -> tuple[list[str], list[tuple[str, list[str | None]]]]:
    """Return the recipients' names, and for each compartment that anybody asked for what each recipient has of it now."""
    names = [_name_delivery(delivery, agencies) for delivery in message.deliveries]
    found = [
        {cell.compartment: cell.result for cell in delivery.decisions[-1].cells} if delivery.decisions else {}
        for delivery in message.deliveries
    ]
    rows = [(code, [results.get(code) for results in found]) for code in COMPARTMENTS]
    return names, [(code, results) for code, results in rows if any(results)]


def explain_gaps(delivery: DeliveryView) -> Sequence[str]:
    """Return, for what a recipient did not get in full, the compartment and the reason in plain words."""
    if not delivery.decisions:
        return ()
    return tuple(
        f"{cell.title} ({cell.compartment}). {cell.words}" for cell in delivery.decisions[-1].cells if not cell.sent
    )


def _name_delivery(delivery: DeliveryView, agencies: Mapping[str, str]) -> str:
    contact = f", {delivery.contact}" if delivery.contact else ""
    return f"{agencies.get(delivery.recipient, delivery.recipient)} ({tell_code(delivery.role)}{contact})"
