"""What ``fsck`` checks of a stretch of entries: leaf hashes, and what each commits to. Column by column, so that an honest log costs little."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from broker.log.events import CATALOGUE
from broker.log.fsck_reading import Note
from broker.log.fsck_records import CHECKED_KINDS
from broker.log.rebuilding import hash_entries, write_commitments
from broker.store.pool import Connection

BATCH: Final = 2048

# Canonical JSON escapes quotation marks in strings: these bytes are nothing but the member.
_OWNED: Final = b'"message_id":"'
_FORMS: Final = {kind: (form.clear, b'"event":"%s"' % kind.encode()) for kind, form in CATALOGUE.items()}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of the log without a gap between them, as columns.

    ``instants`` are as PostgreSQL sends them, to be compared alone; ``event_ids`` are there for kinds that have records, ``events`` for what is stored.
    """

    positions: Sequence[int]
    kinds: Sequence[str]
    instants: Sequence[bytes]
    entries: Sequence[bytes]
    leaf_hashes: Sequence[bytes]
    event_ids: Sequence[UUID | None]
    events: Sequence[bytes | None]
    salts: Sequence[bytes | None]
    owners: Sequence[UUID | None]
    """The message that each payload is said to belong to: by it a matter is shown, and erased."""


@dataclass(frozen=True, slots=True)
class FetchedRows:
    """Entries in order, and the checkpoints that end among them."""

    stretches: Sequence[Stretch] = ()
    checkpoints: Mapping[int, Any] = field(default_factory=dict)

    @property
    def next_position(self) -> int:
        """The position after the last row."""
        return self.stretches[-1].positions[-1] + 1


async def fetch_rows(connection: Connection, first: int) -> FetchedRows:
    """Fetch up to ``BATCH`` rows from position ``first`` on, with their payloads and checkpoints; none at the log's end."""
    rows = await connection.fetch(
        "SELECT e.position, e.kind, timestamptz_send(e.at), e.entry, e.leaf_hash,"
        " CASE WHEN e.kind = ANY($3::text[]) THEN e.event_id END, p.event, p.salt, p.message_id"
        " FROM log_entries e LEFT JOIN log_payloads p USING (event_id) WHERE position >= $1 ORDER BY position LIMIT $2",
        first,
        BATCH,
        list(CHECKED_KINDS),
    )
    if not rows:
        return FetchedRows()
    checkpoints = await connection.fetch(
        "SELECT size, epoch, root, edge, note, timestamptz_send(at) AS at FROM log_checkpoints WHERE size > $1 AND size <= $2",
        first,
        rows[-1]["position"] + 1,
    )
    return FetchedRows(_split_at_gaps(rows), {row["size"]: row for row in checkpoints})


def _split_at_gaps(rows: Sequence[Any]) -> list[Stretch]:
    if rows[-1]["position"] - rows[0]["position"] + 1 == len(rows):
        return [Stretch(*zip(*rows, strict=True))]
    starts = [n for n, row in enumerate(rows) if n == 0 or row["position"] != rows[n - 1]["position"] + 1]
    return [
        Stretch(*zip(*rows[start:end], strict=True))
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True)
    ]


def check_leaves(stretch: Stretch, note: Note) -> list[bytes]:
    """Return the leaf hashes of the entries; note those that are not what is stored."""
    leaves = hash_entries(stretch.entries)
    if leaves != list(stretch.leaf_hashes):
        for position, leaf, stored in zip(stretch.positions, leaves, stretch.leaf_hashes, strict=True):
            if leaf != stored:
                note("leaf-hash-wrong", f"log_entries {position}")
    return leaves


def check_payloads(stretch: Stretch, counts: dict[str, int], note: Note) -> list[tuple[Any, Mapping[str, Any]]]:
    """Compare entries with what they commit to, and with the kinds that their rows name.

    Returns what is whole and has records to be compared with: (position and event id, event).
    """
    for kind, number in Counter(stretch.kinds).items():
        counts[kind] = counts.get(kind, 0) + number
    found = []
    expected = write_commitments(
        (event or b"", salt) for event, salt in zip(stretch.events, stretch.salts, strict=True)
    )
    rows = zip(stretch.kinds, stretch.entries, stretch.events, stretch.salts, expected, strict=True)
    for number, (kind, entry, event, salt, right) in enumerate(rows):
        if event is None:
            continue  # ``fsck_erasures`` asks whether it was erased
        clear, member = _FORMS.get(kind, (None, b""))
        if clear is not (salt is None) or member not in event:
            note("kind-wrong", f"log_entries {stretch.positions[number]}")
        elif entry != right:
            note("payload-is-not-what-was-logged", f"log_entries {stretch.positions[number]}")
        elif not _is_owner(stretch.owners[number], event):
            note("payload-of-another-message", f"log_entries {stretch.positions[number]}")
        elif kind in CHECKED_KINDS:
            row = {"position": stretch.positions[number], "event_id": stretch.event_ids[number], "kind": kind}
            found.append((row, json.loads(event)))
    return found


def _is_owner(owner: UUID | None, event: bytes) -> bool:
    """Tell whether an event names the message that its payload is said to belong to, or none where it belongs to none."""
    return _OWNED not in event if owner is None else _OWNED + str(owner).encode() in event
