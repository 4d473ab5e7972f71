"""Keys at rest: a passphrase opens its own, any two officers open the authority's, and an altered file opens for nobody."""

import copy
import stat
from pathlib import Path

import pytest

from deploy.authority.key_file import (
    WrongPassphrase,
    open_with_pair,
    open_with_passphrase,
    seal_for_pairs,
    seal_with_passphrase,
    write_private,
)
from schemas.errors import ConfigInvalid

CHEAP = 2**4
WORDS = {"ann": "a passphrase of ann", "ben": "a passphrase of ben", "cai": "a passphrase of cai"}


def test_a_passphrase_opens_its_own() -> None:
    sealed = seal_with_passphrase(b"secret", WORDS["ann"], label="x", cost=CHEAP)
    assert open_with_passphrase(sealed, WORDS["ann"], label="x") == b"secret"
    for passphrase, label in ((WORDS["ben"], "x"), (WORDS["ann"], "y")):
        with pytest.raises(WrongPassphrase):
            open_with_passphrase(sealed, passphrase, label=label)


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(ConfigInvalid):
        seal_with_passphrase(b"secret", "short", label="x", cost=CHEAP)


@pytest.mark.parametrize("pair", [("ann", "ben"), ("ben", "cai"), ("cai", "ann")])
def test_any_two_open_the_bundle(pair: tuple[str, str]) -> None:
    sealed = seal_for_pairs({"k": "v"}, WORDS, purpose="p", cost=CHEAP)
    assert open_with_pair(sealed, {name: WORDS[name] for name in pair}) == {"k": "v"}


def test_one_half_says_nothing() -> None:
    sealed = seal_for_pairs({"k": "v"}, {n: WORDS[n] for n in ("ann", "ben")}, purpose="p", cost=CHEAP)
    swapped = copy.deepcopy(sealed)
    halves = swapped["pairs"][0]["halves"]
    halves["ben"] = halves["ann"]
    with pytest.raises(WrongPassphrase):
        open_with_pair(swapped, {"ann": WORDS["ann"], "ben": WORDS["ann"]})
    with pytest.raises(ConfigInvalid):
        open_with_pair(sealed, {"ann": WORDS["ann"]})


@pytest.mark.parametrize("member", ["ciphertext", "nonce", "purpose"])
def test_an_altered_bundle_opens_for_nobody(member: str) -> None:
    sealed = seal_for_pairs({"k": "v"}, {n: WORDS[n] for n in ("ann", "ben")}, purpose="p", cost=CHEAP)
    other = seal_for_pairs({"k": "w"}, {n: WORDS[n] for n in ("ann", "ben")}, purpose="q", cost=CHEAP)
    with pytest.raises(WrongPassphrase):
        open_with_pair(sealed | {member: other[member]}, {n: WORDS[n] for n in ("ann", "ben")})


def test_private_files_are_private_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "key.json"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["key.json"]
