"""Whether somebody sits on the sequencer's lock: then nothing can be logged, nothing is released, and no statement of ours fails in a way that says why.

PostgreSQL tells every role who holds an advisory lock, but only superusers since when; so the holder is looked at twice.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import asyncpg

from broker.log.append import SEQUENCER_LOCK
from broker.store.pool import translate_errors
from schemas.errors import DependencyUnavailable

HELD_TOO_LONG_SECONDS: Final = 5.0
"""After so long everybody who waits for the lock has given up (``lock_timeout``). An append holds it for milliseconds."""
_LOOK_EVERY_SECONDS: Final = 0.5

# One transaction, or one session where the lock is a session's, is one holder.
_HOLDER: Final = (
    "SELECT pid || ' ' || virtualtransaction FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND objid = $1 AND objsubid = 1"
    " AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class LogLocked(DependencyUnavailable):
    """One session has held the log's lock for too long: nobody else can write the log."""

    code = "log-locked"
    public_message = (
        "One database session has held the log's lock for seconds and does not let go, so the log cannot be written. Nothing is released until"
        " that session ends; senders keep their referrals."
    )


class LockWatch:
    """Watches who holds the sequencer's lock. One for each process; ``clock`` is monotonic seconds."""

    def __init__(self, pool: asyncpg.Pool, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without having seen anybody."""
        self._pool = pool
        self._clock = clock
        self._seen: tuple[str, float] | None = None

    @property
    def held_seconds(self) -> float:
        """How long the present holder has been seen to hold the lock; 0 where nobody does."""
        return self._clock() - self._seen[1] if self._seen else 0.0

    async def check(self) -> None:
        """Look until the lock is free or has another holder, or the same one has been there for too long.

        Raises:
            LogLocked: one holder has had it for ``HELD_TOO_LONG_SECONDS``.
            StoreUnavailable: PostgreSQL does not answer.
        """
        while await self._look():
            if self.held_seconds >= HELD_TOO_LONG_SECONDS:
                raise LogLocked(field="log.lock")
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def _look(self) -> bool:
        """Tell whether the holder is one that was seen before, or was not asked about yet."""
        with translate_errors():
            holder = await self._pool.fetchval(_HOLDER, SEQUENCER_LOCK)
        before, self._seen = self._seen, None
        if holder is None:
            return False
        if before is not None and before[0] != holder:
            return False  # it is passed on: somebody writes
        self._seen = before or (holder, self._clock())
        return True
