"""The sequencer: gap-free positions, one signed checkpoint a batch, nothing signed in use before COMMIT is certain.

It runs as the last statements of the caller's READ COMMITTED transaction. The advisory lock is a statement of its own, so that what follows sees
all that the last holder committed; it lasts until the transaction ends. The right edge of the tree is kept with each checkpoint: an append reads
one row and costs in proportion to the batch alone. The worker's role may insert and select, so the edge is never updated, only added.

No two batches that follow one another have the same instant: by it ``fsck`` tells where one ends, and sees that a checkpoint in between is gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from broker.log.events import NewEvent
from broker.store.pool import Connection
from schemas.checkpoint import Checkpoint, sign_checkpoint, write_proof, write_verifier
from schemas.errors import ConfigInvalid, IntegrityBroken
from schemas.keys import public_part
from schemas.merkle import HASH_BYTES, Appended, RightEdge, hash_leaf, hash_node

SEQUENCER_LOCK: Final = 0x5AFE_0002
TILE_WIDTH: Final = 256
"""Hashes in a full tile (C2SP tlog-tiles)."""
_TILE_LEVELS: Final = 8
_NEXT_INSTANT: Final = timedelta(microseconds=1)
"""The finest step that PostgreSQL keeps."""


@dataclass(frozen=True, slots=True)
class LogEdge(RightEdge):
    """The right edge of the log's tree, and the instant of the checkpoint that it was stored with: none of an empty log."""

    at: datetime | None = None


class LogBatch:
    """What one append did. Use nothing of it before the transaction's COMMIT is certain."""

    def __init__(self, appended: Appended, note: str) -> None:
        """Keep the tree's growth and the batch's signed checkpoint."""
        self.appended = appended
        self.note = note
        self._paths: list[tuple[bytes, ...]] | None = None

    @property
    def first_position(self) -> int:
        """The position of the batch's first event."""
        return self.appended.before.size

    @property
    def size(self) -> int:
        """The number of entries after the batch."""
        return self.appended.after.size

    def proof(self, number: int) -> str:
        """Return the tlog-proof of the batch's event ``number`` (from 0), under the batch's own checkpoint."""
        if self._paths is None:
            self._paths = self.appended.prove_all()
        return write_proof(self.first_position + number, self._paths[number], self.note)


class LogWriter:
    """Appends events to the log of ``origin`` with the hub's log key. Stateless: any number of processes may have one."""

    def __init__(self, origin: str, log_jwk: Mapping[str, Any], *, epoch: int = 1) -> None:
        """Keep the log's origin line, its private key and the epoch that the authority's directory names."""
        self._origin = origin
        self._log_jwk = dict(log_jwk)
        self._epoch = epoch

    @property
    def verifier(self) -> str:
        """The verifier key of the log's signatures (C2SP vkey text)."""
        return write_verifier(self._origin, public_part(self._log_jwk))

    @property
    def epoch(self) -> int:
        """The epoch in which it writes."""
        return self._epoch

    async def lock(self, connection: Connection, *, after_epoch: int | None = None) -> LogEdge:
        """Take the sequencer's lock until the transaction ends and return the tree's right edge.

        ``after_epoch``: the epoch in which the log must be, if not our own: only the opening of the next epoch says so.

        Raises:
            IntegrityBroken: the log is at a later epoch than ours, or its stored edge does not fit its size.
            ConfigInvalid: our epoch was not opened yet.
        """
        # fetchval of its own: the next statement must take its snapshot after the lock was granted.
        await connection.fetchval("SELECT pg_advisory_xact_lock($1)", SEQUENCER_LOCK)
        row = await connection.fetchrow(
            "SELECT size, edge, epoch, root, at FROM log_checkpoints ORDER BY size DESC LIMIT 1"
        )
        if row is None:
            return LogEdge()
        if row["epoch"] > self._epoch:
            raise IntegrityBroken("the log has a later epoch than this process knows", field="log.epoch")
        if row["epoch"] != (self._epoch if after_epoch is None else after_epoch):
            raise ConfigInvalid("is not open yet: safelane hub open-epoch", field="log.epoch")
        edge = read_edge(row["size"], row["edge"], row["at"])
        if edge.root() != row["root"]:
            raise IntegrityBroken("the stored right edge is not that of the last checkpoint", field="log.edge")
        return edge

    async def append(self, connection: Connection, events: Sequence[NewEvent], *, at: datetime) -> LogBatch:
        """Append ``events`` and sign the new checkpoint. The last thing to do in a transaction; payloads go in here too.

        Raises:
            IntegrityBroken: the log is not as the last checkpoint says.
        """
        await insert_payloads(connection, events)
        return await self.append_locked(connection, await self.lock(connection), events, at=at)

    async def append_locked(
        self, connection: Connection, edge: LogEdge, events: Sequence[NewEvent], *, at: datetime
    ) -> LogBatch:
        """Append ``events``, whose payloads are inserted, after ``lock`` gave ``edge`` in this transaction.

        Where the batch before was of the very instant ``at``, entries and checkpoint are stored with the next; what the events say stays.
        """
        at = at + _NEXT_INSTANT if at == edge.at else at
        entries = [event.entry() for event in events]
        leaves = [hash_leaf(entry) for entry in entries]
        appended = edge.append(leaves)
        size = appended.after.size
        root = appended.after.root()
        note = sign_checkpoint(Checkpoint(self._origin, size, root), self._log_jwk)
        await connection.copy_records_to_table(
            "log_entries",
            columns=("position", "event_id", "kind", "at", "entry", "leaf_hash"),
            records=[
                (edge.size + number, event.event_id, event.kind, at, entries[number], leaves[number])
                for number, event in enumerate(events)
            ],
        )
        await connection.execute(
            "INSERT INTO log_checkpoints (size, epoch, root, edge, note, at) VALUES ($1, $2, $3, $4, $5, $6)",
            size,
            self._epoch,
            root,
            b"".join(appended.after.hashes),
            note,
            at,
        )
        await _store_full_tiles(connection, appended)
        return LogBatch(appended, note)


