"""What ``fsck`` checks of deliveries' states: each is where its decisions and receipts alone moved it."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from broker.log.fsck_reading import Note
from broker.store.pool import Connection

_WAITING: Final = frozenset({"held", "withheld", "rejected"})
"""Outcomes that are a delivery's state too, while nothing of it has gone."""
_STATES: Final = """
SELECT d.message_id, d.delivery_id, d.state, d.last_receipt, d.decision::text <> '{}' AS decided, d.outcome, cardinality(d.released) > 0 AS gone,
  coalesce(l.number, 0) AS numbers, l.outcomes, l.releases, l.collects,
  EXISTS (SELECT 1 FROM tickets t WHERE t.message_id = d.message_id AND t.delivery_id = d.delivery_id) AS promised,
  ARRAY(SELECT r.state FROM receipts r JOIN log_entries e USING (event_id) WHERE r.message_id = d.message_id AND r.delivery_id = d.delivery_id
    ORDER BY e.position) AS receipt_states,
  ARRAY(SELECT r.receipt_digest FROM receipts r JOIN log_entries e USING (event_id) WHERE r.message_id = d.message_id
    AND r.delivery_id = d.delivery_id ORDER BY e.position) AS receipt_digests,
  EXISTS (SELECT 1 FROM holds h WHERE h.message_id = d.message_id AND h.delivery_id = d.delivery_id) AS waits,
  d.outcome = 'held' OR d.state = 'undeliverable' OR d.decision ->> 'queue' = 'true' AS must_wait,
  EXISTS (SELECT 1 FROM retrospective_reviews v WHERE v.message_id = d.message_id AND v.delivery_id = d.delivery_id) AS reviewed,
  d.decision ->> 'retrospective_review' = 'true' OR EXISTS (SELECT 1 FROM redecisions r WHERE r.message_id = d.message_id
    AND r.delivery_id = d.delivery_id AND r.decision ->> 'retrospective_review' = 'true') AS must_be_reviewed,
  EXISTS (SELECT 1 FROM log_payloads p JOIN log_entries e USING (event_id) WHERE p.message_id = d.message_id AND e.kind = 'undeliverable') AS undelivered
FROM deliveries d CROSS JOIN LATERAL (SELECT max(r.number) AS number, coalesce(array_agg(r.outcome ORDER BY r.number), '{}') AS outcomes,
  coalesce(array_agg(cardinality(r.released) > 0 ORDER BY r.number), '{}') AS releases,
  coalesce(array_agg(r.cause = 'collect' ORDER BY r.number), '{}') AS collects
  FROM redecisions r WHERE r.message_id = d.message_id AND r.delivery_id = d.delivery_id) l
WHERE (d.message_id, d.delivery_id) > ($1, $2) ORDER BY d.message_id, d.delivery_id LIMIT 2000
"""


async def check_states(connection: Connection, note: Note) -> None:
    """Compare each delivery's state with its decisions and receipts: it is moved by them alone."""
    after: tuple[Any, str] = (UUID(int=0), "")
    while rows := await connection.fetch(_STATES, *after):
        for row in rows:
            if row["numbers"] != len(row["outcomes"]):
                note("decision-number-wrong", f"redecisions {row['delivery_id']}")
            if row["must_wait"] and not row["waits"]:
                note("hold-missing", f"deliveries {row['delivery_id']}")
            if row["decided"] and bool(row["must_be_reviewed"]) != row["reviewed"]:
                note("review-missing", f"deliveries {row['delivery_id']}")
            state, last = _fold(row["receipt_states"], row["receipt_digests"])
            if row["last_receipt"] != last:
                note("delivery-without-its-receipt", f"deliveries {row['delivery_id']}")
            if not _is_state(row, state):
                note("delivery-state-wrong", f"deliveries {row['delivery_id']}")
        after = rows[-1]["message_id"], rows[-1]["delivery_id"]


def _fold(states: Sequence[str], digests: Sequence[str]) -> tuple[str | None, str | None]:
    """Return state and receipt after these receipts: what was added later never takes a delivery back to an earlier state."""
    state = last = None
    for new, receipt in zip(states, digests, strict=True):
        if not (state in {"opened", "actioned", "refused"} and new == "accepted"):
            state, last = new, receipt
    return state, last


def _is_state(row: Any, receipted: str | None) -> bool:
    if row["state"] == "undeliverable":
        return bool(row["undelivered"])
    if receipted is not None:
        return bool(row["state"] == receipted)
    if row["undelivered"]:  # when it came back is not known here: it went, or waits as was decided last
        went, last = row["gone"] or any(row["releases"]), [row["outcome"], *row["outcomes"]][-1]
        return bool(went) if row["state"] == "open" else bool(last in _WAITING and last == row["state"])
    return bool(row["state"] == _fold_decisions(row))


def _fold_decisions(row: Any) -> str:
    """Return the state to which a delivery's decisions alone move it.

    What has gone does not come back; what a ticket promised can be withheld until it is collected.
    """
    state = "open" if row["gone"] else row["outcome"]
    promised = row["promised"]
    for outcome, released, collected in zip(row["outcomes"], row["releases"], row["collects"], strict=True):
        if released:
            state, promised = "open", promised and not collected
        elif outcome in _WAITING and (state in _WAITING or promised):
            state = outcome
    return str(state)
