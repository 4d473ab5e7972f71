"""The registry's tables: directory versions and key announcements, as signed bytes. ``registry_change`` counts every change of either."""

from datetime import datetime, timedelta
from hashlib import sha256

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from schemas.directory import Directory
from schemas.errors import Conflict, IntegrityBroken
from schemas.signed_directory import EncryptionKey

Connection = asyncpg.Connection | PoolConnectionProxy
"""A connection of its own or one lent by a pool."""
TIMEOUT_SECONDS = 10.0
ANNOUNCEMENT_GRACE = timedelta(days=1)
"""Announcements stay on offer this long after they end, so that a gateway with a slow clock still understands an older delivery."""
MAX_LIVE_KEYS = 16
"""Announced, unexpired keys of one agency: weekly rotation needs two or three."""


class DirectoryTooOld(Conflict):
    """A directory with this version or a newer one is here already."""

    code = "directory-too-old"
    public_message = "A newer directory is already published. Sign the next version."


class TooManyKeys(Conflict):
    """The agency has announced more keys than rotation needs."""

    code = "too-many-keys"
    public_message = "Too many encryption keys are still valid. Wait until one expires, or revoke one."


async def read_change(connection: Connection) -> int:
    """Return the number of changes so far."""
    return int(await connection.fetchval("SELECT change FROM registry_change", timeout=TIMEOUT_SECONDS) or 0)


async def read_latest_directory(connection: Connection) -> bytes | None:
    """Return the newest directory's signed bytes, or none."""
    body: bytes | None = await connection.fetchval(
        "SELECT body FROM directory_versions ORDER BY version DESC LIMIT 1", timeout=TIMEOUT_SECONDS
    )
    return body


async def read_directory_before(connection: Connection, version: int) -> bytes | None:
    """Return the signed bytes of the newest directory older than ``version``, or none."""
    body: bytes | None = await connection.fetchval(
        "SELECT body FROM directory_versions WHERE version < $1 ORDER BY version DESC LIMIT 1",
        version,
        timeout=TIMEOUT_SECONDS,
    )
    return body


async def read_announcements(connection: Connection, now: datetime) -> list[tuple[str, bytes]]:
    """Return ``(agency, signed announcement)`` for every key that is not long over, oldest first."""
    rows = await connection.fetch(
        "SELECT agency, body FROM key_announcements WHERE not_after > $1 ORDER BY agency, not_before, kid",
        now - ANNOUNCEMENT_GRACE,
        timeout=TIMEOUT_SECONDS,
    )
    return [(row["agency"], row["body"]) for row in rows]


async def insert_directory(connection: Connection, body: bytes, directory: Directory) -> bool:
    """Store a verified directory version; return False if these very bytes were stored before. Call it inside a transaction.

    Raises:
        DirectoryTooOld: this version is not newer than the newest stored one.
        IntegrityBroken: the authority signed two different directories of one version.
    """
    # Serialises publishers: the counter's row is locked until commit.
    await connection.fetchval("SELECT change FROM registry_change FOR UPDATE", timeout=TIMEOUT_SECONDS)
    digest = sha256(body).digest()
    same = await connection.fetchval(
        "SELECT sha256 FROM directory_versions WHERE version = $1", directory.version, timeout=TIMEOUT_SECONDS
    )
    if same == digest:
        return False
    if same is not None:
        raise IntegrityBroken("two different directories are signed as one version", field="directory.version")
    newest = await connection.fetchval("SELECT max(version) FROM directory_versions", timeout=TIMEOUT_SECONDS)
    if newest is not None and directory.version <= newest:
        raise DirectoryTooOld(field="directory.version")
    await connection.execute(
        "INSERT INTO directory_versions (version, sha256, body, issued_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
        directory.version,
        digest,
        body,
        directory.issued_at,
        directory.expires_at,
        timeout=TIMEOUT_SECONDS,
    )
    await count_change(connection)
    return True


async def insert_announcement(
    connection: Connection, agency_id: str, key: EncryptionKey, body: bytes, now: datetime
) -> bool:
    """Store a verified key announcement; return False if these very bytes were stored before. Call it inside a transaction.

    Raises:
        Conflict: the same key was announced in other words.
        TooManyKeys: the agency has too many keys that are not over.
    """
    await connection.fetchval("SELECT change FROM registry_change FOR UPDATE", timeout=TIMEOUT_SECONDS)
    digest = sha256(body).digest()
    same = await connection.fetchval(
        "SELECT sha256 FROM key_announcements WHERE agency = $1 AND kid = $2",
        agency_id,
        key.kid,
        timeout=TIMEOUT_SECONDS,
    )
    if same == digest:
        return False
    if same is not None:
        raise Conflict("this key was announced before, with other dates", field="jwk")
    live = await connection.fetchval(
        "SELECT count(*) FROM key_announcements WHERE agency = $1 AND not_after > $2",
        agency_id,
        now,
        timeout=TIMEOUT_SECONDS,
    )
    if live >= MAX_LIVE_KEYS:
        raise TooManyKeys(field="jwk")
    await connection.execute(
        "INSERT INTO key_announcements (agency, kid, sha256, body, not_before, not_after) VALUES ($1, $2, $3, $4, $5, $6)",
        agency_id,
        key.kid,
        digest,
        body,
        key.not_before,
        key.not_after,
        timeout=TIMEOUT_SECONDS,
    )
    await count_change(connection)
    return True


async def count_change(connection: Connection) -> None:
    """Count a change, so that every process loads the registry again."""
    await connection.execute("UPDATE registry_change SET change = change + 1", timeout=TIMEOUT_SECONDS)
