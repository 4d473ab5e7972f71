"""Signing in through the organisation's identity provider: leaving for it, coming back, and going on with one's own click or script.

The session's cookie is never sent with a navigation that another site began. Coming back is one, so it ends on a page of ours with a form, which goes on
as ours. Accounts are linked by issuer and subject alone, through a one-time link, never by an e-mail address.
"""

from typing import Any, Final
from uuid import UUID

import structlog
from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from broker.console.access import Capability
from broker.console.addresses import choose_next
from broker.console.journal import NOBODY
from broker.console.page import FormOutOfDate, Page, PageContext
from broker.console.routing import Pages
from broker.console.signin.finishing import finish_confirmation, finish_sign_in
from broker.console.signin.joining import LinkSpent, read_invited, spend_link
from broker.console.signin.oidc import AnswerRefused, Challenge, Provider
from schemas.errors import NotFound

ANSWER_PATH: Final = "/sign-in/organisation/answer"

log = structlog.get_logger("safelane.console")

pages = Pages("signin")


class NotLinked(AnswerRefused):
    """The provider vouches for somebody whom no account is linked to."""

    code = "not-linked"
    public_message = "Your organisation's account is not linked to an account here. Ask an operator for a link."


@pages.public("/sign-in/organisation")
async def leave(page: Page, next: str = "/") -> Response:  # noqa: A002 - the name in the address
    """Send the person to the provider."""
    return await _leave(page, fresh=False, purpose="sign_in", following=choose_next(next))


@pages.read("/account/confirm/organisation", capability=Capability.OWN_ACCOUNT, action="own_account", confirmed=False)
async def leave_to_confirm(page: Page, next: str = "/") -> Response:  # noqa: A002
    """Send the person to the provider to sign in there again."""
    return await _leave(page, fresh=True, purpose="confirm", following=choose_next(next))


@pages.public("/join/{secret}/organisation")
async def leave_to_join(page: Page, secret: str) -> Response:
    """Send whoever was invited to the provider, to link the account."""
    await read_invited(page, secret)
    return await _leave(page, fresh=False, purpose="join", following="/", link=secret)


@pages.public(ANSWER_PATH)
async def come_back(page: Page, request: Request) -> Response:
    """Check the provider's answer, keep whom it vouches for, and show the page that goes on."""
    kept = page.visit.proven.get("oidc")
    if kept is None:
        raise FormOutOfDate
    page.visit = page.visit.with_proven(oidc=None, vouched=None)
    challenge = Challenge(**kept["challenge"])
    try:
        subject = await _provider(page).finish(challenge, dict(request.query_params), page.now)
    except AnswerRefused as error:
        log.warning("answer_refused", code=error.code, field=error.field)
        await _note_failure(page, NOBODY)
        raise
    page.visit = page.visit.with_proven(vouched={**kept, "challenge": None, "subject": subject})
    return await page.render("organisation.html")


@pages.public("/sign-in/organisation/done", method="POST")
async def go_on(page: Page) -> Response:
    """Begin, or confirm, the session of the account that is linked to whom the provider vouched for."""
    vouched = page.visit.proven.get("vouched")
    if vouched is None:
        raise FormOutOfDate
    if vouched["purpose"] == "join":
        return await _join(page, vouched)
    account = await _find_account(page, vouched["subject"])
    if vouched["purpose"] == "confirm":
        viewer = await page.recognise()
        if viewer is None or account is None or account["user_id"] != viewer.user_id:
            await _note_failure(page, NOBODY if viewer is None else viewer.user_id)
            raise AnswerRefused("another person confirmed", field="sub")
        page.visit = page.visit.with_proven(vouched=None)
        return await finish_confirmation(page, method="oidc", following=vouched["following"])
    if account is None:
        await _note_failure(page, NOBODY)
        raise NotLinked("no account is linked", field="sub")
    return await finish_sign_in(
        page, account["user_id"], account["name"], method="oidc", following=vouched["following"]
    )


async def _leave(page: PageContext, *, fresh: bool, purpose: str, following: str, link: str | None = None) -> Response:
    url, challenge = await _provider(page).begin(page.now, fresh=fresh)
    kept = {"challenge": challenge.to_json(), "purpose": purpose, "following": following}
    page.visit = page.visit.with_proven(oidc=kept | ({"link": link} if link else {}), vouched=None)
    return page.finish(RedirectResponse(url, 303))


async def _join(page: PageContext, vouched: dict[str, Any]) -> Response:
    """Link the account of a one-time link to whom the provider vouched for."""
    invited = await read_invited(page, vouched["link"])
    issuer = _provider(page).settings.issuer
    async with page.transaction() as connection:
        await spend_link(connection, vouched["link"], page)
        done = await connection.execute(
            "INSERT INTO console_identities (issuer, subject, user_id, linked_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            issuer,
            vouched["subject"],
            invited["user_id"],
            page.now,
        )
        if done != "INSERT 0 1":
            raise LinkSpent("this organisation's account is linked to another account here", field="sub")
        await connection.execute(
            "UPDATE console_users SET state = 'active', changed_at = $2 WHERE user_id = $1",
            invited["user_id"],
            page.now,
        )
        await page.context.journal.append_change(
            connection, invited["user_id"], invited["user_id"], "enrolled_oidc", invited["roles"]
        )
    return await finish_sign_in(page, invited["user_id"], invited["name"], method="oidc", following="/")


async def _find_account(page: PageContext, subject: str) -> dict[str, Any] | None:
    async with page.connection() as connection:
        row = await connection.fetchrow(
            "SELECT u.user_id, u.name FROM console_identities i JOIN console_users u USING (user_id)"
            " WHERE i.issuer = $1 AND i.subject = $2 AND u.state = 'active' AND (u.expires_at IS NULL OR u.expires_at > $3)",
            _provider(page).settings.issuer,
            subject,
            page.now,
        )
    return None if row is None else dict(row)


async def _note_failure(page: PageContext, by: UUID | str) -> None:
    async with page.transaction() as connection:
        await page.context.journal.append_sign_in(connection, by, "failed_oidc")


def _provider(page: PageContext) -> Provider:
    """Return the identity provider.

    Raises:
        NotFound: none is set up.
    """
    provider = page.context.provider
    if provider is None:
        raise NotFound("no identity provider is set up", field="sign-in")
    return provider
