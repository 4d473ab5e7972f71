"""Signing in, confirming, enrolling and adding with a passkey. The browser's part needs JavaScript; every other way works without.

The challenge travels in the visit's sealed cookie and is used up with the answer, so that an answer counts once.
"""

from secrets import token_urlsafe
from typing import Any, Final
from uuid import UUID

from fastapi import Response

from broker.console.access import Capability
from broker.console.addresses import choose_next
from broker.console.attempts import ADDRESS
from broker.console.formats import format_day
from broker.console.journal import NOBODY
from broker.console.page import FormOutOfDate, Page, PageContext
from broker.console.routing import Pages
from broker.console.sessions import describe_browser
from broker.console.signin.finishing import finish_confirmation, finish_sign_in
from broker.console.signin.joining import read_invited, spend_link
from broker.console.signin.passkeys import NewPasskey, PasskeyRefused, read_challenge
from broker.console.visits import use_up
from broker.store.pool import Connection
from schemas.errors import Conflict, NotFound

MOST_PASSKEYS: Final = 10

pages = Pages("signin")


@pages.public("/sign-in/passkey")
async def show_passkey(page: Page, next: str = "/") -> Response:  # noqa: A002 - the name in the address
    """Ask the browser for a passkey, whosever it is."""
    _require_local(page)
    return await _ask(page, action="/sign-in/passkey", following=choose_next(next), allowed=None)


@pages.public("/sign-in/passkey", method="POST")
async def take_passkey(page: Page) -> Response:
    """Verify the passkey and begin the session of its owner."""
    _require_local(page)
    attempts = page.context.attempts
    async with page.connection() as connection:
        await attempts.require_free(connection, {attempts.address_key(page.address): ADDRESS}, page.now)
    try:
        kept = await _verify(page, owner=None)
    except PasskeyRefused:
        async with page.transaction() as connection:
            await attempts.count_failure(connection, [attempts.address_key(page.address)], page.now)
            await page.context.journal.append_sign_in(connection, NOBODY, "failed_passkey")
        raise
    following = choose_next(page.form.value("next"))
    return await finish_sign_in(page, kept["user_id"], kept["name"], method="passkey", following=following)


@pages.read("/account/confirm/passkey", capability=Capability.OWN_ACCOUNT, action="own_account", confirmed=False)
async def show_confirming(page: Page, next: str = "/") -> Response:  # noqa: A002
    """Ask the browser for one of the viewer's own passkeys."""
    async with page.connection() as connection:
        known = await _list_ids(connection, page.user.user_id)
    if not known:
        raise NotFound("this account has no passkey", field="passkey")
    return await _ask(page, action="/account/confirm/passkey", following=choose_next(next), allowed=known)


@pages.act("/account/confirm/passkey", capability=Capability.OWN_ACCOUNT, confirmed=False)
async def take_confirmation(page: Page) -> Response:
    """Verify one of the viewer's own passkeys; the session gets a new secret."""
    try:
        await _verify(page, owner=page.user.user_id)
    except PasskeyRefused:
        async with page.transaction() as connection:
            await page.context.journal.append_sign_in(connection, page.user.user_id, "failed_confirmation")
        raise
    return await finish_confirmation(page, method="passkey", following=choose_next(page.form.value("next")))


@pages.public("/join/{secret}/passkey")
async def show_joining(page: Page, secret: str) -> Response:
    """Offer whoever was invited to make a passkey."""
    _require_local(page)
    invited = await read_invited(page, secret)
    return await _offer(page, invited["user_id"], invited["name"], f"/join/{secret}/passkey", [])


@pages.public("/join/{secret}/passkey", method="POST")
async def take_joining(page: Page, secret: str) -> Response:
    """Keep the passkey; the account is then active, and its owner signed in."""
    _require_local(page)
    invited = await read_invited(page, secret)
    new = _read_new(page)
    user_id = invited["user_id"]
    async with page.transaction() as connection:
        await spend_link(connection, secret, page)
        await _keep(page, connection, user_id, new)
        await connection.execute(
            "UPDATE console_users SET state = 'active', changed_at = $2 WHERE user_id = $1", user_id, page.now
        )
        await page.context.journal.append_change(connection, user_id, user_id, "enrolled_passkey", invited["roles"])
    return await finish_sign_in(page, user_id, invited["name"], method="passkey", following="/")


@pages.read("/account/passkeys/add", capability=Capability.OWN_ACCOUNT, action="own_account", confirmed=True)
async def show_adding(page: Page) -> Response:
    """Offer the viewer to make another passkey."""
    viewer = page.user
    async with page.connection() as connection:
        known = await _list_ids(connection, viewer.user_id)
    return await _offer(page, viewer.user_id, viewer.name, "/account/passkeys/add", known)


@pages.act("/account/passkeys/add", capability=Capability.OWN_ACCOUNT, confirmed=True)
async def add(page: Page) -> Response:
    """Keep another passkey of the viewer."""
    viewer, new = page.user, _read_new(page)
    async with page.transaction() as connection:
        if len(await _list_ids(connection, viewer.user_id)) >= MOST_PASSKEYS:
            raise Conflict(f"an account has at most {MOST_PASSKEYS} passkeys: remove one first", field="passkey")
        await _keep(page, connection, viewer.user_id, new)
        await page.context.journal.append_change(
            connection, viewer.user_id, viewer.user_id, "passkey_added", viewer.roles
        )
    page.visit = page.visit.with_proven(challenge=None)
    return await page.redirect("/account", notice="The passkey is ready to sign in with.")


