"""Signing in with a password and a one-time code, signing out, and confirming with a code.

A wrong name, a wrong password and an account that is disabled look the same and take the same work (OWASP ASVS 5.0, 6.3.8).
"""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from fastapi import Response

from broker.console.access import Capability
from broker.console.addresses import choose_next, with_next
from broker.console.attempts import ACCOUNT, ADDRESS
from broker.console.journal import NOBODY
from broker.console.kept_forms import take_form
from broker.console.page import FormOutOfDate, Page, PageContext
from broker.console.routing import Pages
from broker.console.sessions import end_session
from broker.console.signin.codes import find_step
from broker.console.signin.finishing import finish_confirmation, finish_sign_in
from broker.console.visits import SESSION_COOKIE, VISIT_COOKIE, remove_cookie
from broker.store.pool import Connection
from schemas.errors import NotFound

PASSWORD_GOOD_FOR: Final = timedelta(minutes=5)
"""From the password to the code."""
MAX_NAME: Final = 64

pages = Pages("signin")


@pages.public("/sign-in")
async def show_sign_in(page: Page, next: str = "/") -> Response:  # noqa: A002 - the name in the address
    """Show the ways to sign in; who has is sent on."""
    if await page.recognise() is not None:
        return await page.redirect(choose_next(next))
    return await _show_password(page, choose_next(next), ended=SESSION_COOKIE in page.request.cookies)


@pages.public("/sign-in", method="POST")
async def take_password(page: Page) -> Response:
    """Check name and password; go on to the code."""
    _require_local(page)
    form = page.form
    name = form.text("name", required="Enter your user name", most=MAX_NAME).lower()
    password = form.secret("password", required="Enter your password")
    following = choose_next(form.value("next"))
    if form.errors:
        return await _show_password(page, following)
    async with page.connection() as connection:
        await _require_free(page, connection, name)
        account = await _read_account(connection, "name = $1", name, page.now)
    if (
        not await page.context.passwords.is_right(account["password_hash"] if account else None, password)
        or not account
    ):
        await _count_failure(page, name, account, "failed_password")
        form.fail("password", "The user name or the password is not right")
        return await _show_password(page, following)
    page.visit = page.visit.with_proven(user=str(account["user_id"]), password_at=page.now.isoformat())
    return await page.redirect(with_next("/sign-in/code", following))


@pages.public("/sign-in/code")
async def show_code(page: Page, next: str = "/") -> Response:  # noqa: A002
    """Ask for the one-time code."""
    if _read_proven(page) is None:
        return await page.redirect("/sign-in")
    return await page.render("code.html", following=choose_next(next))


@pages.public("/sign-in/code", method="POST")
async def take_code(page: Page) -> Response:
    """Check the code and begin the session."""
    user_id = _read_proven(page)
    if user_id is None:
        raise FormOutOfDate
    following = choose_next(page.form.value("next"))
    code = page.form.text("code", required="Enter the code that your authenticator app shows", most=12)
    async with page.connection() as connection:
        account = await _read_account(connection, "user_id = $1", user_id, page.now)
        if account is None:
            raise FormOutOfDate
        await _require_free(page, connection, account["name"])
    if page.form.errors or not await use_code(page, account, code):
        if not page.form.errors:
            await _count_failure(page, account["name"], account, "failed_code")
            page.form.fail("code", "The code is not right, or was used before. Wait for the next one")
        return await page.render("code.html", following=following)
    return await finish_sign_in(page, user_id, account["name"], method="password_code", following=following)


@pages.act("/sign-out", capability=Capability.OWN_ACCOUNT)
async def sign_out(page: Page) -> Response:
    """End this session."""
    viewer = page.user
    async with page.transaction() as connection:
        await end_session(connection, viewer.user_id, viewer.session_id, page.now)
        await page.context.journal.append_sign_in(connection, viewer.user_id, "signed_out")
    page.viewer = None
    response = await page.redirect("/signed-out")
    remove_cookie(response, SESSION_COOKIE)
    remove_cookie(response, VISIT_COOKIE)
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


@pages.public("/signed-out")
async def show_signed_out(page: Page) -> Response:
    """Say that the session is over."""
    return await page.render("signed-out.html")


@pages.read("/account/confirm", capability=Capability.OWN_ACCOUNT, action="own_account", confirmed=False)
async def show_confirmation(page: Page, next: str = "/") -> Response:  # noqa: A002
    """Ask for a fresh second factor."""
    return await show_confirming(page, choose_next(next))


