"""The successor takes over: its key becomes the authority's, and a new successor is made and pinned.

Gateways that pinned the successor's digest accept its directories at once. The hub's operator puts the new trust file in place, then the next
version is signed and published. The trust file names the pair of before too: by it ``fsck`` verifies the directories of its time.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from deploy.authority.certificates import load_ca
from deploy.authority.founding import (
    KEY_FILE,
    PARTNERSHIP_FILE,
    SUCCESSOR_FILE,
    TRUST_FILE,
    read_public,
    write_new_keys,
    write_trust_file,
)
from deploy.authority.key_file import SCRYPT_COST, open_with_pair, write_private
from deploy.authority.partnership import load_partnership
from deploy.authority.signing import read_trust
from deploy.authority.state import AuthorityState, load_state, save_state
from schemas.errors import ConfigInvalid
from schemas.trust import digest_pair

RETIRED = "retired"


def hand_over(folder: Path, passphrases: Mapping[str, str], *, cost: int = SCRYPT_COST) -> AuthorityState:
    """Put the successor in the authority's place. ``passphrases``: all officers who shall hold the new successor; two of them open the old one.

    Neither the authority's key nor its passphrases are needed: it may be lost or in wrong hands. Safe to run again after a crash.

    Raises:
        ConfigInvalid: fewer than two officers, no two of them hold the successor's key, or the successor's key file is not back in the folder.
        WrongPassphrase: a passphrase is wrong.
    """
    state = load_state(folder)
    if len(passphrases) < 2:
        raise ConfigInvalid("needs at least two officers", field="officers")
    pinned = read_trust(folder / TRUST_FILE)
    if digest_pair(read_public(folder / KEY_FILE)) != pinned.successor:
        _swap(folder, passphrases, pinned.successor, cost)
    elif digest_pair(read_public(folder / SUCCESSOR_FILE)) == pinned.successor:
        _make_successor(folder, passphrases, cost)  # an earlier run stopped between the two
    partnership = load_partnership(folder / PARTNERSHIP_FILE)
    ca = load_ca(Path(state.ca_certificate), Path(state.ca_key))
    successor = digest_pair(read_public(folder / SUCCESSOR_FILE))
    changed = save_state(folder, state, successor_thumbprint=successor)
    write_trust_file(folder, partnership.partnership.id, ca.pem, (*pinned.earlier, pinned.authority))
    return changed


def _swap(folder: Path, passphrases: Mapping[str, str], pinned: str, cost: int) -> None:
    if digest_pair(read_public(folder / SUCCESSOR_FILE)) != pinned:
        raise ConfigInvalid("is not the key that was pinned: bring it back from the safe", field=SUCCESSOR_FILE)
    _open_successor(folder, passphrases)
    old = (folder / KEY_FILE).read_bytes()
    write_private(folder / RETIRED / f"{digest_pair(read_public(folder / KEY_FILE))}.key.json", old)
    write_private(folder / KEY_FILE, (folder / SUCCESSOR_FILE).read_bytes())
    _make_successor(folder, passphrases, cost)


def _make_successor(folder: Path, passphrases: Mapping[str, str], cost: int) -> None:
    peppers = _open_successor(folder, passphrases)
    write_new_keys(folder / SUCCESSOR_FILE, passphrases, peppers=peppers, cost=cost)


def _open_successor(folder: Path, passphrases: Mapping[str, str]) -> dict[str, str]:
    """Return the peppers in the successor's key file, opened by the first two of these officers who hold it."""
    sealed = json.loads((folder / SUCCESSOR_FILE).read_text(encoding="utf-8"))["sealed"]
    for entry in sealed["pairs"]:
        if set(entry["officers"]) <= set(passphrases):
            opened = open_with_pair(sealed, {name: passphrases[name] for name in entry["officers"]})
            return dict(opened["peppers"])
    raise ConfigInvalid("no two of these officers hold the successor's key", field="officers")
