"""Sessions: rows in PostgreSQL, found by the digest of a random cookie; who the person is and what they may do is read anew at every request.

A session ends when it is idle too long, at its longest age, when the account expires or is disabled, and when anyone ends it. Its secret changes at
sign-in and at every confirmation (OWASP ASVS 5.0, 7.2.4), so that what was seen before is worth nothing.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_urlsafe
from typing import Any, Final
from uuid import UUID, uuid4

from broker.console.access import Capability, Role, list_capabilities
from broker.store.pool import Connection

SECRET_BYTES: Final = 32
MOST_SESSIONS: Final = 5
"""Of one person; the oldest ends when another begins."""
_SEEN_EVERY: Final = timedelta(seconds=20)
_MAX_BROWSER: Final = 60


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is looking, as of this request."""

    user_id: UUID
    name: str
    display_name: str
    roles: frozenset[Role]
    agency: str | None
    """The one agency whose business they may see; none: the partnership's."""
    person_id: str | None
    """Who they are in the directory, where they approve."""
    account_expires_at: datetime | None
    session_id: UUID
    secret_sha256: bytes
    method: str
    expires_at: datetime
    confirmed_at: datetime
    notice: str | None

    @property
    def ends_at(self) -> datetime:
        """When this session ends at the latest: its own end, or that of the account, which may have been brought forward since."""
        ends = (self.expires_at, self.account_expires_at)
        return min(at for at in ends if at is not None)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What they may do."""
        return list_capabilities(self.roles)

    def may(self, capability: Capability) -> bool:
        """Tell whether one of their roles allows it."""
        return capability in self.capabilities


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long sessions last."""

    idle: timedelta
    longest: timedelta
    confirmed_for: timedelta


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One of a person's sessions, as they see it."""

    session_id: UUID
    method: str
    browser: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


