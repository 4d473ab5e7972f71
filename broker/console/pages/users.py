"""Users and roles: who may use the console, as what, until when. Every change is an event of the log and takes effect at once."""

import re
from typing import Any, Final
from uuid import UUID

from fastapi import Response

from broker.console import users
from broker.console.access import Capability, Role
from broker.console.page import Page, PageContext
from broker.console.routing import Pages
from broker.console.sessions import list_sessions
from broker.console.users import NewUser, User
from schemas.errors import Conflict, MalformedMessage, NotPermitted, SafelaneError

PERSON_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,79}")

pages = Pages("users", navigation=("Users", "/users", Capability.READ_USERS, 120))


@pages.read("/users", capability=Capability.READ_USERS, action="users_list")
async def show_users(page: Page) -> Response:
    """List the accounts: to somebody of one agency, those of its people."""
    async with page.connection() as connection:
        found = await users.list_users(connection, agency=page.user.agency)
    return await page.render("list.html", users=found, may_manage=page.user.may(Capability.MANAGE_USERS))


@pages.read("/users/add", capability=Capability.MANAGE_USERS, action="user_form")
async def show_adding(page: Page) -> Response:
    """Show the form for somebody new."""
    return await _show_adding(page)


@pages.act("/users/add", capability=Capability.MANAGE_USERS)
async def add(page: Page) -> Response:
    """Add an account and show its one-time link, once."""
    form = page.form
    name = form.text("name", required="Enter a user name", most=64).lower()
    full_name = form.text("display_name", required="Enter the person's full name", most=80)
    roles = frozenset(Role(role) for role in form.choices("roles", list(Role), required="Choose at least one role"))
    agency = form.text("agency") or None
    if agency is not None and agency not in dict(await _list_agencies(page)):
        form.fail("agency", "Choose an agency from the list")
    person = form.text("person_id", most=80)
    if person and not PERSON_ID.fullmatch(person):
        form.fail("person_id", "A person id has letters, digits, dots and hyphens")
    expires_at = form.end_of_day("expires_at")
    if form.errors:
        return await _show_adding(page)
    new = NewUser(name, full_name, roles, agency, person or None, expires_at)
    try:
        async with page.transaction() as connection:
            secret = await users.add_user(connection, page.context.journal, new, by=page.user.user_id, now=page.now)
    except (MalformedMessage, Conflict) as error:
        form.fail_with(error, "name")
        return await _show_adding(page)
    return await _show_link(page, full_name, secret)


@pages.read("/users/{user_id}", capability=Capability.READ_USERS, action="user_read")
async def show_user(page: Page, user_id: UUID) -> Response:
    """Show one account: what it may do, where it is signed in, and what an operator can change."""
    async with page.connection() as connection:
        user = await users.read_user(connection, user_id, agency=page.user.agency)
        sessions = await list_sessions(connection, user_id, page.context.limits, page.now)
    own = user_id == page.user.user_id
    may_manage = page.user.may(Capability.MANAGE_USERS) and not own
    return await page.render("one.html", user=user, sessions=sessions, may_manage=may_manage, own=own)


@pages.read("/users/{user_id}/roles", capability=Capability.MANAGE_USERS, action="user_form")
async def show_roles(page: Page, user_id: UUID) -> Response:
    """Show the form for roles and the account's end."""
    return await _show_roles(page, await _read_other(page, user_id))


@pages.act("/users/{user_id}/roles", capability=Capability.MANAGE_USERS)
async def change_roles(page: Page, user_id: UUID) -> Response:
    """Change roles and the account's end."""
    user = await _read_other(page, user_id)
    form = page.form
    roles = frozenset(Role(role) for role in form.choices("roles", list(Role), required="Choose at least one role"))
    expires_at = form.end_of_day("expires_at")
    if not form.errors:
        try:
            async with page.transaction() as connection:
                await users.change_roles(
                    connection,
                    page.context.journal,
                    user,
                    roles,
                    by=page.user.user_id,
                    now=page.now,
                    expires_at=expires_at,
                )
        except MalformedMessage as error:
            form.fail_with(error, "roles")
    if form.errors:
        return await _show_roles(page, user)
    return await page.redirect(f"/users/{user_id}", notice=f"The roles of {user.display_name} have changed.")


@pages.read("/users/{user_id}/disable", capability=Capability.MANAGE_USERS, action="user_form")
async def show_disabling(page: Page, user_id: UUID) -> Response:
    """Ask whether the account is really to be disabled."""
    return await page.render("sure.html", user=await _read_other(page, user_id), act="disable")


@pages.act("/users/{user_id}/disable", capability=Capability.MANAGE_USERS)
async def disable(page: Page, user_id: UUID) -> Response:
    """Disable an account; its sessions end at once."""
    user = await _read_other(page, user_id)
    async with page.transaction() as connection:
        await users.disable_user(connection, page.context.journal, user, by=page.user.user_id, now=page.now)
    return await page.redirect(
        f"/users/{user_id}", notice=f"{user.display_name} can no longer sign in. Open sessions have ended."
    )


@pages.read("/users/{user_id}/reset", capability=Capability.MANAGE_USERS, action="user_form")
async def show_resetting(page: Page, user_id: UUID) -> Response:
    """Ask whether the account is really to be reset."""
    return await page.render("sure.html", user=await _read_other(page, user_id), act="reset")


@pages.act("/users/{user_id}/reset", capability=Capability.MANAGE_USERS)
async def reset(page: Page, user_id: UUID) -> Response:
    """Take every way to sign in away and show a new one-time link, once."""
    user = await _read_other(page, user_id)
    try:
        async with page.transaction() as connection:
            secret = await users.reset_user(connection, page.context.journal, user, by=page.user.user_id, now=page.now)
    except Conflict:
        page.form.fail("roles", "The account is over. Give it a later end first")
        return await _show_roles(page, user)
    return await _show_link(page, user.display_name, secret)


async def _read_other(page: PageContext, user_id: UUID) -> User:
    """Return somebody else's account.

    Raises:
        NotPermitted: it is one's own.
    """
    if user_id == page.user.user_id:
        raise NotPermitted("nobody changes their own account's roles or state: ask another operator")
    async with page.connection() as connection:
        return await users.read_user(connection, user_id)


async def _show_adding(page: PageContext) -> Response:
    return await page.render("add.html", agencies=await _list_agencies(page), roles=list(Role))


async def _show_roles(page: PageContext, user: User) -> Response:
    chosen: list[Any] = page.form.values.get("roles") or [role.value for role in user.roles]
    return await page.render("roles.html", user=user, roles=list(Role), chosen=chosen)


async def _show_link(page: PageContext, full_name: str, secret: str) -> Response:
    link = f"{page.context.settings.public_url}/join/{secret}"
    return await page.render("link.html", full_name=full_name, link=link, life=users.LINK_LIFE)


async def _list_agencies(page: PageContext) -> list[tuple[str, str]]:
    """Return the directory's agencies by name; none while there is no directory."""
    try:
        directory = (await page.context.registry.current()).directory
    except SafelaneError:
        return []
    return sorted(((agency.id, agency.name) for agency in directory.agencies), key=lambda pair: pair[1])
