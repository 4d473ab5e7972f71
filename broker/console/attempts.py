"""Failed attempts, counted for an account name and for an address, with growing pauses. Kept under keyed digests in one bounded table.

A name that no account has is counted like one that has: the answer is the same (OWASP ASVS 5.0, 6.3.1 and 6.3.8).
"""

import ipaddress
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from broker.console.sealing import Sealer
from broker.store.pool import Connection
from schemas.errors import Rejected

FORGET_AFTER: Final = timedelta(hours=24)
MAX_ROWS: Final = 100_000
_FREE_SUBNET: Final = 64
"""Bits of an IPv6 address that one customer has (RFC 6177): counted as one."""


@dataclass(frozen=True, slots=True)
class Limit:
    """``free`` failures cost nothing; each further one doubles the pause, from ``first`` to ``longest``."""

    free: int
    first: timedelta
    longest: timedelta

    def pause_after(self, failures: int) -> timedelta:
        """Return how long to wait after so many failures."""
        over = failures - self.free
        if over < 0:
            return timedelta()
        return min(self.longest, self.first * (1 << min(over, 16)))


ACCOUNT: Final = Limit(free=5, first=timedelta(seconds=30), longest=timedelta(minutes=30))
ADDRESS: Final = Limit(free=30, first=timedelta(seconds=15), longest=timedelta(minutes=15))
DENIAL: Final = Limit(free=20, first=timedelta(minutes=1), longest=timedelta(minutes=15))


class TooManyAttempts(Rejected):
    """Too many failures: wait. The same for names that no account has."""

    code = "too-many-attempts"
    status = 429
    public_message = "There were too many attempts. Wait before you try again."

    def __init__(self, wait: timedelta) -> None:
        """Say how long to wait, in whole minutes."""
        self.wait = wait
        minutes = max(1, math.ceil(wait.total_seconds() / 60))
        super().__init__(f"Try again in {minutes} minute{'' if minutes == 1 else 's'}.")


class Attempts:
    """Counts failures in table ``console_attempts``."""

    def __init__(self, sealer: Sealer) -> None:
        """Keep the sealer that makes keys of names and addresses."""
        self._sealer = sealer

    def account_key(self, name: str) -> str:
        """Return the key of an account name."""
        return self._sealer.authenticate("attempts", f"account {name}".encode())

    def address_key(self, address: str) -> str:
        """Return the key of a client's address; an IPv6 network of /64 counts as one."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return self._sealer.authenticate("attempts", b"address unknown")
        if parsed.version == 6:
            parsed = ipaddress.ip_network((parsed, _FREE_SUBNET), strict=False).network_address
        return self._sealer.authenticate("attempts", f"address {parsed}".encode())

    def denial_key(self, user: str) -> str:
        """Return the key of a person's refused requests."""
        return self._sealer.authenticate("attempts", f"denial {user}".encode())

    async def require_free(self, connection: Connection, limits: dict[str, Limit], now: datetime) -> None:
        """Return if none of these keys must wait.

        Raises:
            TooManyAttempts: one must, or the table is full and a key is new.
        """
        rows = await connection.fetch(
            "SELECT key, failures, last_at FROM console_attempts WHERE key = ANY($1::text[])", list(limits)
        )
        waits = [row["last_at"] + limits[row["key"]].pause_after(row["failures"]) - now for row in rows]
        longest = max(waits, default=timedelta())
        if longest > timedelta():
            raise TooManyAttempts(longest)
        if len(rows) < len(limits) and await connection.fetchval("SELECT count(*) FROM console_attempts") >= MAX_ROWS:
            raise TooManyAttempts(ADDRESS.longest)

    async def count_failure(self, connection: Connection, keys: list[str], now: datetime) -> int:
        """Count one failure for each key and return the most that any has."""
        counts = [
            await connection.fetchval(
                "INSERT INTO console_attempts AS a (key, failures, last_at) VALUES ($1, 1, $2)"
                " ON CONFLICT (key) DO UPDATE SET failures = a.failures + 1, last_at = EXCLUDED.last_at RETURNING failures",
                key,
                now,
            )
            for key in sorted(keys)
        ]
        return max(counts, default=0)

    async def forget(self, connection: Connection, key: str) -> None:
        """Forget a key's failures: its owner has signed in."""
        await connection.execute("DELETE FROM console_attempts WHERE key = $1", key)


async def forget_old(connection: Connection, now: datetime) -> None:
    """Remove failures of yesterday and used visits of last week."""
    await connection.execute("DELETE FROM console_attempts WHERE last_at < $1", now - FORGET_AFTER)
    await connection.execute("DELETE FROM console_used_visits WHERE used_at < $1", now - FORGET_AFTER)
