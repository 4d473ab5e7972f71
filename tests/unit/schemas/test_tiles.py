"""Tile paths, bundles and trees read from tiles, against the specification's own examples and an independent tree (pymerkle)."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from schemas.errors import IntegrityBroken, MalformedMessage
from schemas.merkle import RightEdge, compute_root, hash_leaf, prove_consistency, prove_inclusion, verify_consistency
from schemas.tiles import (
    TILE_WIDTH,
    Tile,
    TileTree,
    list_tiles,
    measure_tile,
    read_bundle,
    read_tile_path,
    write_bundle,
    write_tile_path,
)


def entries(count: int) -> list[bytes]:
    return [f"entry {number}".encode() for number in range(count)]


def cut_tiles(leaves: list[bytes], wanted: list[Tile]) -> dict[Tile, bytes]:
    """Cut tiles by the plain definition: a tile's hash is the root of 256^level leaves."""
    size = len(leaves)
    tiles = {}
    for level, number in wanted:
        span = TILE_WIDTH**level
        width = measure_tile(size, level, number)
        first = number * TILE_WIDTH
        tiles[level, number] = b"".join(
            compute_root(leaves[index * span : (index + 1) * span]) for index in range(first, first + width)
        )
    return tiles


@pytest.mark.parametrize(
    ("number", "width", "path"),
    [(0, 256, "000"), (1234067, 256, "x001/x234/067"), (273, 1, "273.p/1"), (1000, 255, "x001/000.p/255")],
)
def test_paths_are_those_of_the_specification(number: int, width: int, path: str) -> None:
    assert write_tile_path(1, number, width) == f"tile/1/{path}"
    assert read_tile_path(path) == (number, width)


@pytest.mark.parametrize(
    "path",
    ["", "0", "1234", "x000/001", "000.p/0", "000.p/256", "000.p/01", "../000", "x001", "000/", "٠٠٠", "x001/x1/000"],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(MalformedMessage):
        read_tile_path(path)


@given(st.lists(st.binary(max_size=70), max_size=20), st.integers(1, 5))
def test_a_bundle_is_read_as_written_and_never_in_part(found: list[bytes], cut: int) -> None:
    data = write_bundle(found)
    assert read_bundle(data) == found
    if found and len(data) > cut and cut < 2 + len(found[-1]):
        with pytest.raises(MalformedMessage):
            read_bundle(data[:-cut])


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 513, 1000])
def test_roots_and_proofs_from_tiles_are_those_of_pymerkle(size: int) -> None:
    oracle = InmemoryTree(algorithm="sha256")
    for entry in entries(size):
        oracle.append_entry(entry)
    leaves = [hash_leaf(entry) for entry in entries(size)]
    for first in {1, size // 2 or 1, size - 1 or 1, size}:
        tree = TileTree(size, cut_tiles(leaves, list_tiles(size, (first - 1,))))
        assert tree.root() == oracle.get_root()
        assert tree.root(first) == oracle.get_root(first)
        path = prove_consistency(first, size, tree.read_node)
        assert verify_consistency(first, size, oracle.get_root(first), oracle.get_root(size), path)
        proof = oracle.prove_inclusion(first, size).serialize()  # pymerkle counts leaves from 1
        theirs = [bytes.fromhex(node) for node in proof["path"]]
        assert {*prove_inclusion(first - 1, size, tree.read_node)} == {*theirs} - {leaves[first - 1]}


def test_a_changed_tile_changes_the_root_and_a_narrow_one_is_refused() -> None:
    leaves = [hash_leaf(entry) for entry in entries(300)]
    tiles = cut_tiles(leaves, list_tiles(300, (0, 299)))
    root = compute_root(leaves)
    for tile, hashes in tiles.items():
        for at in (0, len(hashes) - 1):
            wrong = hashes[:at] + bytes([hashes[at] ^ 1]) + hashes[at + 1 :]
            tree = TileTree(300, tiles | {tile: wrong})
            level_0 = RightEdge().append(wrong[i : i + 32] for i in range(0, len(wrong), 32)).after.root()
            assert tree.root() != root or level_0 != tiles.get((1, 0))
        with pytest.raises(MalformedMessage):
            TileTree(300, tiles | {tile: hashes[32:]})
    with pytest.raises(IntegrityBroken):
        TileTree(300, {}).root()
    assert sha256(b"\x00entry 0").digest() == leaves[0]
