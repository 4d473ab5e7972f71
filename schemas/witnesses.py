"""The witness set as the signed directory names it: verifier keys, and whether a quorum of them cosigned a checkpoint."""

from collections.abc import Iterable

from schemas.checkpoint import NoteVerifier, verify_cosignatures, write_verifier
from schemas.directory import Directory
from schemas.keys import KeyUse, compute_thumbprint


def read_witness_keys(directory: Directory) -> list[NoteVerifier]:
    """Return the verifier keys of the witnesses that the directory names; a witness's key name is its agency's id."""
    found = []
    for name in directory.witnesses.agencies:
        agency = directory.find_agency(name)
        if agency is None or agency.revoked_at is not None:
            continue
        for jwk in agency.keys.witness:
            if compute_thumbprint(jwk) not in agency.keys.revoked:
                found.append(NoteVerifier.from_text(write_verifier(name, jwk, use=KeyUse.WITNESS)))
    return found


def has_quorum(note: str, directory: Directory, keys: Iterable[NoteVerifier] | None = None) -> bool:
    """Tell whether at least ``quorum`` of the directory's witnesses cosigned ``note``; never where the directory asks for none.

    Raises:
        MalformedMessage: it is not a signed note.
    """
    found = verify_cosignatures(note, read_witness_keys(directory) if keys is None else keys)
    return 0 < directory.witnesses.quorum <= len(found)
