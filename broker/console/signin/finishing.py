"""The end of every way to sign in: a session begins, and the log says so in the same transaction; what led to it cannot be used again."""

from uuid import UUID

from fastapi import Response

from broker.console.page import FormOutOfDate, PageContext
from broker.console.sessions import begin_session, describe_browser, end_session, renew_session
from broker.console.visits import VISIT_COOKIE, remove_cookie, use_up, write_session


async def finish_sign_in(page: PageContext, user_id: UUID, name: str, *, method: str, following: str) -> Response:
    """Begin a session of a person who has proven who they are, and send them on.

    Raises:
        FormOutOfDate: this visit has led to a session before.
    """
    context, visit = page.context, page.visit
    before = await page.recognise()
    browser = describe_browser(page.request.headers.get("user-agent", ""))
    async with page.transaction() as connection:
        if not await use_up(connection, visit.visit_id, page.now):
            raise FormOutOfDate
        if before is not None:
            await end_session(connection, before.user_id, before.session_id, page.now)
        secret, _ = await begin_session(connection, user_id, context.limits, page.now, method=method, browser=browser)
        await context.attempts.forget(connection, context.attempts.account_key(name))
        await context.journal.append_sign_in(connection, user_id, f"signed_in_{method}")
    page.viewer = None
    response = await page.redirect(following)
    remove_cookie(response, VISIT_COOKIE)
    write_session(response, secret)
    return response


async def finish_confirmation(page: PageContext, *, method: str, following: str) -> Response:
    """Give the viewer's session a new secret and a fresh confirmation, and send them on."""
    context, viewer = page.context, page.user
    browser = describe_browser(page.request.headers.get("user-agent", ""))
    async with page.transaction() as connection:
        secret = await renew_session(
            connection, viewer, context.limits, page.now, method=viewer.method, browser=browser
        )
        await context.journal.append_sign_in(connection, viewer.user_id, f"confirmed_{method}")
    page.viewer = None
    response = await page.redirect(following)
    write_session(response, secret)
    return response
