"""Founding an authority: its keys, its pinned successor, the first pepper, and the trust file that every agency pins."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes
from typing import Any

from deploy.authority.certificates import load_ca
from deploy.authority.key_file import SCRYPT_COST, seal_for_pairs, write_durably, write_private
from deploy.authority.officers import create_officer
from deploy.authority.partnership import load_partnership
from deploy.authority.state import STATE_FILE, AuthorityState, save_state
from schemas.canonical import canonical_bytes, encode_base64url
from schemas.errors import ConfigInvalid
from schemas.keys import KeyUse, SigningKeys, compute_thumbprint, public_part
from schemas.trust import digest_pair

KEY_FILE = "authority.key.json"
SUCCESSOR_FILE = "successor.key.json"
TRUST_FILE = "trust.json"
PARTNERSHIP_FILE = "partnership.yaml"
OFFICERS = "officers"
FIRST_PEPPER = "pepper-1"


@dataclass(frozen=True, slots=True)
class NewOfficer:
    """An officer to be: id, the agency they belong to, and their passphrase."""

    id: str
    agency: str
    passphrase: str


def found_authority(
    folder: Path,
    partnership_path: Path,
    officers: tuple[NewOfficer, ...],
    *,
    ca_certificate: Path,
    ca_key: Path,
    cost: int = SCRYPT_COST,
) -> AuthorityState:
    """Make the authority's keys and files in ``folder`` and return its state; no directory is signed yet.

    The state is written last: a crash before leaves no authority, and the command can be run again in an empty folder.

    Raises:
        ConfigInvalid: there is an authority already, fewer than two officers, an unknown agency, or a file is wrong.
    """
    if (folder / STATE_FILE).exists():
        raise ConfigInvalid("an authority is here already", field="folder")
    if len({officer.id for officer in officers}) != len(officers) or len(officers) < 2:
        raise ConfigInvalid("needs at least two different officers", field="officers")
    partnership = load_partnership(partnership_path)
    ca = load_ca(ca_certificate, ca_key)
    if not {officer.agency for officer in officers} <= {agency.id for agency in partnership.agencies}:
        raise ConfigInvalid("an officer's agency is not in the partnership file", field="officers")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_durably(folder / PARTNERSHIP_FILE, partnership_path.read_bytes())
    for officer in officers:
        create_officer(folder / OFFICERS, officer.id, officer.agency, officer.passphrase, cost=cost)
    passphrases = {officer.id: officer.passphrase for officer in officers}
    peppers = {FIRST_PEPPER: encode_base64url(token_bytes(32))}
    write_new_keys(folder / KEY_FILE, passphrases, peppers=peppers, cost=cost)
    # The successor keeps the peppers too: whoever takes over can still welcome agencies under the same pseudonyms.
    successor = write_new_keys(folder / SUCCESSOR_FILE, passphrases, peppers=peppers, cost=cost)
    write_trust_file(folder, partnership.partnership.id, ca.pem)
    state = AuthorityState(
        pepper_id=FIRST_PEPPER,
        successor_thumbprint=digest_pair(successor),
        ca_certificate=str(ca_certificate.resolve()),
        ca_key=str(ca_key.resolve()),
    )
    return save_state(folder, state)


def write_trust_file(
    folder: Path, partnership_id: str, ca_pem: str, earlier: Sequence[Sequence[Mapping[str, Any]]] = ()
) -> None:
    """Write the trust file from the two key files; ``earlier`` are the public pairs of before, oldest first."""
    jwks, successor = read_public(folder / KEY_FILE), read_public(folder / SUCCESSOR_FILE)
    trust: dict[str, Any] = {
        "partnership": partnership_id,
        "authority": list(jwks),
        "thumbprint": sha256(canonical_bytes([compute_thumbprint(jwk) for jwk in jwks])).hexdigest(),
        "successor": digest_pair(successor),
        "ca_pem": ca_pem,
    }
    if earlier:
        trust["earlier"] = [list(pair) for pair in earlier]
    write_durably(folder / TRUST_FILE, json.dumps(trust, indent=1).encode())


def read_public(key_file: Path) -> tuple[dict[str, Any], ...]:
    """Return the public pair of a key file, which needs no passphrase.

    Raises:
        ConfigInvalid: it cannot be read.
    """
    try:
        return tuple(json.loads(key_file.read_text(encoding="utf-8"))["public"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigInvalid("cannot be read", field=key_file.name) from None


def write_new_keys(
    path: Path, passphrases: Mapping[str, str], *, peppers: Mapping[str, str], cost: int = SCRYPT_COST
) -> tuple[dict[str, Any], ...]:
    """Make a pair, write it with the peppers so that any two of these officers open it, and return its public part."""
    _, pair = SigningKeys.generate(KeyUse.AUTHORITY)
    public = tuple(public_part(jwk) for jwk in pair)
    bundle = {"signing": list(pair), "peppers": dict(peppers)}
    sealed = seal_for_pairs(bundle, passphrases, purpose=path.name, cost=cost)
    write_private(path, json.dumps({"public": list(public), "sealed": sealed}, indent=1).encode())
    return public
