"""Reading the log: checkpoints, and proofs of entries under any checkpoint, from tiles and the leaves that no tile holds yet."""

from collections.abc import Collection

from broker.log.append import TILE_WIDTH, read_hashes, root_of_tile
from broker.store.pool import Connection
from schemas.checkpoint import write_proof
from schemas.errors import IntegrityBroken, NotFound
from schemas.merkle import HASH_BYTES, prove_consistency, prove_inclusion

_TILE_BITS = 8


async def read_checkpoint(connection: Connection) -> str | None:
    """Return the newest checkpoint's note, or none while the log is empty."""
    note: str | None = await connection.fetchval("SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1")
    return note


async def find_position(connection: Connection, event_id: object) -> int:
    """Return the position of an event.

    Raises:
        NotFound: the log has no such event.
    """
    position = await connection.fetchval("SELECT position FROM log_entries WHERE event_id = $1", event_id)
    if position is None:
        raise NotFound("the log has no such event", field="event")
    return int(position)


async def prove_entry(connection: Connection, position: int, *, latest: bool = False) -> str:
    """Return the tlog-proof of the entry at ``position``, under the checkpoint of its own batch or, if ``latest``, under the newest.

    The proof under its own batch's checkpoint is the same bytes for ever.

    Raises:
        NotFound: no checkpoint covers such an entry.
        IntegrityBroken: the stored tree has a hole.
    """
    order = "DESC" if latest else "ASC"
    row = await connection.fetchrow(
        f"SELECT size, note FROM log_checkpoints WHERE size > $1 ORDER BY size {order} LIMIT 1",  # noqa: S608 (two constants)
        position,
    )
    if position < 0 or row is None:
        raise NotFound("the log has no such entry", field="position")
    return await prove_entry_under(connection, position, row["size"], row["note"])


async def prove_entry_under(connection: Connection, position: int, size: int, note: str) -> str:
    """Return the tlog-proof of the entry at ``position`` under the checkpoint ``note`` of ``size`` entries.

    Raises:
        MalformedMessage: that checkpoint does not cover it.
        IntegrityBroken: the stored tree has a hole.
    """
    return (await prove_entries_under(connection, (position,), size, note))[position]


async def prove_entries_under(
    connection: Connection, positions: Collection[int], size: int, note: str
) -> dict[int, str]:
    """Return the tlog-proof of each entry, by position: the tiles of all of them are read together.

    Raises:
        MalformedMessage: that checkpoint does not cover one of them.
        IntegrityBroken: the stored tree has a hole.
    """
    nodes = await _load_paths(connection, positions, size)
    return {
        position: write_proof(position, prove_inclusion(position, size, nodes.read), note) for position in positions
    }


async def prove_growth(connection: Connection, first: int, second: int) -> list[bytes]:
    """Return the consistency proof from the tree of ``first`` entries to that of ``second`` (RFC 9162 section 2.1.4).

    Raises:
        MalformedMessage: ``first`` is larger than ``second``.
        IntegrityBroken: the stored tree has a hole.
    """
    if not 0 < first < second:
        return prove_consistency(first, second, _Nodes().read)
    nodes = await _load_paths(connection, (first - 1,), second)
    return prove_consistency(first, second, nodes.read)


class _Nodes:
    """Hashes loaded for some proofs: stretches of a tile level by their start, and a reader that computes subtrees from them, each once."""

    def __init__(self) -> None:
        self.stretches: dict[tuple[int, int], list[bytes]] = {}
        self._read: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, index: int) -> bytes:
        """Return the hash of the complete subtree at (level, index)."""
        known = self._read.get((level, index))
        if known is not None:
            return known
        tile_level, height = divmod(level, _TILE_BITS)
        start = index << height
        tile = start // TILE_WIDTH
        hashes = self.stretches.get((tile_level, tile))
        offset = start - tile * TILE_WIDTH
        if hashes is None or len(hashes) < offset + (1 << height):
            raise IntegrityBroken("the stored tree has a hole", field="log.tiles")
        found = self._read[level, index] = root_of_tile(b"".join(hashes[offset : offset + (1 << height)]))
        return found


async def _load_paths(connection: Connection, positions: Collection[int], size: int) -> _Nodes:
    """Load the tiles on the ways from the leaves to the root, and those at the right edge: a bounded number for each level and leaf."""
    counts: list[int] = []
    while (count := size >> (_TILE_BITS * len(counts))) > 0:
        counts.append(count)
    wanted = sorted(
        {(level, (count - 1) // TILE_WIDTH) for level, count in enumerate(counts)}
        | {(level, (p >> (_TILE_BITS * level)) // TILE_WIDTH) for level in range(len(counts)) for p in positions}
    )
    rows = await connection.fetch(
        "SELECT t.level, t.number, t.hashes FROM unnest($1::smallint[], $2::bigint[]) AS w (level, number) JOIN log_tiles t USING (level, number)",
        [level for level, _ in wanted],
        [tile for _, tile in wanted],
    )
    stored = {(row["level"], row["number"]): row["hashes"] for row in rows}
    nodes = _Nodes()
    for level, tile in wanted:
        width = min(TILE_WIDTH, counts[level] - tile * TILE_WIDTH)
        hashes = stored.get((level, tile))
        if hashes is None:
            nodes.stretches[level, tile] = await read_hashes(connection, level, tile * TILE_WIDTH, width)
        else:
            nodes.stretches[level, tile] = _split(hashes, width)
    return nodes


def _split(hashes: bytes, width: int) -> list[bytes]:
    return [hashes[start : start + HASH_BYTES] for start in range(0, width * HASH_BYTES, HASH_BYTES)]


async def load_tile(connection: Connection, level: int, tile: int, count: int) -> list[bytes]:
    """Return the hashes of a tile, full or partial, of a tree that has ``count`` hashes at this tile level."""
    width = min(TILE_WIDTH, count - tile * TILE_WIDTH)
    stored = await connection.fetchval("SELECT hashes FROM log_tiles WHERE level = $1 AND number = $2", level, tile)
    if stored is not None:
        return _split(stored, width)
    return await read_hashes(connection, level, tile * TILE_WIDTH, width)
