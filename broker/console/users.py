"""Accounts of the console: who they are, what roles they have, how they are invited, disabled and reset. Every change is an event of the log.

Nobody changes their own roles or state, and nobody's account is deleted: events name it for good.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_urlsafe
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from broker.console.access import PARTNERSHIP_ONLY, Role
from broker.console.journal import Journal
from broker.console.sessions import digest_secret, end_sessions
from broker.store.pool import Connection
from schemas.errors import Conflict, MalformedMessage, NotFound, NotPermitted

LINK_LIFE: Final = timedelta(hours=72)
LONGEST_INSPECTION: Final = timedelta(days=42)
"""An inspector's account ends at the latest after six weeks; it can be given again."""
_LINK_BYTES: Final = 32

_SELECT: Final = (
    "SELECT "
    "u.user_id, u.name, u.display_name, u.agency, u.person_id, u.state, u.expires_at, u.created_at, u.password_hash IS NOT NULL AS has_password,"
    " ARRAY(SELECT r.role FROM console_user_roles r WHERE r.user_id = u.user_id ORDER BY r.role) AS roles,"
    " (SELECT count(*) FROM console_passkeys p WHERE p.user_id = u.user_id) AS passkeys,"
    " (SELECT count(*) FROM console_identities i WHERE i.user_id = u.user_id) AS identities,"
    " (SELECT max(s.created_at) FROM console_sessions s WHERE s.user_id = u.user_id) AS signed_in_at"
    " FROM console_users u"
)


@dataclass(frozen=True, slots=True)
class User:
    """An account as administrators see it."""

    user_id: UUID
    name: str
    display_name: str
    agency: str | None
    person_id: str | None
    state: str
    expires_at: datetime | None
    created_at: datetime
    has_password: bool
    roles: tuple[Role, ...]
    passkeys: int
    identities: int
    signed_in_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewUser:
    """What an administrator says of somebody new."""

    name: str
    display_name: str
    roles: frozenset[Role]
    agency: str | None = None
    person_id: str | None = None
    expires_at: datetime | None = None


async def list_users(connection: Connection, *, agency: str | None = None) -> list[User]:
    """Return all accounts by name; of one agency's people if ``agency`` is given."""
    rows = await connection.fetch(f"{_SELECT} WHERE $1::text IS NULL OR u.agency = $1 ORDER BY u.name", agency)
    return [_read_user(row) for row in rows]


async def read_user(connection: Connection, user_id: UUID, *, agency: str | None = None) -> User:
    """Return one account.

    Raises:
        NotFound: there is none, or it is of none of ``agency``'s people, if that is given.
    """
    query = f"{_SELECT} WHERE u.user_id = $1 AND ($2::text IS NULL OR u.agency = $2)"
    return _require_row(await connection.fetchrow(query, user_id, agency))


async def find_user(connection: Connection, name: str) -> User:
    """Return the account of a name.

    Raises:
        NotFound: there is none.
    """
    return _require_row(await connection.fetchrow(f"{_SELECT} WHERE u.name = $1", name))


def check_roles(roles: Iterable[Role], agency: str | None, expires_at: datetime | None, now: datetime) -> None:
    """Return if these roles go together with the rest of the account.

    Raises:
        MalformedMessage: there is no role, a role of the partnership is given to a person of one agency, or an inspector has no end, one that is past
            or one that is too far.
    """
    wanted = frozenset(roles)
    if not wanted:
        raise MalformedMessage("choose at least one role", field="roles")
    if agency is not None and wanted & PARTNERSHIP_ONLY:
        raise MalformedMessage("an operator or inspector belongs to the partnership, not to one agency", field="roles")
    if Role.INSPECTOR in wanted and len(wanted) > 1:
        raise MalformedMessage("an inspector has no other role", field="roles")
    if Role.INSPECTOR in wanted and expires_at is None:
        raise MalformedMessage("an inspector's account needs the day on which it ends", field="expires_at")
    if expires_at is not None and expires_at <= now:
        raise MalformedMessage("the account would be over already", field="expires_at")
    if Role.INSPECTOR in wanted and expires_at is not None and expires_at > now + LONGEST_INSPECTION:
        raise MalformedMessage(f"an inspector's account ends within {LONGEST_INSPECTION.days} days", field="expires_at")


async def add_user(connection: Connection, journal: Journal, new: NewUser, *, by: UUID | str, now: datetime) -> str:
    """Add an account and return the secret of its one-time link. In the caller's transaction.

    Raises:
        Conflict: the name is taken.
        MalformedMessage: the roles do not go together, or the name has another form.
    """
    check_roles(new.roles, new.agency, new.expires_at, now)
    user_id = uuid4()
    try:
        await connection.execute(
            "INSERT INTO console_users (user_id, name, display_name, agency, person_id, expires_at, created_at, changed_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
            user_id,
            new.name,
            new.display_name,
            new.agency,
            new.person_id,
            new.expires_at,
            now,
        )
    except asyncpg.UniqueViolationError:
        raise Conflict("an account of this name is there already", field="name") from None
    except asyncpg.CheckViolationError:
        raise MalformedMessage(
            "a user name has 3 to 64 small letters, digits, dots, hyphens or @; a full name 1 to 80 characters",
            field="name",
        ) from None
    await _set_roles(connection, user_id, new.roles)
    secret = await make_link(connection, user_id, now)
    await journal.append_change(connection, by, user_id, "added", new.roles)
    return secret


