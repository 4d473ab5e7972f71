"""Each agency's delivery queue, and whether RabbitMQ safely has it: only then does it count."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from broker.registry.versions import TIMEOUT_SECONDS, Connection

PROVISIONING_LOCK = 0x5AFE_0010


async def read_queue(connection: Connection, agency_id: str) -> str | None:
    """Return the agency's delivery queue once RabbitMQ has it, or none."""
    queue: str | None = await connection.fetchval(
        "SELECT queue FROM agency_queues WHERE agency = $1 AND provisioned_at IS NOT NULL",
        agency_id,
        timeout=TIMEOUT_SECONDS,
    )
    return queue


async def choose_queue(connection: Connection, agency_id: str, proposed: str) -> str:
    """Store ``proposed`` as the agency's queue unless it has one already; return the one it has."""
    await connection.execute(
        "INSERT INTO agency_queues (agency, queue) VALUES ($1, $2) ON CONFLICT (agency) DO NOTHING",
        agency_id,
        proposed,
        timeout=TIMEOUT_SECONDS,
    )
    return str(
        await connection.fetchval(
            "SELECT queue FROM agency_queues WHERE agency = $1", agency_id, timeout=TIMEOUT_SECONDS
        )
    )


async def list_unfinished(connection: Connection) -> list[str]:
    """Return the agencies whose queue RabbitMQ may not have yet."""
    rows = await connection.fetch(
        "SELECT agency FROM agency_queues WHERE provisioned_at IS NULL AND removed_at IS NULL ORDER BY agency",
        timeout=TIMEOUT_SECONDS,
    )
    return [row["agency"] for row in rows]


async def rename_unfinished(connection: Connection, agency_id: str, queue: str) -> None:
    """Give an agency that is not provisioned yet another queue name.

    A node that is killed within a second of making a quorum queue may lose it for ever (RabbitMQ 3.10): a failed attempt never repeats its name.
    """
    await connection.execute(
        "UPDATE agency_queues SET queue = $2 WHERE agency = $1 AND provisioned_at IS NULL",
        agency_id,
        queue,
        timeout=TIMEOUT_SECONDS,
    )


async def list_provisioned(connection: Connection) -> list[str]:
    """Return the agencies that have a way into RabbitMQ."""
    rows = await connection.fetch(
        "SELECT agency FROM agency_queues WHERE provisioned_at IS NOT NULL AND removed_at IS NULL ORDER BY agency",
        timeout=TIMEOUT_SECONDS,
    )
    return [row["agency"] for row in rows]


async def mark_provisioned(connection: Connection, agency_id: str, *, now: datetime) -> None:
    """Record that RabbitMQ has the agency's user and queue."""
    await connection.execute(
        "UPDATE agency_queues SET provisioned_at = $2, removed_at = NULL WHERE agency = $1",
        agency_id,
        now,
        timeout=TIMEOUT_SECONDS,
    )


async def mark_removed(connection: Connection, agency_id: str, *, now: datetime) -> None:
    """Record that the agency's user is gone from RabbitMQ; its queue stays, with what waits there."""
    await connection.execute(
        "UPDATE agency_queues SET removed_at = $2 WHERE agency = $1", agency_id, now, timeout=TIMEOUT_SECONDS
    )


async def reopen(connection: Connection, agency_id: str) -> None:
    """Let an agency that was removed and enrolled again be provisioned anew."""
    await connection.execute(
        "UPDATE agency_queues SET provisioned_at = NULL, removed_at = NULL WHERE agency = $1 AND removed_at IS NOT NULL",
        agency_id,
        timeout=TIMEOUT_SECONDS,
    )


async def try_lock(connection: Connection) -> bool:
    """Try to be the only process that provisions, until ``unlock`` or the connection's end."""
    return bool(
        await connection.fetchval("SELECT pg_try_advisory_lock($1)", PROVISIONING_LOCK, timeout=TIMEOUT_SECONDS)
    )


async def unlock(connection: Connection) -> None:
    """Let another process provision."""
    await connection.fetchval("SELECT pg_advisory_unlock($1)", PROVISIONING_LOCK, timeout=TIMEOUT_SECONDS)


ProvisionAgencies = Callable[[Mapping[str, str]], Awaitable[None]]
"""``{agency id: queue name}``: makes users, permissions and queues in RabbitMQ, and returns when the queues are safely there."""
RemoveAgency = Callable[[str], Awaitable[None]]
"""``(agency id)``: closes the agency's way into RabbitMQ at once."""
