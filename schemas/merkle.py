"""The RFC 9162 (section 2) Merkle tree over SHA-256: hashes, proofs made and verified, and a right edge that appends in time of the batch alone.

Pure: whoever stores nodes passes a function that reads a complete subtree's hash by (level, index), where level 0 holds the leaf hashes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

from schemas.errors import MalformedMessage

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()

ReadNode = Callable[[int, int], bytes]
"""Returns the hash of the complete subtree at (level, index), which covers leaves ``index << level`` to ``(index + 1) << level``."""


def hash_leaf(entry: bytes) -> bytes:
    """Return the leaf hash of an entry (RFC 9162 section 2.1.1)."""
    return sha256(b"\x00" + entry).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """Return the hash of an interior node (RFC 9162 section 2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class RightEdge:
    """The compact range of a tree: its size and the roots of its complete subtrees, largest first. All that an append needs."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise MalformedMessage("does not hold one hash for each complete subtree", field="right_edge")

    @classmethod
    def from_nodes(cls, size: int, read_node: ReadNode) -> Self:
        """Read the right edge of a stored tree of ``size`` leaves."""
        return cls(size, tuple(read_node(level, index) for level, index in _edge_nodes(size)))

    def root(self) -> bytes:
        """Return the tree's root hash; of the empty tree, SHA-256 of nothing."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = hash_node(left, root)
        return root

    def append(self, leaf_hashes: Iterable[bytes]) -> "Appended":
        """Append leaves. Returns the new edge and every node that the batch completed, leaves included."""
        stack = list(self.hashes)
        size = self.size
        nodes: dict[tuple[int, int], bytes] = {}
        for leaf in leaf_hashes:
            node, level, index = leaf, 0, size
            nodes[0, index] = node
            while index & 1:
                node = hash_node(stack.pop(), node)
                level, index = level + 1, index >> 1
                nodes[level, index] = node
            stack.append(node)
            size += 1
        return Appended(self, RightEdge(size, tuple(stack)), nodes)


@dataclass(frozen=True, slots=True)
class Appended:
    """What one batch did to a tree. ``nodes`` maps (level, index) to the hash of each subtree that the batch completed."""

    before: RightEdge
    after: RightEdge
    nodes: Mapping[tuple[int, int], bytes] = field(repr=False)

    def prove_inclusion(self, index: int) -> list[bytes]:
        """Return the inclusion path, in the new tree, of a leaf that this batch appended.

        Raises:
            MalformedMessage: this batch did not append that leaf.
        """
        if not self.before.size <= index < self.after.size:
            raise MalformedMessage("this batch did not append that leaf", field="index")
        return prove_inclusion(index, self.after.size, self._read_node())

    def prove_all(self) -> list[tuple[bytes, ...]]:
        """Return the inclusion path of each leaf that this batch appended, in order: as ``prove_inclusion``, in one walk down the tree.

        The leaves share the upper part of their paths, so that each node is hashed once for all of them.
        """
        first = self.before.size
        read_node = self._read_node()
        paths: list[tuple[bytes, ...]] = []
        waiting: list[tuple[int, int, tuple[bytes, ...]]] = [(0, self.after.size, ())]
        while waiting:
            start, count, above = waiting.pop()
            if start + count <= first:
                continue
            if count == 1:
                paths.append(above)
                continue
            split = _split(count)
            waiting.append((start + split, count - split, (_range_root(start, split, read_node), *above)))
            if start + split > first:
                right = _range_root(start + split, count - split, read_node)
                waiting.append((start, split, (right, *above)))
        return paths

    def _read_node(self) -> ReadNode:
        known = dict(zip(_edge_nodes(self.before.size), self.before.hashes, strict=True))
        return lambda level, index: self.nodes.get((level, index)) or known[level, index]


def compute_root(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root of a tree with these leaf hashes."""
    return RightEdge().append(leaf_hashes).after.root()


def prove_inclusion(index: int, size: int, read_node: ReadNode) -> list[bytes]:
    """Return the inclusion path of leaf ``index`` in the tree of ``size`` leaves, lowest first (RFC 9162 section 2.1.3.1).

    Raises:
        MalformedMessage: there is no such leaf in such a tree.
    """
    if not 0 <= index < size:
        raise MalformedMessage("no such leaf in such a tree", field="index")
    path: list[bytes] = []
    start, count = 0, size
    while count > 1:
        split = _split(count)
        if index - start < split:
            path.append(_range_root(start + split, count - split, read_node))
            count = split
        else:
            path.append(_range_root(start, split, read_node))
            start, count = start + split, count - split
    return path[::-1]


def verify_inclusion(index: int, size: int, leaf_hash: bytes, path: Sequence[bytes], root: bytes) -> bool:
    """Tell whether ``path`` shows that the tree of ``size`` leaves and this root holds the leaf at ``index`` (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    fn, sn, node = index, size - 1, leaf_hash
    for sibling in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            node = hash_node(sibling, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = hash_node(node, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and node == root


def prove_consistency(first: int, second: int, read_node: ReadNode) -> list[bytes]:
    """Return the proof that the tree of ``first`` leaves is a prefix of that of ``second`` (RFC 9162 section 2.1.4.1); empty where either is trivial.

    Raises:
        MalformedMessage: ``first`` is larger than ``second``, or negative.
    """
    if not 0 <= first <= second:
        raise MalformedMessage("the first tree must be the smaller", field="size")
    if first in {0, second}:
        return []
    path: list[bytes] = []
    start, count, whole, rest = 0, second, True, first
    while rest != count:
        split = _split(count)
        if rest <= split:
            path.append(_range_root(start + split, count - split, read_node))
            count = split
        else:
            path.append(_range_root(start, split, read_node))
            start, count, rest, whole = start + split, count - split, rest - split, False
    if not whole:
        path.append(_range_root(start, count, read_node))
    return path[::-1]


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]) -> bool:
    """Tell whether ``path`` shows that the first tree is a prefix of the second (RFC 9162 section 2.1.4.2). The empty tree is a prefix of all."""
    if not 0 <= first <= second:
        return False
    if first == second:
        return not path and first_root == second_root
    if first == 0:
        return not path and first_root == EMPTY_ROOT
    steps = list(path)
    if first & (first - 1) == 0:
        steps.insert(0, first_root)
    if not steps:
        return False
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old = new = steps[0]
    for sibling in steps[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            old, new = hash_node(sibling, old), hash_node(sibling, new)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = hash_node(new, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and old == first_root and new == second_root


def _split(count: int) -> int:
    return 1 << ((count - 1).bit_length() - 1)


def _edge_nodes(size: int) -> list[tuple[int, int]]:
    nodes, start = [], 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            nodes.append((level, start >> level))
            start += 1 << level
    return nodes


def _range_root(start: int, count: int, read_node: ReadNode) -> bytes:
    # ``start`` is a multiple of the largest power of two in ``count``, so the range falls into complete subtrees.
    hashes = []
    for level in range(count.bit_length() - 1, -1, -1):
        if count >> level & 1:
            hashes.append(read_node(level, start >> level))
            start += 1 << level
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = hash_node(left, root)
    return root
