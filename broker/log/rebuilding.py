"""The log's tree once more, by code that shares nothing with what wrote it: for ``fsck`` alone.

Hashing is RFC 9162 section 2.1.1 on ``hashlib``; commitments are written by hand. If both this and ``schemas.merkle`` agree, a fault in one is seen.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.errors import ConfigInvalid

_TILE_BITS = 8
_TILE_HASHES = 1 << _TILE_BITS
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_sha256 = hashlib.sha256

OnTile = Callable[[int, int, bytes, bytes], None]
"""Gets (level, number, 8192 bytes, root) of a tile that is full."""


@dataclass(slots=True)
class RebuiltTree:
    """A tree rebuilt leaf by leaf. ``subtrees`` maps a height to the one complete subtree of that height at the right edge."""

    size: int = 0
    subtrees: dict[int, bytes] = field(default_factory=dict)
    tiles: dict[int, list[bytes]] = field(default_factory=dict)
    """Tile level to the hashes of the tile that is being filled."""

    def add(self, leaf: bytes, on_tile: OnTile) -> None:
        """Add a leaf hash; ``on_tile`` gets each tile that it completes."""
        self.extend([leaf], on_tile)

    def extend(self, leaves: Sequence[bytes], on_tile: OnTile) -> None:
        """Add leaf hashes in order, height by height: the right edge's subtree of a height is paired with the first new one."""
        nodes, height, subtrees = list(leaves), 0, self.subtrees
        full: dict[int, bytes] = {}
        self.size += len(nodes)
        while nodes:
            if not height % _TILE_BITS:
                level = height // _TILE_BITS
                if level:
                    first = (self.size >> height) - len(nodes)
                    for number, node in enumerate(nodes, start=first):
                        on_tile(level - 1, number, full.get(number, b""), node)
                full = self._fill_tiles(level, nodes)
            if height in subtrees:
                nodes.insert(0, subtrees.pop(height))
            if len(nodes) & 1:
                subtrees[height] = nodes.pop()
            pairs = iter(nodes)
            nodes = [_sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
            height += 1

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

    def _fill_tiles(self, level: int, nodes: Sequence[bytes]) -> dict[int, bytes]:
        """Put ``nodes`` into the tiles of a level; return those that are full now, by number."""
        hashes = self.tiles.setdefault(level, [])
        hashes += nodes
        count = len(hashes) // _TILE_HASHES
        first = (self.size >> (_TILE_BITS * (level + 1))) - count
        full = {}
        for number in range(count):
            full[first + number] = b"".join(hashes[number * _TILE_HASHES : (number + 1) * _TILE_HASHES])
        del hashes[: count * _TILE_HASHES]
        return full


def hash_entries(entries: Iterable[bytes]) -> list[bytes]:
    """Return the leaf hashes of entries."""
    return [_sha256(b"\x00" + entry).digest() for entry in entries]


def write_commitments(events: Iterable[tuple[bytes, bytes | None]]) -> list[bytes]:
    """Return the entries of (event, salt), written by hand: the event itself where there is no salt."""
    encode, safe = binascii.b2a_base64, _URL_SAFE
    return [
        event
        if salt is None
        else b'{"commitment":"%b"}' % encode(_sha256(salt + event).digest(), newline=False)[:43].translate(safe)
        for event, salt in events
    ]


def read_vkey(text: str) -> "NoteReader":
    """Return the reader of the log with this verifier key (C2SP vkey, type 1).

    Raises:
        ConfigInvalid: it is not one.
    """
    try:
        name, _, encoded = text.split("+", 2)
        return NoteReader(name, base64.b64decode(encoded, validate=True)[1:])
    except (ValueError, binascii.Error):
        raise ConfigInvalid("is not a verifier key", field="log_verifier") from None


class NoteReader:
    """Reads the notes of one log: its origin, and its raw Ed25519 key."""

    def __init__(self, origin: str, key: bytes) -> None:
        """Keep both, parsed once.

        Raises:
            ValueError: it is not such a key.
        """
        self._origin = origin
        self._key = Ed25519PublicKey.from_public_bytes(key)
        self._key_id = hashlib.sha256(origin.encode() + b"\n\x01" + key).digest()[:4]

    def is_signed(self, note: str, size: int, root: bytes) -> bool:
        """Tell whether ``note`` is exactly the log's checkpoint of this size and root with one valid signature."""
        text = f"{self._origin}\n{size}\n{base64.b64encode(root).decode()}\n"
        start = f"{text}\n\u2014 {self._origin} "
        if not note.startswith(start) or not note.endswith("\n"):
            return False
        try:
            raw = base64.b64decode(note[len(start) : -1], validate=True)
            self._key.verify(raw[4:], text.encode())
        except (InvalidSignature, ValueError, binascii.Error):
            return False
        return raw[:4] == self._key_id and start + base64.b64encode(raw).decode() + "\n" == note
