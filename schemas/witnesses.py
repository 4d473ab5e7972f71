"""The witness set as the signed directory names it: verifier keys, and whether a quorum of them cosigned a checkpoint.

A witness has an Ed25519 key and, since ML-DSA cosignatures, an ML-DSA-44 key after it in the list. Which must have signed is the directory's to say,
never the note's: a witness counts, once, when every key that the directory lists of it has cosigned (decision 0100).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.checkpoint import ML_DSA_44_COSIGNER, NoteVerifier, write_verifier
from schemas.cosignature import verify_cosignatures
from schemas.directory import Agency, Directory
from schemas.keys import ML_DSA_44, Jwk, KeyUse, compute_thumbprint


@dataclass(frozen=True, slots=True)
class WitnessKeys:
    """The keys of one witness that sign together; its name is its agency's id."""

    name: str
    keys: tuple[NoteVerifier, ...]

    def is_post_quantum(self) -> bool:
        """Tell whether an ML-DSA key is among them."""
        return any(key.key_type == ML_DSA_44_COSIGNER for key in self.keys)

    def find_time(self, note: str) -> int | None:
        """Return the POSIX time by which all of the keys had cosigned ``note``, or none.

        Raises:
            MalformedMessage: it is not a signed checkpoint.
        """
        times = [time for time in verify_cosignatures(note, self.keys) if time is not None]
        return max(times) if times and len(times) == len(self.keys) else None


def read_witnesses(directory: Directory) -> list[WitnessKeys]:
    """Return the keys of the witnesses that the directory names, without agencies and keys that it has revoked."""
    agencies = (directory.find_agency(name) for name in directory.witnesses.agencies)
    return [found for agency in agencies if agency is not None for found in read_agency_witness(agency)]


def read_agency_witness(agency: Agency) -> list[WitnessKeys]:
    """Return an agency's witness keys, in the groups that sign together. A group with a revoked half does not count.

    Raises:
        MalformedMessage: a key is not a witness's.
    """
    if agency.revoked_at is not None:
        return []
    return [
        WitnessKeys(agency.id, tuple(_load(agency.id, jwk) for jwk in group))
        for group in group_witness_keys(agency.keys.witness)
        if not any(compute_thumbprint(jwk) in agency.keys.revoked for jwk in group)
    ]


def group_witness_keys(jwks: Sequence[Jwk]) -> list[tuple[Jwk, ...]]:
    """Return a directory's flat list in groups: an ML-DSA-44 key belongs to the Ed25519 key right before it, any other stands alone."""
    groups: list[tuple[Jwk, ...]] = []
    for jwk in jwks:
        joins = bool(groups) and _is_ml_dsa(jwk) and len(groups[-1]) == 1 and not _is_ml_dsa(groups[-1][0])
        groups[-1:] = [(*groups[-1], jwk)] if joins else [*groups[-1:], (jwk,)]
    return groups


def find_cosigners(note: str, witnesses: Iterable[WitnessKeys]) -> dict[str, int]:
    """Return name and POSIX time of each witness that cosigned ``note`` with all of its keys.

    Raises:
        MalformedMessage: it is not a signed checkpoint.
    """
    found: dict[str, int] = {}
    for witness in witnesses:
        time = witness.find_time(note)
        if time is not None:
            found[witness.name] = min(time, found.get(witness.name, time))
    return found


def has_quorum(note: str, directory: Directory) -> bool:
    """Tell whether at least ``quorum`` of the directory's witnesses cosigned ``note``; never where the directory asks for none.

    Raises:
        MalformedMessage: it is not a signed checkpoint.
    """
    return 0 < directory.witnesses.quorum <= len(find_cosigners(note, read_witnesses(directory)))


def _is_ml_dsa(jwk: Mapping[str, Any]) -> bool:
    return jwk.get("alg") == ML_DSA_44


def _load(name: str, jwk: Jwk) -> NoteVerifier:
    return NoteVerifier.from_text(write_verifier(name, jwk, use=KeyUse.WITNESS))
