"""A log of any size in bounded time: entries, tiles and checkpoints that are right in every hash and signature, copied in without the sequencer.

Ten million entries took twenty minutes at a load average of 15 to 20 on two cores. Entries are salted commitments, as most of a real log's are; whether what they
commit to is stored as well is the caller's choice (proofs need none of it, ``fsck`` all of it). Chunks of 65,536 leaves are hashed level by level.
"""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from asyncpg import Connection

from schemas.checkpoint import Checkpoint, sign_checkpoint
from schemas.merkle import RightEdge
from schemas.tiles import TILE_WIDTH

_HEIGHT: Final = 16
_CHUNK: Final = 1 << _HEIGHT
_STARTED_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
_CONSTRAINTS: Final = (
    ("log_entries", "log_entries_pkey", "PRIMARY KEY (position)"),
    ("log_entries", "log_entries_event_id_key", "UNIQUE (event_id)"),
    ("log_payloads", "log_payloads_pkey", "PRIMARY KEY (event_id)"),
)

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class LogPlan:
    """What to make: entries in all, entries under one checkpoint, whether with the events that they commit to."""

    origin: str
    log_jwk: dict[str, Any]
    entries: int
    a_checkpoint: int
    payloads: bool


async def fill_log(connection: Connection, plan: LogPlan, on_progress: OnProgress | None = None) -> None:
    """Fill the empty log of a migrated database, as its owner; indexes are made after the rows."""
    for table, name, _ in _CONSTRAINTS:
        await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    tree = _Tree()
    for start in range(0, plan.entries, _CHUNK):
        count = min(_CHUNK, plan.entries - start)
        rows, payloads = _make_rows(start, count, plan)
        tree.add([row[5] for row in rows])
        await _copy(connection, "log_entries", ("position", "event_id", "kind", "at", "entry", "leaf_hash"), rows)
        if plan.payloads:
            await _copy(connection, "log_payloads", ("event_id", "event", "salt"), payloads)
        await _copy(connection, "log_tiles", ("level", "number", "hashes", "root"), list(tree.list_full_tiles()))
        await _copy(
            connection,
            "log_checkpoints",
            ("size", "epoch", "root", "edge", "note", "at"),
            [_make_checkpoint(tree, size, plan, _instant(size - 1, plan)) for size in _list_sizes(start, count, plan)],
        )
        if on_progress:
            on_progress(start + count, plan.entries)
    await _copy(connection, "log_tiles", ("level", "number", "hashes", "root"), list(tree.list_upper_tiles()))
    for table, name, definition in _CONSTRAINTS:
        await connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}", timeout=600)
    await connection.execute("ANALYZE")


async def index_log(connection: Connection, plan: LogPlan, entries: int) -> None:
    """Make tiles and signed checkpoints over the entries that are there, from 0 without a gap; both tables are empty."""
    tree = _Tree()
    for start in range(0, entries, _CHUNK):
        count = min(_CHUNK, entries - start)
        rows = await connection.fetch(
            "SELECT leaf_hash, at FROM log_entries WHERE position >= $1 AND position < $2 ORDER BY position",
            start,
            start + count,
        )
        tree.add([row["leaf_hash"] for row in rows])
        await _copy(connection, "log_tiles", ("level", "number", "hashes", "root"), list(tree.list_full_tiles()))
        sizes = _list_sizes(start, count, replace(plan, entries=entries))
        await _copy(
            connection,
            "log_checkpoints",
            ("size", "epoch", "root", "edge", "note", "at"),
            [_make_checkpoint(tree, size, plan, rows[size - 1 - start]["at"]) for size in sizes],
        )
    await _copy(connection, "log_tiles", ("level", "number", "hashes", "root"), list(tree.list_upper_tiles()))


