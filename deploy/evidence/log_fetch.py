"""Reading a hub's log over HTTP: heads as served, and one walk through all entries that takes the tree's roots on its way."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx

from schemas.canonical import parse_object
from schemas.errors import DependencyUnavailable, MalformedMessage
from schemas.merkle import HASH_BYTES, RightEdge, hash_leaf
from schemas.tiles import TILE_WIDTH, TileTree, list_tiles, measure_tile, read_bundle, write_tile_path

_MAX_ENTRY = 65_535


@dataclass(slots=True)
class Walk:
    """What the entries themselves say: the root at each size that was asked for, the first dated clear event, the newest ``directory`` event."""

    roots: dict[int, bytes] = field(default_factory=dict)
    first_at: str = ""
    directory: dict[str, Any] = field(default_factory=dict)


class LogSource:
    """One hub's log. ``client`` has the hub's address and what is trusted of TLS."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def fetch_text(self, path: str) -> str:
        """Return what is served below ``/log``.

        Raises:
            DependencyUnavailable: the hub does not serve it.
            MalformedMessage: it is not text.
        """
        return _read_text(self._fetch(path), path)

    def find_text(self, path: str) -> str | None:
        """Return what is served below ``/log``, or none where there is nothing yet.

        Raises:
            DependencyUnavailable, MalformedMessage: as for ``fetch_text``.
        """
        response = self._client.get(f"/log/{path}")
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        return _read_text(_require_ok(response), path)

    def walk(self, size: int, wanted: Iterable[int]) -> Walk:
        """Read every entry up to ``size``, and take the tree's root there and at each of the ``wanted`` sizes below it.

        Raises:
            MalformedMessage: a bundle is not of its form or not whole.
            DependencyUnavailable: a part is not served.
        """
        walk, edge = Walk(), RightEdge()
        stops = sorted({stop for stop in wanted if 0 < stop < size} | {size})
        while edge.size < size:
            number = edge.size // TILE_WIDTH
            width = measure_tile(size, 0, number)
            entries = read_bundle(self._fetch(write_tile_path("entries", number, width)))
            if len(entries) != width:
                raise MalformedMessage("a bundle is not whole", field="log.tiles")
            for entry in entries:
                _look(walk, entry)
            first = edge.size
            for stop in [stop for stop in stops if first < stop <= first + width]:
                edge = edge.append(hash_leaf(entry) for entry in entries[edge.size - first : stop - first]).after
                walk.roots[stop] = edge.root()
            edge = edge.append(hash_leaf(entry) for entry in entries[edge.size - first :]).after
        walk.roots.setdefault(size, edge.root())
        return walk

    def check_tiles(self, size: int, root: bytes) -> str:
        """Rebuild ``root`` from the tiles, each of which must be that of the tiles below it; return what was proved.

        Raises:
            MalformedMessage: they do not make it.
            DependencyUnavailable: a part is not served.
        """
        tiles = {}
        for level, number in list_tiles(size, tuple(range(0, size, TILE_WIDTH))):
            width = measure_tile(size, level, number)
            tiles[level, number] = self._fetch(write_tile_path(level, number, width))
        if TileTree(size, tiles).root() != root:
            raise MalformedMessage("the tiles do not make the signed root", field="log.tiles")
        for (level, number), hashes in tiles.items():
            for offset in range(0, len(hashes), HASH_BYTES) if level else ():
                index = number * TILE_WIDTH + offset // HASH_BYTES
                below = RightEdge().append(
                    tiles[level - 1, index][at : at + HASH_BYTES]
                    for at in range(0, TILE_WIDTH * HASH_BYTES, HASH_BYTES)
                )
                if below.after.root() != hashes[offset : offset + HASH_BYTES]:
                    raise MalformedMessage("a tile is not the one below it", field="log.tiles")
        return f"{len(tiles)} tiles make the signed root"

    def _fetch(self, path: str) -> bytes:
        return _require_ok(self._client.get(f"/log/{path}"))


def _require_ok(response: httpx.Response) -> bytes:
    if response.status_code != httpx.codes.OK:
        raise DependencyUnavailable("the hub does not serve a part of its log", field="url")
    return response.content


def _read_text(data: bytes, path: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise MalformedMessage("is not text", field=f"log.{path}") from None


def _look(walk: Walk, entry: bytes) -> None:
    """Note what a clear event says; commitments, and what is no event of ours, say nothing here."""
    if b'"event"' not in entry or (walk.first_at and b'"directory"' not in entry):
        return
    try:
        event = parse_object(entry, max_bytes=_MAX_ENTRY, field="entry")
    except MalformedMessage:
        return
    walk.first_at = walk.first_at or str(event.get("at", ""))
    if event.get("event") == "directory":
        walk.directory = event
