"""The registry's front: the current directory, cached by version, and what may be added to it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import asyncpg

from broker.registry import versions
from broker.registry.snapshot import DirectorySnapshot, build_snapshot
from broker.store import policies
from broker.store.pool import translate_errors
from schemas.errors import DependencyUnavailable
from schemas.keys import VerifyingKeys


class NoDirectory(DependencyUnavailable):
    """The authority has not published a first directory yet."""

    code = "no-directory"
    public_message = "There is no directory yet. The partnership's officers must sign and publish one."


class Registry:
    """Gives the current directory snapshot. One small query a call; everything is loaded and verified again only when something changed."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        authority_keys: Sequence[VerifyingKeys],
        clock: Callable[[], datetime],
        *,
        authority_jwks: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Take a connection pool, the pinned authority keys, the real clock (directory and key lifetimes), and the keys as JWKs to pass on."""
        self.authority_jwks = [dict(jwk) for jwk in authority_jwks]
        self.pool = pool
        self.authority_keys = tuple(authority_keys)
        self.clock = clock
        self._snapshot: DirectorySnapshot | None = None

    async def current(self, connection: versions.Connection | None = None) -> DirectorySnapshot:
        """Return the current snapshot; a revocation counts from the call after its directory was published.

        Raises:
            NoDirectory: none was published yet.
            IntegrityBroken: the stored directory is not one that the authority signed.
            DependencyUnavailable: PostgreSQL does not answer.
        """
        with translate_errors():
            if connection is not None:
                return await self._refresh(connection)
            async with self.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as acquired:
                return await self._refresh(acquired)

    async def _refresh(self, connection: versions.Connection) -> DirectorySnapshot:
        change = await versions.read_change(connection)
        cached = self._snapshot
        if cached is not None and cached.change == change:
            return cached
        body = await versions.read_latest_directory(connection)
        if body is None:
            raise NoDirectory
        announcements = await versions.read_announcements(connection, self.clock())
        snapshot = build_snapshot(body, announcements, change, self.authority_keys, before=cached)
        snapshot = replace(snapshot, pack=await self._read_pack(connection, snapshot.directory.policy_digest))
        self._snapshot = snapshot
        return snapshot

    async def _read_pack(self, connection: versions.Connection, digest: str) -> bytes | None:
        """Return the stored pack of a digest; the one that the last snapshot had is not read again."""
        cached = self._snapshot
        if cached is not None and cached.pack is not None and cached.directory.policy_digest == digest:
            return cached.pack
        return await policies.read_pack(connection, digest) if digest else None
