"""Accounts of the console from the command line, by whoever holds the hub's configuration; events name them as such."""

import getpass
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg

from broker.config import HubConfig, read_log_key
from broker.console import users
from broker.console.access import Role
from broker.console.journal import Journal
from broker.console.users import NewUser, User
from broker.log import LogWriter
from broker.store.pool import open_pool, translate_errors
from schemas.errors import MalformedMessage


def read_roles(words: Sequence[str]) -> frozenset[Role]:
    """Return the roles that the words name.

    Raises:
        MalformedMessage: one is no role.
    """
    known = {role.value for role in Role}
    if not set(words) <= known:
        raise MalformedMessage(f"roles are {', '.join(sorted(known))}", field="role")
    return frozenset(Role(word) for word in words)


def describe_new(
    name: str, full_name: str, roles: Sequence[str], *, agency: str | None, person: str | None, days: int | None
) -> NewUser:
    """Return a new account as the command line describes it.

    Raises:
        MalformedMessage: one of the roles is none.
    """
    return NewUser(
        name=name,
        display_name=full_name,
        roles=read_roles(roles),
        agency=agency,
        person_id=person,
        expires_at=datetime.now(UTC) + timedelta(days=days) if days else None,
    )


async def add_account(config: HubConfig, new: NewUser) -> str:
    """Add an account and return its one-time link."""
    async with open_accounts(config) as (connection, journal):
        secret = await users.add_user(connection, journal, new, by=_who(), now=datetime.now(UTC))
    return _link(config, secret)


async def list_accounts(config: HubConfig) -> list[User]:
    """Return all accounts."""
    async with open_accounts(config) as (connection, _):
        return await users.list_users(connection)


async def change_account_roles(config: HubConfig, name: str, roles: Sequence[str]) -> None:
    """Give an account these roles."""
    wanted = read_roles(roles)
    async with open_accounts(config) as (connection, journal):
        user = await users.find_user(connection, name)
        await users.change_roles(
            connection, journal, user, wanted, by=_who(), now=datetime.now(UTC), expires_at=user.expires_at
        )


async def disable_account(config: HubConfig, name: str) -> None:
    """Disable an account."""
    async with open_accounts(config) as (connection, journal):
        user = await users.find_user(connection, name)
        await users.disable_user(connection, journal, user, by=_who(), now=datetime.now(UTC))


async def reset_account(config: HubConfig, name: str) -> str:
    """Reset an account and return its new one-time link."""
    async with open_accounts(config) as (connection, journal):
        user = await users.find_user(connection, name)
        secret = await users.reset_user(connection, journal, user, by=_who(), now=datetime.now(UTC))
    return _link(config, secret)


@asynccontextmanager
async def open_accounts(config: HubConfig) -> AsyncIterator[tuple[asyncpg.pool.PoolConnectionProxy, Journal]]:
    """Give a connection of the console's role inside a transaction, and the journal."""
    log = LogWriter(config.log.origin, read_log_key(config.log.key_file), epoch=config.log.epoch)
    pool = await open_pool(config.postgres.read_dsn("console"), name="safelane-console-users", most=1)
    try:
        with translate_errors():
            async with pool.acquire(timeout=10) as connection, connection.transaction():
                yield connection, Journal(pool, log, lambda: datetime.now(UTC))
    finally:
        await pool.close()


def _who() -> str:
    return f"command-line:{getpass.getuser()}"


def _link(config: HubConfig, secret: str) -> str:
    base = config.console.public_url if config.console else ""
    return f"{base}/join/{secret}"
