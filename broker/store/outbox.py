"""The outbox: what must still reach a queue. Rows are leased, never claimed by ``id > last``: ids become visible out of commit order.

A row is due at ``due_at``. Who puts it in, or claims it, moves ``due_at`` into the future: its lease. A process that dies lets the lease run out,
and another claims the row. A notice or a forwarded receipt is done when RabbitMQ has confirmed it; a delivery stays, and is offered again, until its
recipient's receipt arrives (DESIGN, step 6).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from broker.store.pool import Connection


class OutboxRow(NamedTuple):
    """Something to publish: the columns, in their order. ``body`` is JSON to which event, salt and proof are joined; none for a delivery, which is cut from its message."""

    outbox_id: UUID
    kind: str
    recipient: str
    message_id: UUID | None
    delivery_id: str | None
    event_id: UUID
    body: bytes | None
    created_at: datetime
    due_at: datetime
    attempts: int = 0
    offers: int = 0

    def __repr__(self) -> str:
        return f"OutboxRow({self.kind} {self.outbox_id})"


async def insert_outbox(connection: Connection, rows: Iterable[OutboxRow]) -> None:
    """Insert rows; their ``due_at`` is the end of the inserting worker's lease."""
    await connection.copy_records_to_table("outbox", columns=OutboxRow._fields, records=rows)


async def claim_due(connection: Connection, now: datetime, lease_until: datetime, most: int) -> list[OutboxRow]:
    """Lease up to ``most`` rows that are due, and count the attempt. Rows that another worker holds are passed over."""
    rows = await connection.fetch(
        "WITH due AS (SELECT outbox_id FROM outbox WHERE due_at <= $1 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED)"  # noqa: S608 (constant names)
        " UPDATE outbox o SET due_at = $2, attempts = o.attempts + 1 FROM due WHERE o.outbox_id = due.outbox_id"
        f" RETURNING {', '.join(f'o.{column}' for column in OutboxRow._fields)}",
        now,
        lease_until,
        most,
    )
    return [OutboxRow(*row) for row in rows]


async def finish(connection: Connection, outbox_ids: Sequence[UUID]) -> None:
    """Remove rows that need no more: confirmed notices and receipts, deliveries with a receipt."""
    await connection.execute("DELETE FROM outbox WHERE outbox_id = ANY($1::uuid[])", outbox_ids)


async def postpone(
    connection: Connection, outbox_ids: Sequence[UUID], due_at: Sequence[datetime], *, offered: bool
) -> None:
    """Make rows due again at ``due_at``; ``offered`` says that RabbitMQ confirmed them, so that attempts begin anew."""
    await connection.execute(
        "UPDATE outbox o SET due_at = later.due_at, offers = o.offers + $3::int,"
        " attempts = CASE WHEN $3 = 1 THEN 0 ELSE o.attempts END"
        " FROM unnest($1::uuid[], $2::timestamptz[]) AS later (outbox_id, due_at) WHERE o.outbox_id = later.outbox_id",
        outbox_ids,
        due_at,
        int(offered),
    )


async def finish_delivery(connection: Connection, message_ids: Sequence[UUID], delivery_ids: Sequence[str]) -> None:
    """Remove deliveries whose recipient has sent a receipt."""
    await connection.execute(
        "DELETE FROM outbox o USING unnest($1::uuid[], $2::text[]) AS done (message_id, delivery_id)"
        " WHERE o.kind IN ('delivery', 'ticket') AND o.message_id = done.message_id AND o.delivery_id = done.delivery_id",
        message_ids,
        delivery_ids,
    )


async def count_waiting(connection: Connection, now: datetime) -> dict[str, tuple[int, int]]:
    """Return kind to (rows, rows overdue)."""
    rows = await connection.fetch(
        "SELECT kind, count(*) AS rows, count(*) FILTER (WHERE due_at <= $1) AS overdue FROM outbox GROUP BY kind", now
    )
    return {row["kind"]: (row["rows"], row["overdue"]) for row in rows}