async def make_link(connection: Connection, user_id: UUID, now: datetime) -> str:
    """Make a one-time link for an account, which replaces earlier ones; return its secret."""
    await connection.execute("DELETE FROM console_links WHERE user_id = $1 AND used_at IS NULL", user_id)
    secret = token_urlsafe(_LINK_BYTES)
    end = await connection.fetchval("SELECT expires_at FROM console_users WHERE user_id = $1", user_id)
    await connection.execute(
        "INSERT INTO console_links (secret_sha256, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)",
        digest_secret(secret),
        user_id,
        now,
        min(now + LINK_LIFE, end) if end else now + LINK_LIFE,
    )
    return secret


async def activate_with_password(
    connection: Connection, user_id: UUID, password_hash: str, sealed_secret: bytes, *, step: int, now: datetime
) -> None:
    """Make an account active with a password and one-time codes; ``step`` is the time step of the last code used."""
    await connection.execute(
        "UPDATE console_users SET state = 'active', password_hash = $2, code_secret = $3, code_step = $4, changed_at = $5"
        " WHERE user_id = $1",
        user_id,
        password_hash,
        sealed_secret,
        step,
        now,
    )


async def change_roles(
    connection: Connection,
    journal: Journal,
    user: User,
    roles: frozenset[Role],
    *,
    by: UUID | str,
    now: datetime,
    expires_at: datetime | None = None,
) -> None:
    """Give an account these roles, at once for its open sessions too; ``expires_at`` is the account's end afterwards.

    Raises:
        NotPermitted: it is one's own account.
        MalformedMessage: the roles do not go together.
    """
    _require_another(user, by)
    check_roles(roles, user.agency, expires_at, now)
    await connection.execute(
        "UPDATE console_users SET expires_at = $2, changed_at = $3 WHERE user_id = $1", user.user_id, expires_at, now
    )
    await connection.execute("DELETE FROM console_user_roles WHERE user_id = $1", user.user_id)
    await _set_roles(connection, user.user_id, roles)
    await journal.append_change(connection, by, user.user_id, "roles_changed", roles)


async def disable_user(connection: Connection, journal: Journal, user: User, *, by: UUID | str, now: datetime) -> None:
    """Disable an account and end its sessions and links at once.

    Raises:
        NotPermitted: it is one's own account.
    """
    _require_another(user, by)
    await connection.execute(
        "UPDATE console_users SET state = 'disabled', changed_at = $2 WHERE user_id = $1", user.user_id, now
    )
    await connection.execute("DELETE FROM console_links WHERE user_id = $1 AND used_at IS NULL", user.user_id)
    await end_sessions(connection, user.user_id, now)
    await journal.append_change(connection, by, user.user_id, "disabled", user.roles)


async def reset_user(connection: Connection, journal: Journal, user: User, *, by: UUID | str, now: datetime) -> str:
    """Take away every way to sign in, end the sessions, and return the secret of a new one-time link. A disabled account is enabled so.

    Raises:
        NotPermitted: it is one's own account.
        Conflict: the account is over.
    """
    _require_another(user, by)
    if user.expires_at is not None and user.expires_at <= now:
        raise Conflict("the account is over: give it a later end first", field="expires_at")
    await connection.execute(
        "UPDATE console_users SET state = 'invited', password_hash = NULL, code_secret = NULL, code_step = 0, changed_at = $2"
        " WHERE user_id = $1",
        user.user_id,
        now,
    )
    await connection.execute("DELETE FROM console_passkeys WHERE user_id = $1", user.user_id)
    await connection.execute("DELETE FROM console_identities WHERE user_id = $1", user.user_id)
    await end_sessions(connection, user.user_id, now)
    secret = await make_link(connection, user.user_id, now)
    await journal.append_change(connection, by, user.user_id, "reset", user.roles)
    return secret


async def _set_roles(connection: Connection, user_id: UUID, roles: Iterable[Role]) -> None:
    rows: Sequence[tuple[UUID, str]] = [(user_id, role.value) for role in sorted(roles)]
    await connection.executemany("INSERT INTO console_user_roles (user_id, role) VALUES ($1, $2)", rows)


def _require_another(user: User, by: UUID | str) -> None:
    if str(user.user_id) == str(by):
        raise NotPermitted("nobody changes their own account's roles or state: ask another operator")


def _require_row(row: Any) -> User:
    if row is None:
        raise NotFound("there is no such account", field="user")
    return _read_user(row)


def _read_user(row: Any) -> User:
    return User(**{**dict(row), "roles": tuple(Role(role) for role in row["roles"])})
