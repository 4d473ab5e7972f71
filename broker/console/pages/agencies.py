"""Agencies as the officers' directory has them, and what the hub knows of each: keys, queue, last heard, witness. Operators invite; officers decide."""

import json
from datetime import timedelta
from typing import Final

from fastapi import Response

from broker.audit.registers import list_agencies
from broker.console.access import Capability
from broker.console.page import Page, PageContext
from broker.console.routing import Pages
from broker.log import NewEvent
from broker.registry.enrolments import create_invitation, list_pending
from schemas.errors import NotFound

VALIDITY: Final = timedelta(hours=72)

pages = Pages("agencies", navigation=("Agencies", "/agencies", Capability.READ_AGENCIES, 70))


@pages.read("/agencies", capability=Capability.READ_AGENCIES, action="agencies")
async def show_agencies(page: Page) -> Response:
    """List agencies, and the enrolments that wait for an officer."""
    snapshot = await page.context.registry.current()
    manages = page.user.may(Capability.MANAGE_AGENCIES)
    async with page.connection() as connection:
        lines = await list_agencies(connection, snapshot, agency=page.user.agency, now=page.now)
        pending = await list_pending(connection) if manages else []
    return await page.render("list.html", agencies=lines, pending=pending, version=snapshot.version, may_manage=manages)


@pages.read("/agencies/{agency_id}", capability=Capability.READ_AGENCIES, action="agency")
async def show_agency(page: Page, agency_id: str) -> Response:
    """Show one agency: its state, keys with their lives, people who approve, and how to rotate or revoke."""
    return await _show(page, agency_id)


@pages.act("/agencies/{agency_id}/invite", capability=Capability.MANAGE_AGENCIES, confirmed=True)
async def invite(page: Page, agency_id: str) -> Response:
    """Make a one-time invitation and show it, once."""
    snapshot = await page.context.registry.current()
    found = snapshot.directory.find_agency(agency_id)
    if found is None or found.revoked_at is not None:
        raise NotFound("there is no such agency in the directory", field="agency_id")
    async with page.transaction() as connection:
        secret, expires_at = await create_invitation(connection, agency_id, now=page.now, validity=VALIDITY)
        members = {"agency": agency_id, "enrolment_id": None, "state": "invited", "at": page.now.isoformat()}
        await page.context.log.append(connection, [NewEvent.clear("enrolment", members)], at=page.now)
    invitation = {
        "hub_url": page.context.hub_url,
        "agency": agency_id,
        "invitation": secret,
        "expires_at": expires_at.isoformat(timespec="seconds"),
    }
    document = json.dumps(invitation, indent=1)
    return await page.render("invitation.html", agency=found, document=document, expires_at=expires_at)


async def _show(page: PageContext, agency_id: str) -> Response:
    snapshot = await page.context.registry.current()
    found = snapshot.directory.find_agency(agency_id)
    if found is None or page.user.agency not in (None, agency_id):
        raise NotFound("there is no such agency", field="agency_id")
    async with page.connection() as connection:
        (line,) = await list_agencies(connection, snapshot, agency=agency_id, now=page.now)
    return await page.render(
        "one.html",
        agency=found,
        line=line,
        keys=sorted(snapshot.encryption_keys.get(agency_id, ()), key=lambda key: key.not_before, reverse=True),
        people=[person for person in snapshot.directory.people if person.agency == agency_id],
        may_manage=page.user.may(Capability.MANAGE_AGENCIES),
    )
