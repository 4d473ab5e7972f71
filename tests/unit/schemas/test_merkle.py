import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import MalformedMessage
from schemas.merkle import (
    EMPTY_ROOT,
    RightEdge,
    compute_root,
    hash_leaf,
    hash_node,
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)

# The eight leaves and the roots of their prefixes that Certificate Transparency implementations share.
LEAVES = [bytes.fromhex(x) for x in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def leaf_hashes(count: int) -> list[bytes]:
    return [hash_leaf(number.to_bytes(4)) for number in range(count)]


def slow_root(leaves: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, word for word."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hash_node(slow_root(leaves[:split]), slow_root(leaves[split:]))


def stored(count: int) -> dict[tuple[int, int], bytes]:
    return dict(RightEdge().append(leaf_hashes(count)).nodes)


@pytest.mark.parametrize("count", sorted(ROOTS))
def test_known_roots(count: int) -> None:
    assert compute_root(hash_leaf(leaf) for leaf in LEAVES[:count]).hex() == ROOTS[count]


def test_the_empty_tree() -> None:
    assert RightEdge().root() == EMPTY_ROOT
    assert EMPTY_ROOT.hex().startswith("e3b0c44298fc1c14")


@given(st.lists(st.integers(0, 20), max_size=8))
def test_appending_in_batches_is_appending_at_once(sizes: list[int]) -> None:
    leaves = leaf_hashes(sum(sizes))
    edge, nodes, start = RightEdge(), {}, 0
    for size in sizes:
        appended = edge.append(leaves[start : start + size])
        for index in range(start, start + size):
            path = appended.prove_inclusion(index)
            assert verify_inclusion(index, start + size, leaves[index], path, appended.after.root())
        edge, start = appended.after, start + size
        nodes.update(appended.nodes)
    assert edge.root() == slow_root(leaves)
    assert nodes == stored(len(leaves))
    assert RightEdge.from_nodes(len(leaves), lambda level, index: nodes[level, index]) == edge


def test_an_append_costs_the_batch_alone() -> None:
    big = RightEdge(2**40, (bytes(32),))
    appended = big.append(leaf_hashes(64))
    assert len(appended.nodes) == 127
    assert len(appended.prove_inclusion(2**40 + 5)) == 7


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_inclusion_holds_and_nothing_else_does(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70))
    index = data.draw(st.integers(0, size - 1))
    leaves, nodes = leaf_hashes(size), stored(size)
    root = slow_root(leaves)
    path = prove_inclusion(index, size, lambda level, i: nodes[level, i])
    assert verify_inclusion(index, size, leaves[index], path, root)
    assert not verify_inclusion(index, size, hash_leaf(b"other"), path, root)
    assert not verify_inclusion(index, size, leaves[index], path, bytes(32))
    assert not verify_inclusion(index, size, leaves[index], [*path, bytes(32)], root)
    assert not verify_inclusion(size, size, leaves[index], path, root)
    assert not verify_inclusion(-1, size, leaves[index], path, root)
    if path:
        place = data.draw(st.integers(0, len(path) - 1))
        assert not verify_inclusion(index, size, leaves[index], path[:place] + path[place + 1 :], root)
        assert not verify_inclusion(index, size, leaves[index], [*path[:place], bytes(32), *path[place + 1 :]], root)
        other = data.draw(st.integers(0, size - 1).filter(lambda i: i != index))
        assert not verify_inclusion(other, size, leaves[index], path, root)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_consistency_holds_and_nothing_else_does(data: st.DataObject) -> None:
    second = data.draw(st.integers(0, 70))
    first = data.draw(st.integers(0, second))
    leaves, nodes = leaf_hashes(second), stored(second)
    old, new = slow_root(leaves[:first]), slow_root(leaves)
    path = prove_consistency(first, second, lambda level, i: nodes[level, i])
    assert verify_consistency(first, second, old, new, path)
    assert not verify_consistency(first, second, bytes(32), new, path)
    assert not verify_consistency(first, second, old, new, [*path, bytes(32)])
    assert not verify_consistency(second + 1, second, old, new, path)
    if first > 0:
        assert not verify_consistency(first, second, old, bytes(32), path)
    if path:
        place = data.draw(st.integers(0, len(path) - 1))
        assert not verify_consistency(first, second, old, new, path[:place] + path[place + 1 :])
        assert not verify_consistency(first, second, old, new, [*path[:place], bytes(32), *path[place + 1 :]])


def test_a_rewritten_history_has_no_consistency_proof() -> None:
    forged = [hash_leaf(b"forged"), *leaf_hashes(20)[1:]]
    nodes = RightEdge().append(forged).nodes
    path = prove_consistency(7, 20, lambda level, index: nodes[level, index])
    assert not verify_consistency(7, 20, slow_root(leaf_hashes(7)), slow_root(forged), path)


def test_questions_without_an_answer_are_refused() -> None:
    nodes = stored(4)
    for index in (-1, 4):
        with pytest.raises(MalformedMessage):
            prove_inclusion(index, 4, lambda level, i: nodes[level, i])
    with pytest.raises(MalformedMessage):
        prove_consistency(5, 4, lambda level, i: nodes[level, i])
    with pytest.raises(MalformedMessage):
        RightEdge(3, (bytes(32),))
    with pytest.raises(MalformedMessage):
        RightEdge().append(leaf_hashes(2)).prove_inclusion(2)


@pytest.mark.parametrize(
    ("before", "batch"), [(0, 1), (0, 7), (1, 1), (3, 5), (5, 64), (64, 64), (100, 156), (256, 300)]
)
def test_all_paths_of_a_batch_are_those_made_one_by_one(before: int, batch: int) -> None:
    appended = RightEdge().append(leaf_hashes(before)).after.append(leaf_hashes(batch))
    paths = appended.prove_all()
    assert [list(path) for path in paths] == [appended.prove_inclusion(before + n) for n in range(batch)]
