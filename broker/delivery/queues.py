"""Where each agency's delivery queue is."""

from broker.store.pool import Connection


class QueueNames:
    """Agency to queue, read again at least every so many seconds and when an agency is missing. The worker's role only reads the table."""

    def __init__(self, *, refresh_seconds: float = 5.0) -> None:
        """Start empty."""
        self._refresh = refresh_seconds
        self._queues: dict[str, str] = {}
        self._read_at = float("-inf")

    async def refresh(self, connection: Connection, now: float) -> None:
        """Read the table if what we have is older than the refresh interval; ``now`` is the loop's time in seconds."""
        if now - self._read_at < self._refresh:
            return
        rows = await connection.fetch(
            "SELECT agency, queue FROM agency_queues WHERE provisioned_at IS NOT NULL AND removed_at IS NULL"
        )
        self._queues = {row["agency"]: row["queue"] for row in rows}
        self._read_at = now

    def find(self, agency: str) -> str | None:
        """Return the agency's queue, or none while it has no way into RabbitMQ."""
        return self._queues.get(agency)
