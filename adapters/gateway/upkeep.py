"""Regular chores of one agency's gateway: fetch the directory, rotate encryption keys and announce them, erase what is over."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from adapters.gateway.outgoing.retention import RetentionTimes, erase_what_is_over
from adapters.gateway.parts import AgencyParts
from schemas.errors import IntegrityBroken, SafelaneError

_log = structlog.get_logger(__name__)


class Upkeep:
    """The chores of one agency. Each failure is logged and tried again at the next turn; what is in force stays in force."""

    def __init__(self, parts: AgencyParts) -> None:
        self._parts = parts

    async def run(self, stop: asyncio.Event) -> None:
        """Do all chores at once, and then regularly until ``stop`` is set."""
        every = self._parts.gateway.sending.directory_refresh.total_seconds()
        failures = 0
        while not stop.is_set():
            failures = 0 if await self.do_chores() else failures + 1
            wait = every if failures == 0 else min(every, 2.0 ** min(failures, 8))
            try:
                await asyncio.wait_for(stop.wait(), timeout=wait * random.uniform(0.8, 1.0))  # noqa: S311 - jitter
            except TimeoutError:
                continue

    async def do_chores(self) -> bool:
        """Rotate, announce, refresh, erase; return whether all of it went well."""
        done = [
            await self._attempt("keys", self.announce_keys),
            await self._attempt("directory", self._parts.keeper.refresh),
            await self._attempt("retention", self._erase),
        ]
        return all(done)

    async def announce_keys(self) -> None:
        """Make a new encryption key when it is time, and announce what the hub does not have yet.

        Raises:
            SafelaneError: the hub does not take an announcement; it is tried again.
        """
        parts = self._parts
        await asyncio.to_thread(
            parts.keystore.rotate_encryption_key, parts.real_clock(), parts.gateway.keys.lifetimes()
        )
        for kid, announcement in parts.keystore.announcements():
            await parts.hub.upload_key(announcement)
            await asyncio.to_thread(parts.keystore.mark_announced, kid)
            _log.info("encryption_key_announced", kid=kid)

    async def _erase(self) -> None:
        sending = self._parts.gateway.sending
        times = RetentionTimes(done=sending.keep_done, refused=sending.keep_refused)
        await asyncio.to_thread(erase_what_is_over, self._parts.store, times, self._parts.real_clock())

    async def _attempt(self, chore: str, action: Callable[[], Awaitable[object]]) -> bool:
        try:
            await action()
        except IntegrityBroken as error:
            _log.critical(
                "integrity_broken", agency=self._parts.agency, chore=chore, code=error.code, field=error.field
            )
            return False
        except SafelaneError as error:
            _log.warning("chore_failed", agency=self._parts.agency, chore=chore, code=error.code)
            return False
        return True
