"""Each agency's delivery queue, and whether RabbitMQ knows it: the name is stored before RabbitMQ is asked, so that a crash never makes a second."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from broker.registry.versions import TIMEOUT_SECONDS, Connection


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


async def list_unfinished(connection: Connection) -> dict[str, str]:
    """Return the queues that RabbitMQ may not have yet, by agency."""
    rows = await connection.fetch(
        "SELECT agency, queue FROM agency_queues WHERE provisioned_at IS NULL AND removed_at IS NULL ORDER BY agency",
        timeout=TIMEOUT_SECONDS,
    )
    return {row["agency"]: row["queue"] for row in rows}


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


ProvisionAgencies = Callable[[Mapping[str, str]], Awaitable[None]]
"""``{agency id: queue name}``: makes users, permissions and queues in RabbitMQ, in one go; repeating it changes nothing."""
RemoveAgency = Callable[[str], Awaitable[None]]
"""``(agency id)``: closes the agency's way into RabbitMQ at once."""
