"""A person's own account: how they sign in, and where they are signed in now."""

from uuid import UUID

from fastapi import Response

from broker.console.access import Capability
from broker.console.page import Page
from broker.console.routing import Pages
from broker.console.sessions import end_session, end_sessions, list_sessions
from broker.console.users import read_user
from schemas.errors import NotFound

pages = Pages("account")


@pages.read("/account", capability=Capability.OWN_ACCOUNT, action="own_account")
async def show_account(page: Page) -> Response:
    """Show the account and its open sessions."""
    viewer = page.user
    async with page.connection() as connection:
        user = await read_user(connection, viewer.user_id)
        sessions = await list_sessions(connection, viewer.user_id, page.context.limits, page.now)
        passkeys = await connection.fetch(
            "SELECT credential_id, label, used_at FROM console_passkeys WHERE user_id = $1 ORDER BY created_at",
            viewer.user_id,
        )
    return await page.render(
        "account.html", user=user, sessions=sessions, passkeys=passkeys, limits=page.context.limits
    )


@pages.act("/account/sessions/{session_id}/end", capability=Capability.OWN_ACCOUNT)
async def end_one_session(page: Page, session_id: UUID) -> Response:
    """End one of the viewer's own sessions."""
    viewer = page.user
    async with page.transaction() as connection:
        if not await end_session(connection, viewer.user_id, session_id, page.now):
            raise NotFound("there is no such session", field="session_id")
        await page.context.journal.append_sign_in(connection, viewer.user_id, "session_ended")
    return await page.redirect("/account", notice="That session has ended.")


@pages.act("/account/sessions/end-others", capability=Capability.OWN_ACCOUNT)
async def end_other_sessions(page: Page) -> Response:
    """End all of the viewer's sessions but this one."""
    viewer = page.user
    async with page.transaction() as connection:
        await end_sessions(connection, viewer.user_id, page.now, but=viewer.session_id)
        await page.context.journal.append_sign_in(connection, viewer.user_id, "other_sessions_ended")
    return await page.redirect("/account", notice="You are signed in here only.")
