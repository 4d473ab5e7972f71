"""Reading the hub's log over HTTP: checkpoints, proofs and tiles, each checked against a signed root before it counts."""

from adapters.gateway.identity.hub_client import HubClient
from schemas.checkpoint import Checkpoint
from schemas.errors import DependencyUnavailable, SafelaneError
from schemas.merkle import HASH_BYTES, hash_leaf, verify_consistency
from schemas.tiles import TILE_WIDTH, TileTree, list_tiles, measure_tile, read_bundle, write_tile_path

_LONGEST_PROOF = 130


class LogUnclear(DependencyUnavailable):
    """What the hub serves of its log does not fit its checkpoint: nothing is proven either way yet."""

    code = "log-unclear"
    public_message = "The hub's log cannot be checked at the moment. It is tried again."


class LogForked(SafelaneError):
    """Proven: the log that the newer checkpoint signs does not begin with the one that the older checkpoint signs."""

    code = "log-fork"


class LogReader:
    """The log as this hub serves it."""

    def __init__(self, hub: HubClient) -> None:
        self._hub = hub

    async def fetch_note(self, path: str) -> str | None:
        """Return the checkpoint at ``path`` (``proposed``, ``witnessed``), or none.

        Raises:
            LogUnclear: it is not text.
            DependencyUnavailable: the hub does not answer.
        """
        data = await self._hub.fetch(f"/log/checkpoint/{path}")
        if data is None:
            return None
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise LogUnclear("a checkpoint is not text", field="checkpoint") from None

    async def require_growth(self, old: Checkpoint, new: Checkpoint) -> None:
        """Return only if ``new`` is proven to have grown from ``old``: by the hub's proof, or failing that by the tiles themselves.

        Raises:
            LogForked: the tiles of the new tree, which make up its signed root, do not begin with the old tree.
            LogUnclear: neither can be shown.
        """
        if old.size > new.size:
            raise LogUnclear("the newer checkpoint is the smaller", field="checkpoint")
        if old.size == new.size:
            if old.root != new.root:
                raise LogForked("two roots of one size", field="checkpoint")
            return
        proof = await self._fetch_proof(old.size, new.size)
        if proof is not None and verify_consistency(old.size, new.size, old.root, new.root, proof):
            return
        tree = await self._fetch_tree(new, old.size - 1)
        if tree.root(old.size) != old.root:
            raise LogForked("the signed tree does not begin with the earlier one", field="checkpoint")

    async def require_entry(self, position: int, entry: bytes, checkpoint: Checkpoint) -> None:
        """Return only if the tiles, which make up the signed root, hold the entry at ``position``.

        Raises:
            LogUnclear: they do not.
        """
        tree = await self._fetch_tree(checkpoint, position)
        if tree.read_node(0, position) != hash_leaf(entry):
            raise LogUnclear("the entry served is not the one that was signed", field="log.tiles")

    async def _fetch_tree(self, checkpoint: Checkpoint, position: int) -> TileTree:
        tiles = {}
        for level, number in list_tiles(checkpoint.size, (position,)):
            width = measure_tile(checkpoint.size, level, number)
            tile = await self._hub.fetch(f"/log/{write_tile_path(level, number, width)}")
            if tile is None or len(tile) != width * HASH_BYTES:
                raise LogUnclear("a tile is missing", field="log.tiles")
            tiles[level, number] = tile
        tree = TileTree(checkpoint.size, tiles)
        if tree.root() != checkpoint.root:
            raise LogUnclear("the tiles do not make the signed root", field="log.tiles")
        return tree

    async def fetch_entries(self, start: int, size: int) -> list[bytes]:
        """Return the entries from ``start`` to the end of its bundle, of a log of ``size`` entries.

        Raises:
            LogUnclear: the bundle is missing or of another length.
        """
        number = start // TILE_WIDTH
        width = measure_tile(size, 0, number)
        data = await self._hub.fetch(f"/log/{write_tile_path('entries', number, width)}")
        try:
            entries = read_bundle(data or b"")
        except SafelaneError:
            raise LogUnclear("a bundle of entries is not of its form", field="log.tiles") from None
        if len(entries) != width:
            raise LogUnclear("a bundle of entries is not whole", field="log.tiles")
        return entries[start - number * TILE_WIDTH :]

    async def _fetch_proof(self, first: int, second: int) -> list[bytes] | None:
        data = await self._hub.fetch(f"/log/consistency/{first}/{second}")
        try:
            found = [bytes.fromhex(line) for line in (data or b"").decode("ascii").split()]
        except ValueError:
            return None
        fits = data is not None and len(found) <= _LONGEST_PROOF and all(len(node) == HASH_BYTES for node in found)
        return found if fits else None
