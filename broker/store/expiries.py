"""What ran out, in PostgreSQL: consents and decisions whose end has come and was not noted yet, and which warnings of agreements were given."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from broker.store.pool import Connection

_DECISIONS = """
SELECT w.message_id, w.delivery_id, v.valid_until FROM (
  SELECT message_id, delivery_id FROM tickets WHERE collected_at IS NULL
  UNION SELECT message_id, delivery_id FROM holds WHERE state = 'open'
) w JOIN deliveries d USING (message_id, delivery_id)
LEFT JOIN LATERAL (SELECT decision FROM redecisions r WHERE r.message_id = w.message_id AND r.delivery_id = w.delivery_id
  ORDER BY number DESC LIMIT 1) l ON true
CROSS JOIN LATERAL (SELECT (coalesce(l.decision, d.decision) ->> 'valid_until')::timestamptz AS valid_until) v
WHERE v.valid_until <= $1 AND NOT EXISTS (SELECT 1 FROM decision_expiries n WHERE n.message_id = w.message_id
  AND n.delivery_id = w.delivery_id AND n.valid_until = v.valid_until)
ORDER BY v.valid_until LIMIT $2
"""


async def list_expired_consents(connection: Connection, now: datetime, most: int) -> Sequence[asyncpg.Record]:
    """Return consents that stood until ``now`` or before (the newest of their chains) and whose end was not noted, the oldest end first."""
    return await connection.fetch(
        "SELECT c.object_digest, c.consent_id, c.recorded_by, c.tokens, c.record, c.expires_at FROM consents c"
        " WHERE c.state = 'given' AND c.expires_at <= $1"
        " AND NOT EXISTS (SELECT 1 FROM consents n WHERE n.consent_id = c.consent_id AND n.previous = c.object_digest)"
        " AND NOT EXISTS (SELECT 1 FROM consent_expiries x WHERE x.object_digest = c.object_digest)"
        " ORDER BY c.expires_at LIMIT $2",
        now,
        most,
    )


async def list_expired_decisions(connection: Connection, now: datetime, most: int) -> Sequence[asyncpg.Record]:
    """Return deliveries that are queued or held and whose last decision held until ``now`` or before, where that was not noted."""
    return await connection.fetch(_DECISIONS, now, most)


async def list_warnings(connection: Connection) -> frozenset[tuple[str, str, str]]:
    """Return the warnings that were given: agreement, code, and the day that it is about (ISO 8601)."""
    rows = await connection.fetch("SELECT agreement, code, due_on FROM agreement_warnings")
    return frozenset((row["agreement"], row["code"], row["due_on"].isoformat()) for row in rows)
