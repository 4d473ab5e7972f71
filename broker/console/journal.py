"""What people do at the console, as events of the message log: reads before a page is shown, sign-ins, changes of accounts.

An event is appended in the transaction of what it is about, last; a read in one of its own. What cannot be logged does not happen.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from broker.log import LogWriter, NewEvent
from broker.store.pool import Connection, translate_errors
from schemas.errors import DependencyUnavailable, SafelaneError

NOBODY: Final = "unknown"
"""Who failed to sign in, where no account has the name: the name itself may be anything, a password too."""
MAX_SUBJECT: Final = 300


class NotLogged(DependencyUnavailable):
    """The log cannot be written, so the page is not shown."""

    code = "not-logged"
    public_message = (
        "This page cannot be shown now: looking at it could not be recorded in the message log. Try again in a minute."
    )


class Journal:
    """Appends the console's events. ``clock`` is the real one."""

    def __init__(self, pool: asyncpg.Pool, log: LogWriter, clock: Callable[[], datetime]) -> None:
        """Keep the pool of the role ``safelane_console`` and the log's writer."""
        self._pool = pool
        self._log = log
        self._clock = clock

    async def record_read(self, by: UUID, action: str, subject: str) -> None:
        """Log that ``by`` is about to see ``subject``: ids and codes, never what somebody typed.

        Raises:
            NotLogged: it could not be logged; show nothing.
        """
        try:
            with translate_errors():
                async with self._pool.acquire(timeout=10) as connection, connection.transaction():
                    await self.append(
                        connection, "audit_read", by=str(by), action=action, subject=subject[:MAX_SUBJECT]
                    )
        except (SafelaneError, asyncpg.PostgresError) as error:
            raise NotLogged(f"the log could not be written: {type(error).__name__}", field="log") from error

    async def append(self, connection: Connection, kind: str, **members: Any) -> None:
        """Append one event: the last thing to do in the caller's transaction."""
        now = self._clock()
        await self._log.append(connection, [NewEvent.salted(kind, {**members, "at": now.isoformat()})], at=now)

    async def append_sign_in(self, connection: Connection, by: UUID | str, outcome: str) -> None:
        """Append that somebody signed in or out, confirmed who they are, or failed to."""
        await self.append(connection, "console_login", by=str(by), outcome=outcome)

    async def append_change(
        self, connection: Connection, by: UUID | str, user: UUID, action: str, roles: Iterable[str] = ()
    ) -> None:
        """Append a change of an account; ``roles`` are those it has afterwards."""
        await self.append(connection, "console_user", by=str(by), user=str(user), action=action, roles=sorted(roles))