@pages.act("/account/passkeys/{credential}/remove", capability=Capability.OWN_ACCOUNT, confirmed=True)
async def remove(page: Page, credential: str) -> Response:
    """Remove one of the viewer's passkeys, unless nothing else is left to sign in with."""
    viewer = page.user
    async with page.transaction() as connection:
        others = await connection.fetchval(
            "SELECT u.password_hash IS NOT NULL OR EXISTS (SELECT FROM console_identities i WHERE i.user_id = u.user_id)"
            " OR (SELECT count(*) FROM console_passkeys p WHERE p.user_id = u.user_id) > 1"
            " FROM console_users u WHERE user_id = $1 FOR UPDATE",
            viewer.user_id,
        )
        done = await connection.execute(
            "DELETE FROM console_passkeys WHERE user_id = $1 AND encode(credential_id, 'hex') = $2",
            viewer.user_id,
            credential,
        )
        if done != "DELETE 1":
            raise NotFound("there is no such passkey", field="credential")
        if not others:
            raise Conflict("it is the only way to sign in: add another first", field="credential")
        await page.context.journal.append_change(
            connection, viewer.user_id, viewer.user_id, "passkey_removed", viewer.roles
        )
    return await page.redirect("/account", notice="The passkey is removed.")


async def _ask(page: PageContext, *, action: str, following: str, allowed: list[bytes] | None) -> Response:
    options = page.context.passkeys.ask(_new_challenge(page), allowed)
    return await page.render("passkey.html", action=action, options=options, kind="get", following=following)


async def _offer(page: PageContext, user_id: UUID, name: str, action: str, known: list[bytes]) -> Response:
    options = page.context.passkeys.offer(_new_challenge(page), user_id, name, known)
    return await page.render("passkey.html", action=action, options=options, kind="create", following="/")


def _new_challenge(page: PageContext) -> bytes:
    text = token_urlsafe(32)
    page.visit = page.visit.with_proven(challenge=text)
    return read_challenge(text)


def _read_kept_challenge(page: PageContext) -> str:
    kept = page.visit.proven.get("challenge")
    if not isinstance(kept, str):
        raise FormOutOfDate
    return kept


def _read_new(page: PageContext) -> NewPasskey:
    return page.context.passkeys.take_new(page.form.value("credential"), read_challenge(_read_kept_challenge(page)))


async def _verify(page: PageContext, *, owner: UUID | None) -> dict[str, Any]:
    """Return whose passkey the form's answer proves, having used its challenge up; ``owner`` is who it must be.

    Raises:
        PasskeyRefused: it proves nobody's, or another's.
        FormOutOfDate: the challenge was used before, or there was none.
    """
    challenge, text = _read_kept_challenge(page), page.form.value("credential")
    credential_id, handle = page.context.passkeys.read_id(text)
    async with page.transaction() as connection:
        row = await connection.fetchrow(
            "SELECT p.user_id, p.public_key, p.sign_count, u.name FROM console_passkeys p JOIN console_users u USING (user_id)"
            " WHERE p.credential_id = $1 AND u.state = 'active' AND (u.expires_at IS NULL OR u.expires_at > $2) FOR UPDATE OF p",
            credential_id,
            page.now,
        )
        if row is None or owner not in (None, row["user_id"]) or handle not in (None, row["user_id"].bytes):
            raise PasskeyRefused("it is nobody's, or another's", field="credential")
        count = page.context.passkeys.verify(text, read_challenge(challenge), dict(row))
        if not await use_up(connection, f"challenge {challenge}", page.now):
            raise FormOutOfDate
        await connection.execute(
            "UPDATE console_passkeys SET sign_count = $2, used_at = $3 WHERE credential_id = $1",
            credential_id,
            count,
            page.now,
        )
    return dict(row)


async def _keep(page: PageContext, connection: Connection, user_id: UUID, new: NewPasskey) -> None:
    if not await use_up(connection, f"challenge {_read_kept_challenge(page)}", page.now):
        raise FormOutOfDate
    label = f"{describe_browser(page.request.headers.get('user-agent', ''))}, {format_day(page.now)}"
    done = await connection.execute(
        "INSERT INTO console_passkeys (credential_id, user_id, public_key, sign_count, label, created_at) VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT DO NOTHING",
        new.credential_id,
        user_id,
        new.public_key,
        new.sign_count,
        label[:60],
        page.now,
    )
    if done != "INSERT 0 1":
        raise PasskeyRefused("it is kept already", field="credential")


async def _list_ids(connection: Connection, user_id: UUID) -> list[bytes]:
    rows = await connection.fetch("SELECT credential_id FROM console_passkeys WHERE user_id = $1", user_id)
    return [row["credential_id"] for row in rows]


def _require_local(page: PageContext) -> None:
    if not page.context.settings.local_accounts:
        raise NotFound("local accounts are switched off", field="sign-in")
