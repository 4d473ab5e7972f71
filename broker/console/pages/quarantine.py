"""The quarantine: messages that could not be handled, why, and what an operator decides. Nobody sees their bytes."""

from typing import Final
from uuid import UUID

from fastapi import Response

from broker.audit.registers import list_quarantine
from broker.console.access import Capability
from broker.console.names import read_names
from broker.console.page import Page, PageContext
from broker.console.routing import Pages
from broker.delivery.quarantine import STATES
from broker.store import reviews
from schemas.errors import NotFound

ACTIONS: Final = {"replay": ("replaying", "replayed"), "reject": ("rejected", "rejected")}
"""What may be decided: the state that follows, and the word of its event."""
_SHOWN: Final = (*STATES, "all")

pages = Pages("quarantine", navigation=("Quarantine", "/quarantine", Capability.READ_QUARANTINE, 80))


@pages.read("/quarantine", capability=Capability.READ_QUARANTINE, action="quarantine_list")
async def show_quarantine(page: Page) -> Response:
    """List quarantined messages, newest first."""
    asked = page.request.query_params.get("state", "open")
    state = asked if asked in _SHOWN else "open"
    async with page.connection() as connection:
        rows = await list_quarantine(connection, agency=page.user.agency, state=None if state == "all" else state)
    return await page.render(
        "list.html", rows=rows, agencies=await page.context.agency_names(), state=state, states=_SHOWN
    )


@pages.read("/quarantine/{quarantine_id}", capability=Capability.READ_QUARANTINE, action="quarantine_read")
async def show_quarantined(page: Page, quarantine_id: UUID) -> Response:
    """Show one message: who sent it, which rule it broke, how often it came, what was decided."""
    return await _show(page, quarantine_id)


@pages.act("/quarantine/{quarantine_id}/decide", capability=Capability.DECIDE_QUARANTINE)
async def decide(page: Page, quarantine_id: UUID) -> Response:
    """Send a message back to intake, or close it for good.

    Raises:
        NotFound: there is no open message of that id.
    """
    form = page.form
    chosen = next(iter(form.choices("action", ACTIONS, required="Choose what becomes of it")), "")
    reason = form.text("reason", required="Enter why, without names or what the message says", most=200)
    if form.errors:
        return await _show(page, quarantine_id)
    state, action = ACTIONS[chosen]
    by = str(page.user.user_id)
    async with page.transaction() as connection:
        # Bodies are not this role's to read: only the decision is written.
        taken = await reviews.decide_quarantined(
            connection, quarantine_id, state=state, by=by, at=page.now, reason=reason
        )
        if not taken:
            raise NotFound("there is no open message of that id in quarantine", field="quarantine_id")
        await page.context.journal.append(
            connection, "quarantine_decided", quarantine_id=str(quarantine_id), action=action, by=by
        )
    told = "sent back to intake: a worker takes it within seconds" if chosen == "replay" else "rejected"
    return await page.redirect(f"/quarantine/{quarantine_id}", notice=f"The message is {told}.")


async def _show(page: PageContext, quarantine_id: UUID) -> Response:
    async with page.connection() as connection:
        row = await reviews.find_quarantined(connection, quarantine_id, agency=page.user.agency)
    if row is None:
        raise NotFound("there is no such message in quarantine", field="quarantine_id")
    may_decide = page.user.may(Capability.DECIDE_QUARANTINE) and row["state"] == "open"
    return await page.render(
        "one.html",
        row=row,
        people=await read_names(page),
        agencies=await page.context.agency_names(),
        may_decide=may_decide,
    )
