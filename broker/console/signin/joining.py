"""The first sign-in, by a one-time link that an operator hands over: choose a password, then read the one-time-code secret with an app.

Opening the link uses nothing up (mail scanners open links): the account changes only when the first code is right.
"""

from typing import Any

from fastapi import Response

from broker.console.page import FormOutOfDate, Page, PageContext
from broker.console.routing import Pages
from broker.console.sessions import digest_secret
from broker.console.signin.codes import draw_qr_code, find_step, group_secret, make_code_secret
from broker.console.signin.finishing import finish_sign_in
from broker.console.signin.passwords import LONGEST, SHORTEST, PasswordTooWeak, check_password
from broker.console.users import activate_with_password
from schemas.errors import NotFound

pages = Pages("signin")


class LinkSpent(NotFound):
    """The link was used, has expired, or was replaced by another."""

    code = "link-spent"
    public_message = "This link has been used or has expired. Ask an operator for a new one."


@pages.public("/join/{secret}")
async def show_joining(page: Page, secret: str) -> Response:
    """Greet whoever opens the link and ask for a password."""
    return await _show_password(page, await read_invited(page, secret))


@pages.public("/join/{secret}", method="POST")
async def take_new_password(page: Page, secret: str) -> Response:
    """Check the new password and go on to the app."""
    invited = await read_invited(page, secret)
    password = page.form.secret("password", required="Enter a password")
    if not page.form.errors:
        try:
            check_password(password, about=("safelane", invited["name"], *invited["display_name"].split()))
        except PasswordTooWeak as error:
            page.form.fail_with(error, "password")
    if page.form.errors:
        return await _show_password(page, invited)
    page.visit = page.visit.with_proven(
        joining=digest_secret(secret).hex(),
        password_hash=await page.context.passwords.hash_password(password),
        code_secret=make_code_secret(),
    )
    return await page.redirect(f"/join/{secret}/app")


@pages.public("/join/{secret}/app")
async def show_app(page: Page, secret: str) -> Response:
    """Show the QR code."""
    invited = await read_invited(page, secret)
    if page.visit.proven.get("joining") != digest_secret(secret).hex():
        return await page.redirect(f"/join/{secret}")
    return await _show_app(page, invited)


@pages.public("/join/{secret}/app", method="POST")
async def take_first_code(page: Page, secret: str) -> Response:
    """Check the first code; the account is then active, and its owner signed in."""
    invited = await read_invited(page, secret)
    proven = page.visit.proven
    if proven.get("joining") != digest_secret(secret).hex():
        raise FormOutOfDate
    code = page.form.text("code", required="Enter the code that your authenticator app shows", most=12)
    step = find_step(proven["code_secret"], code, page.now, after=0)
    if step is None:
        page.form.fail("code", "The code is not right. Check your telephone's clock and wait for the next code")
        return await _show_app(page, invited)
    user_id = invited["user_id"]
    sealed = page.context.sealer.seal(f"code {user_id}", proven["code_secret"].encode())
    async with page.transaction() as connection:
        await spend_link(connection, secret, page)
        await activate_with_password(connection, user_id, proven["password_hash"], sealed, step=step, now=page.now)
        await page.context.journal.append_change(
            connection, user_id, user_id, "enrolled_password_code", invited["roles"]
        )
    return await finish_sign_in(page, user_id, invited["name"], method="password_code", following="/")


async def read_invited(page: PageContext, secret: str) -> dict[str, Any]:
    """Return whose link this is.

    Raises:
        LinkSpent: it is nobody's now.
    """
    async with page.connection() as connection:
        row = await connection.fetchrow(
            "SELECT u.user_id, u.name, u.display_name, ARRAY(SELECT r.role FROM console_user_roles r WHERE r.user_id = u.user_id) AS roles"
            " FROM console_links l JOIN console_users u USING (user_id) WHERE l.secret_sha256 = $1 AND l.used_at IS NULL"
            " AND l.expires_at > $2 AND u.state = 'invited' AND (u.expires_at IS NULL OR u.expires_at > $2)",
            digest_secret(secret),
            page.now,
        )
    if row is None:
        raise LinkSpent
    return dict(row)


async def spend_link(connection: Any, secret: str, page: PageContext) -> None:
    """Use the link up.

    Raises:
        LinkSpent: somebody was quicker.
    """
    done = await connection.execute(
        "UPDATE console_links SET used_at = $2 WHERE secret_sha256 = $1 AND used_at IS NULL AND expires_at > $2",
        digest_secret(secret),
        page.now,
    )
    if done != "UPDATE 1":
        raise LinkSpent


async def _show_password(page: PageContext, invited: dict[str, Any]) -> Response:
    return await page.render("join.html", invited=invited, shortest=SHORTEST, longest=LONGEST)


async def _show_app(page: PageContext, invited: dict[str, Any]) -> Response:
    secret = page.visit.proven["code_secret"]
    return await page.render(
        "join-app.html", invited=invited, picture=draw_qr_code(secret, invited["name"]), secret=group_secret(secret)
    )