@pages.act("/account/confirm", capability=Capability.OWN_ACCOUNT, confirmed=False)
async def take_confirmation(page: Page) -> Response:
    """Check a code again; the session gets a new secret."""
    viewer, form = page.user, page.form
    following = choose_next(form.value("next"))
    code = form.text("code", required="Enter the code that your authenticator app shows", most=12)
    if form.errors:
        return await show_confirming(page, following)
    async with page.connection() as connection:
        await _require_free(page, connection, viewer.name)
        account = await _read_account(connection, "user_id = $1", viewer.user_id, page.now)
    if account is None or account["code_secret"] is None:
        raise NotFound("this account has no one-time codes", field="code")
    if not await use_code(page, account, code):
        await _count_failure(page, viewer.name, account, "failed_confirmation")
        form.fail("code", "The code is not right, or was used before. Wait for the next one")
        return await show_confirming(page, following)
    return await finish_confirmation(page, method="code", following=following)


@pages.read("/account/confirm/resume", capability=Capability.OWN_ACCOUNT, action="own_account", confirmed=False)
async def resume(page: Page) -> Response:
    """Hand back the form that asked for the confirmation, to be sent on; without one, go to the first page."""
    async with page.connection() as connection:
        kept = await take_form(connection, page.context.sealer, page.user.session_id, page.now)
    return await (page.redirect("/") if kept is None else page.render("resume.html", kept=kept))


async def show_confirming(page: PageContext, following: str) -> Response:
    """Return the page that asks for a fresh second factor, by the ways that this account has."""
    async with page.connection() as connection:
        ways = await connection.fetchrow(
            "SELECT code_secret IS NOT NULL AS code, EXISTS (SELECT FROM console_passkeys p WHERE p.user_id = u.user_id) AS passkey,"
            " EXISTS (SELECT FROM console_identities i WHERE i.user_id = u.user_id) AS oidc"
            " FROM console_users u WHERE user_id = $1",
            page.user.user_id,
        )
    return await page.render("confirm.html", following=following, ways=dict(ways or {}))


async def use_code(page: PageContext, account: dict[str, Any], code: str) -> bool:
    """Tell whether a code is right for an account, and use its time step up."""
    sealed = account["code_secret"]
    if sealed is None:
        return False
    secret = page.context.sealer.open(f"code {account['user_id']}", sealed).decode()
    step = find_step(secret, code, page.now, after=account["code_step"])
    if step is None:
        return False
    async with page.connection() as connection:
        done = await connection.execute(
            "UPDATE console_users SET code_step = $2 WHERE user_id = $1 AND code_step < $2", account["user_id"], step
        )
    return bool(done == "UPDATE 1")


async def _show_password(page: PageContext, following: str, *, ended: bool = False) -> Response:
    return await page.render("sign-in.html", following=following, settings=page.context.settings, ended=ended)


def _require_local(page: PageContext) -> None:
    if not page.context.settings.local_accounts:
        raise NotFound("local accounts are switched off", field="sign-in")


def _read_proven(page: PageContext) -> UUID | None:
    """Return whose password this visit has shown within the last minutes."""
    proven = page.visit.proven
    if "user" not in proven or page.now > datetime.fromisoformat(proven["password_at"]) + PASSWORD_GOOD_FOR:
        return None
    return UUID(proven["user"])


async def _require_free(page: PageContext, connection: Connection, name: str) -> None:
    attempts = page.context.attempts
    limits = {attempts.account_key(name): ACCOUNT, attempts.address_key(page.address): ADDRESS}
    await attempts.require_free(connection, limits, page.now)


async def _count_failure(page: PageContext, name: str, account: dict[str, Any] | None, outcome: str) -> None:
    attempts = page.context.attempts
    async with page.transaction() as connection:
        failures = await attempts.count_failure(connection, [attempts.account_key(name)], page.now)
        await attempts.count_failure(connection, [attempts.address_key(page.address)], page.now)
        said = f"{outcome}_locked_out" if failures >= ACCOUNT.free else outcome
        await page.context.journal.append_sign_in(connection, account["user_id"] if account else NOBODY, said)


async def _read_account(connection: Connection, where: str, value: object, now: datetime) -> dict[str, Any] | None:
    row = await connection.fetchrow(
        f"SELECT user_id, name, password_hash, code_secret, code_step FROM console_users WHERE {where}"  # noqa: S608 (our own text)
        " AND state = 'active' AND (expires_at IS NULL OR expires_at > $2)",
        value,
        now,
    )
    return None if row is None else dict(row)