def read_edge(size: int, stored: bytes, at: datetime) -> LogEdge:
    """Return a stored right edge; ``at`` is its checkpoint's instant.

    Raises:
        IntegrityBroken: it does not fit the size.
    """
    hashes = tuple(stored[start : start + HASH_BYTES] for start in range(0, len(stored), HASH_BYTES))
    if len(hashes) != size.bit_count():
        raise IntegrityBroken("the stored right edge does not fit the log's size", field="log.edge")
    return LogEdge(size, hashes, at)


async def insert_payloads(connection: Connection, events: Sequence[NewEvent]) -> None:
    """Insert what the log commits to, before the sequencer's lock: payloads are found by event id, not by position."""
    await connection.copy_records_to_table(
        "log_payloads",
        columns=("event_id", "event", "salt", "message_id"),
        records=[(event.event_id, event.event, event.salt, event.message_id) for event in events],
    )


async def _store_full_tiles(connection: Connection, appended: Appended) -> None:
    """Store every tile that the batch filled. A partial tile is read from entries and from the tiles below it."""
    level = 0
    before, after = appended.before.size, appended.after.size
    while (last := after >> (_TILE_LEVELS * (level + 1))) > (first := before >> (_TILE_LEVELS * (level + 1))):
        height = _TILE_LEVELS * level
        for number in range(first, last):
            start = number * TILE_WIDTH
            known = [appended.nodes.get((height, index)) for index in range(start, start + TILE_WIDTH)]
            missing = sum(1 for node in known if node is None)
            older = await read_hashes(connection, level, start, missing) if missing else []
            hashes = b"".join([*older, *(node for node in known if node is not None)])
            await connection.execute(
                "INSERT INTO log_tiles (level, number, hashes, root) VALUES ($1, $2, $3, $4)",
                level,
                number,
                hashes,
                root_of_tile(hashes),
            )
        level += 1


async def read_hashes(connection: Connection, level: int, start: int, count: int) -> list[bytes]:
    """Return ``count`` hashes of tile level ``level`` from the ``start``th on: leaf hashes, or the roots of the full tiles below."""
    if level == 0:
        rows = await connection.fetch(
            "SELECT leaf_hash FROM log_entries WHERE position >= $1 AND position < $2 ORDER BY position",
            start,
            start + count,
        )
        return [row["leaf_hash"] for row in rows]
    rows = await connection.fetch(
        "SELECT root FROM log_tiles WHERE level = $1 AND number >= $2 AND number < $3 ORDER BY number",
        level - 1,
        start,
        start + count,
    )
    return [row["root"] for row in rows]


def root_of_tile(hashes: bytes) -> bytes:
    """Return the root of a full tile's 256 hashes: the hash that the tile above holds for it."""
    nodes = [hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES)]
    while len(nodes) > 1:
        nodes = [hash_node(nodes[i], nodes[i + 1]) for i in range(0, len(nodes), 2)]
    return nodes[0]
