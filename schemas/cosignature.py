"""Cosignatures of witnesses on checkpoints (C2SP tlog-cosignature): type 0x04 with Ed25519, type 0x06 with ML-DSA-44.

Each is a signature line of the note: key id, eight bytes of POSIX seconds, signature. The Ed25519 one signs the note's text. The ML-DSA one signs the
structure ``cosigned_message``, which commits to the witness's name and leaves out extension lines: no checkpoint of ours has any, and one that has
is not cosigned.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature

from schemas.checkpoint import (
    ED25519_COSIGNER,
    ML_DSA_44_COSIGNER,
    Checkpoint,
    NoteVerifier,
    compute_key_id,
    read_checkpoint,
    split_note,
    write_key_material,
    write_signature_line,
)
from schemas.errors import MalformedMessage
from schemas.keys import ML_DSA_44, KeyUse, load_ed25519_private_key, load_ml_dsa_44_private_key, require_use

MAX_TIMESTAMP: Final = 2**63 - 1
_SUBTREE_LABEL: Final = b"subtree/v1\n\0"
_MAX_NAME_BYTES: Final = 255
_SIGNATURE_BYTES: Final = {ED25519_COSIGNER: 64, ML_DSA_44_COSIGNER: 2420}


def cosign_checkpoint(note: str, name: str, witness_jwk: Mapping[str, Any], *, timestamp: int) -> str:
    """Return a witness's signature line for a note that it has verified; append it to the note. ``timestamp`` is POSIX seconds.

    Raises:
        MalformedMessage: the key is not a witness's, or the checkpoint or name cannot be cosigned.
    """
    require_use(witness_jwk, KeyUse.WITNESS)
    material = write_key_material(witness_jwk, KeyUse.WITNESS)
    message = _write_message(note, name, material[0], timestamp)
    if witness_jwk.get("alg") == ML_DSA_44:
        signature = load_ml_dsa_44_private_key(witness_jwk).sign(message)
    else:
        signature = load_ed25519_private_key(witness_jwk).sign(message)
    return write_signature_line(name, compute_key_id(name, material) + timestamp.to_bytes(8) + signature)


def verify_cosignatures(note: str, keys: Iterable[NoteVerifier]) -> list[int | None]:
    """Return for each of ``keys``, in order, the POSIX time of its first valid cosignature on the note, or none. Others are passed over.

    A time of 0 does not count: C2SP lets a cosigner so leave open whether it had seen a larger tree, which is what a witness is asked.

    Raises:
        MalformedMessage: it is not a signed checkpoint.
    """
    _, signatures = split_note(note)
    found = []
    for key in keys:
        lines = [raw[4:] for name, raw in signatures if (name, raw[:4]) == (key.name, key.key_id)]
        times = (_verify_line(note, key, raw) for raw in lines)
        found.append(next((time for time in times if time is not None), None))
    return found


def write_cosigned_message(name: str, timestamp: int, checkpoint: Checkpoint, *, start: int = 0) -> bytes:
    """Return C2SP's ``cosigned_message``; integers are big-endian. For a subtree, ``checkpoint`` has its end and hash, and ``start`` where it begins.

    Raises:
        MalformedMessage: a name is empty or over 255 bytes, or the time is out of its range.
    """
    if not 0 <= timestamp <= MAX_TIMESTAMP:
        raise MalformedMessage("is out of its range", field="timestamp")
    span = start.to_bytes(8) + checkpoint.size.to_bytes(8)
    return b"".join(
        (_SUBTREE_LABEL, _prefix(name), timestamp.to_bytes(8), _prefix(checkpoint.origin), span, checkpoint.root)
    )


def _verify_line(note: str, key: NoteVerifier, raw: bytes) -> int | None:
    if len(raw) != 8 + _SIGNATURE_BYTES.get(key.key_type, -9):
        return None
    timestamp = int.from_bytes(raw[:8])
    try:
        key.public_key.verify(raw[8:], _write_message(note, key.name, key.key_type, timestamp))
    except (InvalidSignature, MalformedMessage):
        return None
    return timestamp or None


def _write_message(note: str, name: str, key_type: int, timestamp: int) -> bytes:
    text, _ = split_note(note)
    if key_type == ED25519_COSIGNER:
        return f"cosignature/v1\ntime {timestamp}\n{text}".encode()
    checkpoint = read_checkpoint(note)
    if checkpoint.to_text() != text:
        raise MalformedMessage("has lines that an ML-DSA cosignature does not cover", field="checkpoint")
    return write_cosigned_message(name, timestamp, checkpoint)


def _prefix(name: str) -> bytes:
    raw = name.encode()
    if not 0 < len(raw) <= _MAX_NAME_BYTES:
        raise MalformedMessage("must have 1 to 255 bytes", field="name")
    return bytes([len(raw)]) + raw
