"""The log as tiles (C2SP tlog-tiles): any part of what the newest checkpoint covers. A tile once served never changes."""

from broker.log.reading import load_tile
from broker.store.pool import Connection
from schemas.errors import NotFound
from schemas.tiles import MAX_TILE_LEVEL, TILE_BITS, TILE_WIDTH, measure_tile, write_bundle


async def read_size(connection: Connection) -> int:
    """Return the number of entries that the newest checkpoint covers."""
    return int(await connection.fetchval("SELECT coalesce(max(size), 0) FROM log_checkpoints"))


async def read_tile(connection: Connection, level: int, number: int, width: int) -> bytes:
    """Return the first ``width`` hashes of a tile.

    Raises:
        NotFound: the newest checkpoint does not cover them.
    """
    size = await read_size(connection)
    if level > MAX_TILE_LEVEL or measure_tile(size, level, number) < width:
        raise NotFound("no checkpoint covers this tile", field="tile")
    count = min(size >> (TILE_BITS * level), number * TILE_WIDTH + width)
    return b"".join((await load_tile(connection, level, number, count))[:width])


async def read_entries(connection: Connection, number: int, width: int) -> bytes:
    """Return the bundle of the first ``width`` entries of entry tile ``number``: clear events, and commitments to the others.

    Raises:
        NotFound: the newest checkpoint does not cover them.
    """
    if measure_tile(await read_size(connection), 0, number) < width:
        raise NotFound("no checkpoint covers these entries", field="tile")
    first = number * TILE_WIDTH
    rows = await connection.fetch(
        "SELECT entry FROM log_entries WHERE position >= $1 AND position < $2 ORDER BY position", first, first + width
    )
    return write_bundle(row["entry"] for row in rows)
