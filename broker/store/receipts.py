"""Receipts, their chains, and other signed objects: inserted once, never changed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from uuid import UUID

from broker.store.pool import Connection
from schemas.canonical import decode_base64url


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A verified receipt. ``notice`` tells its recipient, who signed it, that it is logged."""

    receipt_digest: str
    message_id: UUID
    delivery_id: str
    state: str
    reason_code: str | None
    previous: str | None
    decision_leaf: str
    at: datetime
    received_at: datetime
    event_id: UUID
    notice: bytes = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """Another verified signed object."""

    object_digest: str
    type: str
    sender: str
    message_id: UUID | None
    received_at: datetime
    event_id: UUID
    notice: bytes = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OpenDelivery:
    """What a receipt must bind, and where its chain stands."""

    message_id: UUID
    delivery_id: str
    sender: str
    recipient: str
    referral_id: str
    manifest_digest: str
    decision_entry: bytes
    released: tuple[str, ...]
    chain: tuple[bytes, ...]
    """Signed receipts so far, oldest first."""


async def find_deliveries(
    connection: Connection, keys: Sequence[tuple[UUID, str, str]]
) -> dict[tuple[UUID, str, str], OpenDelivery]:
    """Return the decisions of these (message, delivery, decision leaf), first or later, each with its own chain of receipts.

    What was erased on request is not found: no receipt can join a chain that is gone.
    """
    rows = await connection.fetch(
        "SELECT d.message_id, d.delivery_id, wanted.leaf, m.sender, d.recipient, m.referral_id, m.manifest_digest, c.entry, c.released,"
        " ARRAY(SELECT r.body FROM receipts r WHERE r.message_id = d.message_id AND r.delivery_id = d.delivery_id"
        " AND r.decision_leaf = wanted.leaf ORDER BY r.received_at, r.previous IS NOT NULL, r.state = 'actioned') AS chain"
        " FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[]) AS wanted (message_id, delivery_id, leaf, leaf_sha256)"
        " JOIN deliveries d USING (message_id, delivery_id) JOIN messages m ON m.message_id = d.message_id AND m.notice IS NOT NULL"
        # The decision that the leaf names; where it names none, the first, so that the receipt is seen to bind something else.
        " CROSS JOIN LATERAL (SELECT l.released, e.entry FROM (SELECT d.event_id, d.released UNION ALL"
        " SELECT r.event_id, r.released FROM redecisions r WHERE r.message_id = d.message_id AND r.delivery_id = d.delivery_id) l"
        " JOIN log_entries e USING (event_id) ORDER BY sha256(e.entry) = wanted.leaf_sha256 DESC, e.position LIMIT 1) c",
        [key[0] for key in keys],
        [key[1] for key in keys],
        [key[2] for key in keys],
        [decode_base64url(key[2], field="receipt.decision_leaf") for key in keys],
    )
    return {
        (row["message_id"], row["delivery_id"], row["leaf"]): OpenDelivery(
            message_id=row["message_id"],
            delivery_id=row["delivery_id"],
            sender=row["sender"],
            recipient=row["recipient"],
            referral_id=row["referral_id"],
            manifest_digest=row["manifest_digest"],
            decision_entry=row["entry"],
            released=tuple(row["released"]),
            chain=tuple(row["chain"]),
        )
        for row in rows
    }


async def find_recorded(connection: Connection, digests: Sequence[str]) -> dict[str, tuple[UUID, bytes | None]]:
    """Return digest to (event, notice) of receipts and objects that are recorded already; no notice where it was erased."""
    rows = await connection.fetch(
        "SELECT receipt_digest AS digest, event_id, notice FROM receipts WHERE receipt_digest = ANY($1::text[])"
        " UNION ALL SELECT object_digest, event_id, notice FROM signed_objects WHERE object_digest = ANY($1::text[])",
        digests,
    )
    return {row["digest"]: (row["event_id"], row["notice"]) for row in rows}


async def insert_receipts(connection: Connection, rows: Sequence[ReceiptRow]) -> None:
    """Insert receipts and move their deliveries' states; a chain that another worker extended first violates a unique constraint."""
    columns = (
        "receipt_digest",
        "message_id",
        "delivery_id",
        "state",
        "reason_code",
        "previous",
        "decision_leaf",
        "at",
        "received_at",
        "event_id",
        "notice",
        "body",
    )
    await connection.copy_records_to_table("receipts", columns=columns, records=list(map(attrgetter(*columns), rows)))
    latest = {(row.message_id, row.delivery_id): row for row in rows}
    ordered = [latest[key] for key in sorted(latest)]
    await connection.execute(
        "UPDATE deliveries d SET state = n.state, last_receipt = n.digest"
        " FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS n (message_id, delivery_id, state, digest)"
        # What was added later never takes a delivery back to an earlier state.
        " WHERE d.message_id = n.message_id AND d.delivery_id = n.delivery_id"
        " AND NOT (d.state IN ('opened', 'actioned', 'refused') AND n.state = 'accepted')",
        [row.message_id for row in ordered],
        [row.delivery_id for row in ordered],
        [row.state for row in ordered],
        [row.receipt_digest for row in ordered],
    )


async def insert_objects(connection: Connection, rows: Iterable[ObjectRow]) -> None:
    """Insert other signed objects."""
    columns = ("object_digest", "type", "sender", "message_id", "received_at", "event_id", "notice", "body")
    await connection.copy_records_to_table(
        "signed_objects", columns=columns, records=list(map(attrgetter(*columns), rows))
    )
