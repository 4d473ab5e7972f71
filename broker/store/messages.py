"""Messages and their deliveries: inserted once, never changed, but for a delivery's state."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

import asyncpg

from broker.store.pool import Connection


class MessageRow(NamedTuple):
    """A message as it is stored: the columns, in their order. Its effect is unique for (sender, referral_id, revision)."""

    message_id: UUID
    sender: str
    referral_id: str
    revision: int
    kind: str
    conversation: str
    supersedes: UUID | None
    reseals: UUID | None
    native_ref_digest: str | None
    repeat_of: UUID | None
    body_sha256: bytes
    manifest_digest: str
    issued_at: datetime
    expires_at: datetime
    received_at: datetime
    directory_version: int
    event_id: UUID
    notice: bytes
    body: bytes

    def __repr__(self) -> str:
        return f"MessageRow({self.message_id})"


class DeliveryRow(NamedTuple):
    """A delivery as it was decided: the columns, in their order. ``released`` are the sections that go; ``decision`` is JSON text."""

    message_id: UUID
    delivery_id: str
    number: int
    recipient: str
    role: str
    purpose: str
    contact: str | None
    outcome: str
    row: str
    reason: str
    decision: str
    released: tuple[str, ...]
    rest_salt: bytes
    keyring_kid: str | None
    event_id: UUID
    decided_at: datetime
    state: str


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows of incoming messages already."""

    bodies: dict[UUID, bytes]
    """Message id to SHA-256 of its bytes."""
    effects: dict[tuple[str, str, int], UUID]
    """(sender, referral_id, revision) to the message that had the effect."""
    native_refs: dict[tuple[str, str], UUID]
    """(sender, native reference digest) to the first message with it that belongs to another referral."""
    bodies_with_batch: dict[UUID, bytes]
    """``bodies``, to which the messages of the batch itself are added as they are looked at."""
    refused: frozenset[tuple[str | None, bytes]]
    """(user, SHA-256 of bytes) of what is in quarantine."""


async def find_known(
    connection: Connection,
    message_ids: Sequence[UUID],
    effects: Sequence[tuple[str, str, int]],
    native_refs: Sequence[tuple[str, str, str]],
    refused: Sequence[tuple[str | None, bytes]],
) -> Known:
    """Look up a batch by message id, by (sender, referral_id, revision), by (sender, native reference digest, referral_id), and
    what was refused by (user, SHA-256 of bytes)."""
    by_id = await connection.fetch(
        "SELECT message_id, body_sha256 FROM messages WHERE message_id = ANY($1::uuid[])", message_ids
    )
    by_effect = await connection.fetch(
        "SELECT m.message_id, m.sender, m.referral_id, m.revision"
        " FROM unnest($1::text[], $2::text[], $3::int[]) AS wanted (sender, referral_id, revision)"
        " JOIN messages m USING (sender, referral_id, revision)",
        [effect[0] for effect in effects],
        [effect[1] for effect in effects],
        [effect[2] for effect in effects],
    )
    by_reference = await connection.fetch(
        "SELECT DISTINCT ON (m.sender, m.native_ref_digest) m.sender, m.native_ref_digest, m.message_id"
        " FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (sender, native_ref_digest, referral_id)"
        " JOIN messages m ON m.sender = wanted.sender AND m.native_ref_digest = wanted.native_ref_digest"
        " AND m.referral_id <> wanted.referral_id"
        " ORDER BY m.sender, m.native_ref_digest, m.received_at",
        [reference[0] for reference in native_refs],
        [reference[1] for reference in native_refs],
        [reference[2] for reference in native_refs],
    )
    in_quarantine = []
    if refused:
        in_quarantine = await connection.fetch(
            "SELECT user_id, body_sha256 FROM quarantine WHERE body_sha256 = ANY($1::bytea[])",
            [digest for _, digest in refused],
        )
    bodies = {row["message_id"]: row["body_sha256"] for row in by_id}
    return Known(
        bodies=bodies,
        bodies_with_batch=dict(bodies),
        effects={(row["sender"], row["referral_id"], row["revision"]): row["message_id"] for row in by_effect},
        native_refs={(row["sender"], row["native_ref_digest"]): row["message_id"] for row in by_reference},
        refused=frozenset((row["user_id"], row["body_sha256"]) for row in in_quarantine),
    )


async def insert_messages(connection: Connection, rows: Iterable[MessageRow]) -> bool:
    """Insert messages; return whether all of them were new. If not, another worker was faster, and the transaction can only be rolled back.

    Rows go in by id, so that two workers with the same messages never wait for each other in a circle.
    """
    ordered = sorted(rows, key=attrgetter("message_id"))
    try:
        await connection.copy_records_to_table("messages", columns=MessageRow._fields, records=ordered)
    except asyncpg.UniqueViolationError:
        return False
    return True


async def insert_deliveries(connection: Connection, rows: Iterable[DeliveryRow]) -> None:
    """Insert the deliveries of messages that this transaction inserted."""
    await connection.copy_records_to_table("deliveries", columns=DeliveryRow._fields, records=rows)


async def read_body(connection: Connection, message_id: UUID) -> bytes | None:
    """Return a message's sealed bytes, or none."""
    body: bytes | None = await connection.fetchval("SELECT body FROM messages WHERE message_id = $1", message_id)
    return body


async def find_notices(connection: Connection, message_ids: Sequence[UUID]) -> dict[UUID, tuple[UUID, bytes | None]]:
    """Return message id to (event, notice): what its sender was told; no notice where all of it was erased."""
    rows = await connection.fetch(
        "SELECT message_id, event_id, notice FROM messages WHERE message_id = ANY($1::uuid[])", message_ids
    )
    return {row["message_id"]: (row["event_id"], row["notice"]) for row in rows}
