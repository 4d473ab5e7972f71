"""Connections to PostgreSQL: a bounded pool whose every session has time limits, and one place that translates the library's errors."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from schemas.errors import DependencyUnavailable

Connection = asyncpg.Connection | PoolConnectionProxy
"""A connection, from a pool or not."""

COMMAND_TIMEOUT_SECONDS = 20.0
CONNECT_TIMEOUT_SECONDS = 10.0

_SESSION_SETTINGS = {
    # Each below COMMAND_TIMEOUT_SECONDS, so that the server gives up first and says so.
    "lock_timeout": "5000",
    "statement_timeout": "15000",
    "idle_in_transaction_session_timeout": "15000",
    "default_transaction_isolation": "read committed",
    "timezone": "UTC",
    "jit": "off",
}


class StoreUnavailable(DependencyUnavailable):
    """PostgreSQL does not answer, or gave up waiting."""

    code = "store-unavailable"
    public_message = "The database is not available. Try again in a minute."


async def open_pool(dsn: str, *, name: str, most: int = 4) -> asyncpg.Pool:
    """Open a pool of at most ``most`` connections, seen by operators as ``name``.

    Raises:
        StoreUnavailable: the server cannot be reached.
    """
    with translate_errors():
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=most,
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            server_settings={**_SESSION_SETTINGS, "application_name": name},
        )


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn what says that PostgreSQL cannot serve us now into our error. No text of theirs is passed on, since it may quote values.

    What is wrong with a statement or its data passes through: it is a fault of ours, and the caller quarantines what caused it.

    Raises:
        StoreUnavailable: the server is away, restarting, out of resources, or gave up on a lock or a deadlock.
    """
    try:
        yield
    except (
        TimeoutError,
        asyncpg.PostgresConnectionError,
        asyncpg.OperatorInterventionError,
        asyncpg.InsufficientResourcesError,
        asyncpg.TransactionRollbackError,
        asyncpg.LockNotAvailableError,
        # The server is there and cannot be written as it stands: a standby after a failover, rights or a migration missing, its disk at fault.
        asyncpg.ReadOnlySQLTransactionError,
        asyncpg.InsufficientPrivilegeError,
        asyncpg.UndefinedTableError,
        asyncpg.UndefinedColumnError,
        asyncpg.PostgresSystemError,
        asyncpg.InternalServerError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        OSError,
    ) as error:
        raise StoreUnavailable(f"PostgreSQL: {type(error).__name__}", field="postgresql") from None
