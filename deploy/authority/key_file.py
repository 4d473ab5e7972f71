"""Private keys at rest: an officer's own, under one passphrase, and the authority's, which any two officers open together.

The authority's bundle is encrypted with a random master key. For every pair of officers the master key is split in two halves (one-time pad), each
half encrypted under one officer's passphrase (scrypt, RFC 7914; AES-256-GCM). One officer alone has nothing; losing one of three loses nothing.
"""

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from schemas.canonical import canonical_bytes
from schemas.errors import ConfigInvalid, NotAuthenticated

FORMAT = "safelane-key-file-1"
SCRYPT_COST = 2**16
"""scrypt N (r = 8, p = 1): 64 MiB, about a third of a second, for each try at a passphrase."""
MIN_PASSPHRASE = 12
_KEY_BYTES = 32


class WrongPassphrase(NotAuthenticated):
    """The passphrase does not open the key file (or the file was altered: the two look the same)."""

    code = "wrong-passphrase"
    public_message = "The passphrase does not open this key."


def seal_with_passphrase(secret: bytes, passphrase: str, *, label: str, cost: int = SCRYPT_COST) -> dict[str, Any]:
    """Encrypt ``secret`` under a passphrase; ``label`` binds it to its place (an officer, a pair).

    Raises:
        ConfigInvalid: the passphrase is too short.
    """
    if len(passphrase) < MIN_PASSPHRASE:
        raise ConfigInvalid(f"must have at least {MIN_PASSPHRASE} characters", field="passphrase")
    salt, nonce = os.urandom(16), os.urandom(12)
    key = _derive_key(passphrase, salt, cost)
    return {
        "kdf": "scrypt",
        "n": cost,
        "salt": _encode(salt),
        "nonce": _encode(nonce),
        "ciphertext": _encode(AESGCM(key).encrypt(nonce, secret, label.encode())),
    }


def open_with_passphrase(sealed: Mapping[str, Any], passphrase: str, *, label: str) -> bytes:
    """Decrypt what ``seal_with_passphrase`` made for the same ``label``.

    Raises:
        WrongPassphrase: it does not open.
    """
    try:
        key = _derive_key(passphrase, _decode(sealed["salt"]), int(sealed["n"]))
        return AESGCM(key).decrypt(_decode(sealed["nonce"]), _decode(sealed["ciphertext"]), label.encode())
    except (InvalidTag, KeyError, ValueError, TypeError):
        raise WrongPassphrase from None


def seal_for_pairs(
    bundle: Mapping[str, Any], passphrases: Mapping[str, str], *, purpose: str, cost: int = SCRYPT_COST
) -> dict[str, Any]:
    """Encrypt ``bundle`` so that any two of the officers in ``passphrases`` open it together.

    Raises:
        ConfigInvalid: fewer than two officers, or a passphrase is too short.
    """
    if len(passphrases) < 2:
        raise ConfigInvalid("needs at least two officers", field="officers")
    master, nonce = os.urandom(_KEY_BYTES), os.urandom(12)
    return {
        "format": FORMAT,
        "purpose": purpose,
        "nonce": _encode(nonce),
        "ciphertext": _encode(AESGCM(master).encrypt(nonce, canonical_bytes(dict(bundle)), purpose.encode())),
        "pairs": [
            _split_master(master, pair, passphrases, purpose, cost) for pair in combinations(sorted(passphrases), 2)
        ],
    }


def open_with_pair(sealed: Mapping[str, Any], passphrases: Mapping[str, str]) -> dict[str, Any]:
    """Open a bundle with the passphrases of two of its officers.

    Raises:
        ConfigInvalid: not exactly two officers, or they are no pair of this file.
        WrongPassphrase: a passphrase is wrong or the file was altered.
    """
    if len(passphrases) != 2:
        raise ConfigInvalid("needs exactly two officers", field="officers")
    officers = sorted(passphrases)
    purpose = str(sealed.get("purpose", ""))
    entry = next((p for p in sealed.get("pairs", ()) if sorted(p["officers"]) == officers), None)
    if entry is None:
        raise ConfigInvalid("these two officers do not hold this key", field="officers")
    halves = [
        open_with_passphrase(entry["halves"][name], passphrases[name], label=_label(purpose, officers, name))
        for name in officers
    ]
    master = bytes(a ^ b for a, b in zip(*halves, strict=True))
    try:
        plain = AESGCM(master).decrypt(_decode(sealed["nonce"]), _decode(sealed["ciphertext"]), purpose.encode())
    except (InvalidTag, KeyError, ValueError):
        raise WrongPassphrase from None
    opened: dict[str, Any] = json.loads(plain)
    return opened


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    write_durably(path, content, mode=0o600)


def write_durably(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write beside, flush to disk, then rename: a crash leaves the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _split_master(
    master: bytes, pair: Sequence[str], passphrases: Mapping[str, str], purpose: str, cost: int
) -> dict[str, Any]:
    pad = os.urandom(len(master))
    halves = (pad, bytes(a ^ b for a, b in zip(master, pad, strict=True)))
    sealed = {
        name: seal_with_passphrase(half, passphrases[name], label=_label(purpose, pair, name), cost=cost)
        for name, half in zip(pair, halves, strict=True)
    }
    return {"officers": list(pair), "halves": sealed}


def _label(purpose: str, pair: Sequence[str], officer: str) -> str:
    return f"{FORMAT}|{purpose}|{'+'.join(sorted(pair))}|{officer}"


def _derive_key(passphrase: str, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt=salt, length=_KEY_BYTES, n=cost, r=8, p=1).derive(passphrase.encode())


def _encode(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _decode(text: str) -> bytes:
    return b64decode(text, validate=True)
