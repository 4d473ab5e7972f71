"""Regular chores of one agency's gateway: fetch the directory, rotate encryption keys and announce them."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

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
        """Rotate, announce, refresh; return whether all of it went well."""
        done = [
            await self._attempt("keys", self.announce_keys),
            await self._attempt("directory", self._parts.keeper.refresh),
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
