"""Tiles of the message log in the form of C2SP tlog-tiles: paths, widths, entry bundles, and a tree that is read from tiles.

A tile of level L and number N holds up to 256 hashes: those of the complete subtrees of 256^L leaves each, from the (256 N)th on. Pure: whoever
fetches tiles gives their bytes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from schemas.errors import IntegrityBroken, MalformedMessage
from schemas.merkle import HASH_BYTES, RightEdge

TILE_WIDTH: Final = 256
TILE_BITS: Final = 8
MAX_TILE_LEVEL: Final = 5
"""Levels 0 to 5 cover 2^48 leaves; the specification allows up to 63."""
_PARTS = re.compile(r"(?:x[0-9]{3}/)*[0-9]{3}")
_MAX_PARTS: Final = 6

Tile = tuple[int, int]
"""(level, number)"""


def write_tile_number(number: int) -> str:
    """Return a tile's number as path elements: 1234067 is ``x001/x234/067``."""
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03d}")
    return "/".join(groups)


def read_tile_path(path: str) -> tuple[int, int]:
    """Read ``x001/067`` or ``x001/067.p/12`` into (number, width).

    Raises:
        MalformedMessage: it is not written as the specification says.
    """
    parts, dot, width = path.partition(".p/")
    if not _PARTS.fullmatch(parts) or parts.count("/") >= _MAX_PARTS:
        raise MalformedMessage("is not a tile's path", field="tile")
    number = int(parts.replace("x", "").replace("/", ""))
    if write_tile_number(number) != parts:
        raise MalformedMessage("is not a tile's path", field="tile")
    if not dot:
        return number, TILE_WIDTH
    if not re.fullmatch(r"[1-9][0-9]{0,2}", width) or int(width) >= TILE_WIDTH:
        raise MalformedMessage("is not a partial tile's width", field="tile")
    return number, int(width)


def write_tile_path(level: int | str, number: int, width: int = TILE_WIDTH) -> str:
    """Return the path below the log's prefix; ``level`` is a number or ``entries``."""
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{write_tile_number(number)}{partial}"


def measure_tile(size: int, level: int, number: int) -> int:
    """Return how many hashes tile (level, number) of a tree of ``size`` leaves has: 0 (there is none) to 256."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_BITS * level)) - number * TILE_WIDTH))


def write_bundle(entries: Iterable[bytes]) -> bytes:
    """Return an entry bundle: each entry after its length as a big-endian uint16.

    Raises:
        MalformedMessage: an entry is longer than the form allows.
    """
    parts = []
    for entry in entries:
        if len(entry) > 0xFFFF:
            raise MalformedMessage("is longer than an entry bundle can hold", field="entry")
        parts += [len(entry).to_bytes(2), entry]
    return b"".join(parts)


def read_bundle(data: bytes) -> list[bytes]:
    """Read an entry bundle.

    Raises:
        MalformedMessage: it ends within an entry, or holds more than a tile's.
    """
    entries, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 2])
        entry = data[at + 2 : at + 2 + length]
        if at + 2 > len(data) or len(entry) != length:
            raise MalformedMessage("ends within an entry", field="tile")
        entries.append(entry)
        at += 2 + length
    if len(entries) > TILE_WIDTH:
        raise MalformedMessage("holds more entries than a tile", field="tile")
    return entries


class TileTree:
    """A tree of ``size`` leaves as its tiles say. Nothing is believed until a root computed from it is a signed one."""

    def __init__(self, size: int, tiles: Mapping[Tile, bytes]) -> None:
        """Keep tiles by (level, number).

        Raises:
            MalformedMessage: one is not as wide as such a tree's tile.
        """
        for (level, number), hashes in tiles.items():
            if len(hashes) != measure_tile(size, level, number) * HASH_BYTES:
                raise MalformedMessage("is not of the width that the tree's size demands", field="tile")
        self.size = size
        self._tiles = dict(tiles)

    def read_node(self, level: int, index: int) -> bytes:
        """Return the hash of the complete subtree at (level, index), computed from the tile below it.

        Raises:
            IntegrityBroken: the tile is missing or too narrow.
        """
        tile_level, height = divmod(level, TILE_BITS)
        start = index << height
        offset = start % TILE_WIDTH
        hashes = self._tiles.get((tile_level, start // TILE_WIDTH), b"")
        wanted = hashes[offset * HASH_BYTES : (offset + (1 << height)) * HASH_BYTES]
        if len(wanted) != HASH_BYTES << height:
            raise IntegrityBroken("a tile that the proof needs is missing", field="log.tiles")
        return RightEdge().append(split_hashes(wanted)).after.root()

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the tree's first ``size`` leaves, of all by default."""
        return RightEdge.from_nodes(self.size if size is None else size, self.read_node).root()


def split_hashes(tile: bytes) -> list[bytes]:
    """Return a tile's hashes."""
    return [tile[start : start + HASH_BYTES] for start in range(0, len(tile), HASH_BYTES)]


def list_tiles(size: int, positions: Sequence[int]) -> list[Tile]:
    """Return the tiles on the way from leaves at ``positions`` to the root, with those of the right edge: enough for any proof about them.

    A consistency proof from ``n`` leaves needs ``positions`` (n - 1,).
    """
    found: dict[Tile, None] = {}
    level = 0
    while count := size >> (TILE_BITS * level):
        for position in positions:
            number = (position >> (TILE_BITS * level)) // TILE_WIDTH
            if number * TILE_WIDTH < count:
                found[level, number] = None
        found[level, (count - 1) // TILE_WIDTH] = None
        level += 1
    return list(found)