def _make_rows(start: int, count: int, plan: LogPlan) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    rows, payloads = [], []
    for position in range(start, start + count):
        number = position.to_bytes(8)
        salt = sha256(b"salt" + number).digest()
        event_id = UUID(bytes=salt[:16])
        at = _instant(position, plan)
        event = b'{"action":"show","at":"%s","by":"ann","event":"audit_read","subject":"ref_%020d","version":1}' % (
            at.isoformat().encode(),
            position,
        )
        digest = base64.urlsafe_b64encode(sha256(salt + event).digest())[:43]
        entry = b'{"commitment":"' + digest + b'"}'
        rows.append((position, event_id, "audit_read", at, entry, sha256(b"\x00" + entry).digest()))
        payloads.append((event_id, event, salt))
    return rows, payloads


def _instant(position: int, plan: LogPlan) -> datetime:
    """One instant for all entries of a checkpoint, as an append writes them."""
    return _STARTED_AT + timedelta(milliseconds=position // plan.a_checkpoint)


def _list_sizes(start: int, count: int, plan: LogPlan) -> list[int]:
    first = start + plan.a_checkpoint - start % plan.a_checkpoint
    sizes = list(range(first, start + count + 1, plan.a_checkpoint))
    last = start + count == plan.entries and plan.entries % plan.a_checkpoint
    return [*sizes, plan.entries] if last else sizes


def _make_checkpoint(tree: "_Tree", size: int, plan: LogPlan, at: datetime) -> tuple[Any, ...]:
    edge = RightEdge.from_nodes(size, tree.read_node)
    note = sign_checkpoint(Checkpoint(plan.origin, size, edge.root()), plan.log_jwk)
    return size, 1, edge.root(), b"".join(edge.hashes), note, at


class _Tree:
    """The nodes of the newest chunk, and the root of each chunk before: all that its checkpoints and tiles need."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._levels: list[list[bytes]] = []
        self._upper: list[list[bytes]] = []

    def add(self, leaves: list[bytes]) -> None:
        """Take the next chunk; only the last may be short."""
        self._size += len(leaves)
        self._levels = _hash_levels(leaves)
        if len(leaves) == _CHUNK:
            self._chunks.append(self._levels[_HEIGHT][0])
            self._upper = _hash_levels(self._chunks)

    def read_node(self, level: int, index: int) -> bytes:
        """Return a complete subtree's hash: of the newest chunk, or of whole chunks."""
        if level >= _HEIGHT:
            return self._upper[level - _HEIGHT][index]
        first = (self._size - 1) // _CHUNK * (_CHUNK >> level)
        return self._levels[level][index - first]

    def list_full_tiles(self) -> Iterator[tuple[int, int, bytes, bytes]]:
        """Yield the newest chunk's tiles of levels 0 and 1."""
        first = (self._size - 1) // _CHUNK
        for level in (0, 1):
            hashes = self._levels[8 * level] if len(self._levels) > 8 * level else []
            for start in range(0, len(hashes) - TILE_WIDTH + 1, TILE_WIDTH):
                number = first * (_CHUNK >> (8 * level)) // TILE_WIDTH + start // TILE_WIDTH
                root = self._levels[8 * level + 8][start // TILE_WIDTH]
                yield level, number, b"".join(hashes[start : start + TILE_WIDTH]), root

    def list_upper_tiles(self) -> Iterator[tuple[int, int, bytes, bytes]]:
        """Yield the full tiles of level 2: 2^24 leaves each."""
        for start in range(0, len(self._chunks) - TILE_WIDTH + 1, TILE_WIDTH):
            number = start // TILE_WIDTH
            yield 2, number, b"".join(self._chunks[start : start + TILE_WIDTH]), self._upper[8][number]


def _hash_levels(nodes: list[bytes]) -> list[list[bytes]]:
    """Return the complete subtrees' hashes of each height over ``nodes``."""
    levels = [nodes]
    while len(nodes) > 1:
        nodes = [
            sha256(b"\x01" + nodes[at] + nodes[at + 1]).digest() for at in range(0, len(nodes) - len(nodes) % 2, 2)
        ]
        levels.append(nodes)
    return levels


async def _copy(connection: Connection, table: str, columns: tuple[str, ...], records: list[tuple[Any, ...]]) -> None:
    await connection.copy_records_to_table(table, columns=columns, records=records, timeout=600)
