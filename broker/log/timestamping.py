"""Having checkpoints timestamped by an authority outside (RFC 3161), where one is configured. Nothing ever waits for it.

A timestamp says that the log's head existed at a time, by somebody who is neither the hub nor an agency. One that is late is an alarm: on ``/readyz``, in
the metrics, and once as an event of the log; referrals go on as they were.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import httpx
import structlog
from cryptography import x509

from broker.log.append import LogWriter
from broker.log.events import NewEvent
from broker.store.pool import Connection, translate_errors
from schemas.errors import DependencyUnavailable, SafelaneError
from schemas.timestamp import MAX_TOKEN_BYTES, verify_timestamp, write_request

_log = structlog.get_logger(__name__)

LATE: Final = "timestamps-late"
_LOOK_SECONDS: Final = 5.0
_RETRY_FIRST_SECONDS: Final = 2.0
_RETRY_MOST_SECONDS: Final = 300.0
_QUERY: Final = "application/timestamp-query"


class TimestampUnavailable(DependencyUnavailable):
    """The timestamp authority does not answer as it should."""

    code = "timestamp-authority-unavailable"
    public_message = "The timestamp authority does not answer. Referrals do not wait for it."


@dataclass(frozen=True, slots=True)
class TimestampState:
    """The last checkpoint that has a timestamp (none: size 0), the newest one, and since when the oldest without one waits."""

    stamped_size: int
    stamped_at: datetime | None
    newest_size: int
    waiting_since: datetime | None

    def late_by(self, now: datetime, late_after: timedelta) -> timedelta:
        """Return how much longer than ``late_after`` the oldest checkpoint without a timestamp has waited; zero where it is in time."""
        waited = now - self.waiting_since if self.waiting_since else timedelta(0)
        return max(timedelta(0), waited - late_after)


class TimestampAuthority:
    """An authority reached over HTTP, whose answers must chain to pinned certificates."""

    def __init__(
        self,
        url: str,
        roots: Sequence[x509.Certificate],
        *,
        timeout_seconds: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Take the authority's URL, its certificates, and how long an answer may take."""
        self._url = url
        self._roots = tuple(roots)
        self._timeout = timeout_seconds
        self._transport = transport

    async def stamp(self, note: str) -> tuple[bytes, datetime]:
        """Return a timestamp response (DER) of a checkpoint, verified, and its time.

        Raises:
            TimestampUnavailable: no answer in time, or none that verifies.
        """
        request, nonce = write_request(note)
        try:
            async with (
                asyncio.timeout(self._timeout),
                httpx.AsyncClient(timeout=self._timeout, trust_env=False, transport=self._transport) as client,
                client.stream("POST", self._url, content=request, headers={"Content-Type": _QUERY}) as response,
            ):
                token = await _read_token(response)
        except (httpx.HTTPError, TimeoutError) as error:
            raise TimestampUnavailable(type(error).__name__, field="timestamps.url") from None
        try:
            return token, verify_timestamp(token, note, self._roots, nonce=nonce)
        except SafelaneError as error:
            raise TimestampUnavailable(f"its answer does not verify ({error.code})", field="timestamps.url") from None


class Timestamper:
    """Has the newest checkpoint timestamped every so often. Any number of processes may run one; a checkpoint keeps its first timestamp."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        log: LogWriter,
        authority: TimestampAuthority,
        *,
        every: timedelta,
        late_after: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        """Take a pool whose role may append, the log, the authority, how often, when it is late, and the real clock."""
        self._pool = pool
        self._log = log
        self._authority = authority
        self._every = every
        self.late_after = late_after
        self._clock = clock
        self._told = False
        self._failures = 0

    async def run(self) -> None:
        """Stamp until cancelled. Whatever fails is tried again, each time after a longer pause with jitter, up to five minutes."""
        while True:
            try:
                await self.stamp_if_due()
                self._failures = 0
                pause = _LOOK_SECONDS
            except (DependencyUnavailable, asyncpg.PostgresError) as error:
                _log.warning("timestamp.postponed", error=type(error).__name__, failures=self._failures)
                pause = min(_RETRY_MOST_SECONDS, _RETRY_FIRST_SECONDS * 2 ** min(self._failures, 10))
                self._failures += 1
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 (jitter, not a secret)

    async def stamp_if_due(self) -> bool:
        """Stamp the newest checkpoint if none younger than ``every`` has been stamped; return whether it was.

        Raises:
            TimestampUnavailable, StoreUnavailable: not now. If it is late, that was logged first.
        """
        now = self._clock()
        with translate_errors():
            async with self._pool.acquire(timeout=10) as connection:
                state = await read_timestamp_state(connection)
                if state.newest_size <= state.stamped_size:
                    return False
                if state.stamped_at is not None and now - state.stamped_at < self._every:
                    return False
                await self._tell_if_late(connection, state, now)
                size = await connection.fetchval("SELECT max(size) FROM log_checkpoints")
                note = str(await connection.fetchval("SELECT note FROM log_checkpoints WHERE size = $1", size))
        token, stamped_at = await self._authority.stamp(note)
        with translate_errors():
            async with self._pool.acquire(timeout=10) as connection:
                await connection.execute(
                    "INSERT INTO log_timestamps (size, token, stamped_at, received_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                    size,
                    token,
                    stamped_at,
                    self._clock(),
                )
        self._told = False
        return True

    async def _tell_if_late(self, connection: Connection, state: TimestampState, now: datetime) -> None:
        if self._told or not state.late_by(now, self.late_after):
            return
        members = {"at": now.isoformat(), "from_size": state.stamped_size, "to_size": state.newest_size, "code": LATE}
        async with connection.transaction():
            await self._log.append(connection, [NewEvent.clear("checkpoint_gap", members)], at=now)
        self._told = True
        _log.error("timestamp.late", size=state.newest_size)


async def read_timestamp_state(connection: Connection) -> TimestampState:
    """Return how far timestamps are."""
    row = await connection.fetchrow(
        "SELECT coalesce(t.size, 0) AS stamped_size, t.stamped_at, coalesce((SELECT max(size) FROM log_checkpoints), 0) AS newest_size,"
        " (SELECT at FROM log_checkpoints c WHERE c.size > coalesce(t.size, 0) ORDER BY c.size LIMIT 1) AS waiting_since"
        " FROM (SELECT 1) one LEFT JOIN (SELECT size, stamped_at FROM log_timestamps ORDER BY size DESC LIMIT 1) t ON true"
    )
    return TimestampState(**dict(row)) if row else TimestampState(0, None, 0, None)


async def _read_token(response: httpx.Response) -> bytes:
    if response.status_code != httpx.codes.OK:
        raise TimestampUnavailable(f"status {response.status_code}", field="timestamps.url")
    token = bytearray()
    async for part in response.aiter_bytes():
        token += part
        if len(token) > MAX_TOKEN_BYTES:
            raise TimestampUnavailable("its answer is too large", field="timestamps.url")
    return bytes(token)
