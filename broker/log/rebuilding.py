"""The log's tree once more, by code that shares nothing with what wrote it: for ``fsck`` alone.

Hashing is RFC 9162 section 2.1.1 on ``hashlib``; commitments are written by hand. If both this and ``schemas.merkle`` agree, a fault in one is seen.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.errors import ConfigInvalid

_TILE_BITS = 8
_TILE_HASHES = 1 << _TILE_BITS


@dataclass(slots=True)
class RebuiltTree:
    """A tree rebuilt leaf by leaf. ``subtrees`` maps a height to the one complete subtree of that height at the right edge."""

    size: int = 0
    subtrees: dict[int, bytes] = field(default_factory=dict)
    tiles: dict[int, list[bytes]] = field(default_factory=dict)
    """Tile level to the hashes of the tile that is being filled."""

    def add(self, leaf: bytes, on_tile: Callable[[int, int, bytes], None]) -> None:
        """Add a leaf hash; ``on_tile`` gets (level, number, 8192 bytes) of each tile that it completes."""
        subtrees, height, node = self.subtrees, 0, leaf
        self._note(0, leaf, on_tile)
        while height in subtrees:
            node = hashlib.sha256(b"\x01" + subtrees.pop(height) + node).digest()
            height += 1
            if not height % _TILE_BITS:
                self._note(height // _TILE_BITS, node, on_tile)
        subtrees[height] = node
        self.size += 1

    def root(self) -> bytes:
        """Return the root hash."""
        found: bytes | None = None
        for height in sorted(self.subtrees):
            left = self.subtrees[height]
            found = left if found is None else hashlib.sha256(b"\x01" + left + found).digest()
        return hashlib.sha256(b"").digest() if found is None else found

    def edge(self) -> bytes:
        """Return the complete subtrees' hashes, largest first, joined."""
        return b"".join(self.subtrees[height] for height in sorted(self.subtrees, reverse=True))

    def to_json(self) -> dict[str, Any]:
        """Return the state, so that a check can go on later."""
        return {
            "size": self.size,
            "subtrees": {str(height): node.hex() for height, node in self.subtrees.items()},
            "tiles": {str(level): b"".join(hashes).hex() for level, hashes in self.tiles.items()},
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> "RebuiltTree":
        """Read a state.

        Raises:
            ConfigInvalid: it is not one.
        """
        try:
            tiles = {int(level): bytes.fromhex(hashes) for level, hashes in state["tiles"].items()}
            return cls(
                size=int(state["size"]),
                subtrees={int(height): bytes.fromhex(node) for height, node in state["subtrees"].items()},
                tiles={level: [h[at : at + 32] for at in range(0, len(h), 32)] for level, h in tiles.items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ConfigInvalid("is not the state of a check", field="state") from None

    def _note(self, level: int, node: bytes, on_tile: Callable[[int, int, bytes], None]) -> None:
        hashes = self.tiles.get(level)
        if hashes is None:
            hashes = self.tiles[level] = []
        hashes.append(node)
        if len(hashes) == _TILE_HASHES:
            on_tile(level, (self.size + 1) // _TILE_HASHES ** (level + 1) - 1, b"".join(hashes))
            hashes.clear()


def hash_entry(entry: bytes) -> bytes:
    """Return the leaf hash of an entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def write_commitment(event: bytes, salt: bytes) -> bytes:
    """Return the entry of a salted event, written by hand."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(salt + event).digest()).rstrip(b"=")
    return b'{"commitment":"' + digest + b'"}'


def is_signed_note(note: str, origin: str, size: int, root: bytes, key: bytes) -> bool:
    """Tell whether ``note`` is exactly the checkpoint of this origin, size and root with one valid signature by the log's raw Ed25519 ``key``."""
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    key_id = hashlib.sha256(origin.encode() + b"\n\x01" + key).digest()[:4]
    start = f"{text}\n\u2014 {origin} "
    if not note.startswith(start) or not note.endswith("\n"):
        return False
    try:
        raw = base64.b64decode(note[len(start) : -1], validate=True)
        Ed25519PublicKey.from_public_bytes(key).verify(raw[4:], text.encode())
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return raw[:4] == key_id and start + base64.b64encode(raw).decode() + "\n" == note