def digest_secret(secret: str) -> bytes:
    """Return what is stored of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


async def find_viewer(connection: Connection, secret: str, limits: SessionLimits, now: datetime) -> Viewer | None:
    """Return who has this session, or none if it is over or the account is; note that it was used."""
    row = await connection.fetchrow(
        "SELECT s.secret_sha256, s.session_id, s.method, s.seen_at, s.expires_at, s.confirmed_at, s.notice, u.user_id, u.name, u.display_name,"
        " u.agency, u.person_id, u.expires_at AS account_expires_at,"
        " ARRAY(SELECT r.role FROM console_user_roles r WHERE r.user_id = u.user_id) AS roles"
        " FROM console_sessions s JOIN console_users u USING (user_id)"
        " WHERE s.secret_sha256 = $1 AND s.ended_at IS NULL AND s.expires_at > $2 AND s.seen_at > $3 AND u.state = 'active'"
        " AND (u.expires_at IS NULL OR u.expires_at > $2)",
        digest_secret(secret),
        now,
        now - limits.idle,
    )
    if row is None:
        return None
    if row["seen_at"] + _SEEN_EVERY < now:
        await connection.execute(
            "UPDATE console_sessions SET seen_at = $2 WHERE secret_sha256 = $1", row["secret_sha256"], now
        )
    return _read_viewer(row)


async def is_alive(connection: Connection, viewer: Viewer, capability: Capability, now: datetime) -> bool:
    """Tell whether a session that is being streamed to still is one, and still may. It does not count as use."""
    roles = await connection.fetchval(
        "SELECT ARRAY(SELECT r.role FROM console_user_roles r WHERE r.user_id = u.user_id)"
        " FROM console_sessions s JOIN console_users u USING (user_id) WHERE s.session_id = $1 AND s.ended_at IS NULL AND s.expires_at > $2"
        " AND u.state = 'active' AND (u.expires_at IS NULL OR u.expires_at > $2)",
        viewer.session_id,
        now,
    )
    return roles is not None and capability in list_capabilities(Role(role) for role in roles)


async def begin_session(
    connection: Connection,
    user_id: UUID,
    limits: SessionLimits,
    now: datetime,
    *,
    method: str,
    browser: str,
    session_id: UUID | None = None,
    expires_at: datetime | None = None,
) -> tuple[str, Viewer]:
    """Begin a session, or go on with one under a new secret; return the secret, which is kept nowhere, and the viewer."""
    secret = token_urlsafe(SECRET_BYTES)
    account_end = await connection.fetchval("SELECT expires_at FROM console_users WHERE user_id = $1", user_id)
    end = min(at for at in (now + limits.longest, account_end, expires_at) if at is not None)
    await connection.execute(
        "INSERT INTO console_sessions (secret_sha256, session_id, user_id, method, browser, created_at, seen_at, expires_at, confirmed_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $6)",
        digest_secret(secret),
        session_id or uuid4(),
        user_id,
        method,
        browser[:_MAX_BROWSER],
        now,
        end,
    )
    await connection.execute(
        "UPDATE console_sessions SET ended_at = $2 WHERE user_id = $1 AND ended_at IS NULL AND secret_sha256 NOT IN"
        " (SELECT secret_sha256 FROM console_sessions WHERE user_id = $1 AND ended_at IS NULL ORDER BY created_at DESC LIMIT $3)",
        user_id,
        now,
        MOST_SESSIONS,
    )
    viewer = await find_viewer(connection, secret, limits, now)
    if viewer is None:
        raise RuntimeError("a session was begun for an account that is not active")
    return secret, viewer


async def renew_session(
    connection: Connection, viewer: Viewer, limits: SessionLimits, now: datetime, *, method: str, browser: str
) -> str:
    """Give a session a new secret and a fresh confirmation; it ends when it would have. Return the secret."""
    await connection.execute("DELETE FROM console_sessions WHERE secret_sha256 = $1", viewer.secret_sha256)
    secret, _ = await begin_session(
        connection,
        viewer.user_id,
        limits,
        now,
        method=method,
        browser=browser,
        session_id=viewer.session_id,
        expires_at=viewer.expires_at,
    )
    return secret


async def end_session(connection: Connection, user_id: UUID, session_id: UUID, now: datetime) -> bool:
    """End one session of a person; return whether it was open."""
    done = await connection.execute(
        "UPDATE console_sessions SET ended_at = $3 WHERE user_id = $1 AND session_id = $2 AND ended_at IS NULL",
        user_id,
        session_id,
        now,
    )
    return bool(done != "UPDATE 0")


async def end_sessions(connection: Connection, user_id: UUID, now: datetime, *, but: UUID | None = None) -> int:
    """End all sessions of a person but one; return how many."""
    done = await connection.execute(
        "UPDATE console_sessions SET ended_at = $2 WHERE user_id = $1 AND ended_at IS NULL AND session_id IS DISTINCT FROM $3",
        user_id,
        now,
        but,
    )
    return int(done.rpartition(" ")[2])


async def list_sessions(
    connection: Connection, user_id: UUID, limits: SessionLimits, now: datetime
) -> list[SessionRow]:
    """Return a person's open sessions, the newest first."""
    rows = await connection.fetch(
        "SELECT session_id, method, browser, created_at, seen_at, expires_at FROM console_sessions WHERE user_id = $1 AND ended_at IS NULL"
        " AND expires_at > $2 AND seen_at > $3 ORDER BY created_at DESC",
        user_id,
        now,
        now - limits.idle,
    )
    return [SessionRow(**dict(row)) for row in rows]


async def leave_notice(connection: Connection, viewer: Viewer, notice: str | None) -> None:
    """Keep one sentence for the next page of this session, or take it away."""
    await connection.execute(
        "UPDATE console_sessions SET notice = $2 WHERE secret_sha256 = $1", viewer.secret_sha256, notice
    )


async def forget_old_sessions(connection: Connection, now: datetime) -> None:
    """Remove sessions that ended a month ago: that they were is in the log."""
    await connection.execute("DELETE FROM console_sessions WHERE expires_at < $1", now - timedelta(days=30))


def _read_viewer(row: Any) -> Viewer:
    return Viewer(
        user_id=row["user_id"],
        name=row["name"],
        display_name=row["display_name"],
        roles=frozenset(Role(role) for role in row["roles"]),
        agency=row["agency"],
        person_id=row["person_id"],
        account_expires_at=row["account_expires_at"],
        session_id=row["session_id"],
        secret_sha256=row["secret_sha256"],
        method=row["method"],
        expires_at=row["expires_at"],
        confirmed_at=row["confirmed_at"],
        notice=row["notice"],
    )


def describe_browser(user_agent: str) -> str:
    """Return what a person recognises of their browser, from its header: kind and system alone."""
    kinds = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
    systems = (
        ("Windows", "Windows"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    )
    kind = next((name for mark, name in kinds if mark in user_agent), "A browser")
    system = next((name for mark, name in systems if mark in user_agent), "an unknown system")
    return f"{kind} on {system}"
