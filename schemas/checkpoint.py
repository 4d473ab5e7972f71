"""Checkpoints of the message log in the forms of C2SP: signed-note, tlog-checkpoint and tlog-proof (``cosignature`` has what witnesses add).

A checkpoint is three lines (origin, size, base64 root), an empty line, and signature lines. The log's key is named after the log's origin.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from schemas.errors import MalformedMessage, SignatureInvalid, TooLarge
from schemas.keys import (
    ML_DSA_44,
    KeyUse,
    load_ed25519_private_key,
    load_ed25519_public_key,
    load_ml_dsa_44_public_key,
    require_use,
)
from schemas.merkle import HASH_BYTES, hash_leaf, verify_inclusion

MAX_NOTE_BYTES: Final = 1_000_000
"""As Go's ``note`` has it: room for some three hundred witnesses with two cosignatures each (3.4 kB)."""
MAX_PROOF_BYTES: Final = MAX_NOTE_BYTES + 4096
LOG_KEY: Final = 0x01
ED25519_COSIGNER: Final = 0x04
ML_DSA_44_COSIGNER: Final = 0x06
_PROOF_HEADER: Final = "c2sp.org/tlog-proof@v1"
_MAX_PATH: Final = 64
_NAME = re.compile(r"[^\s+]+")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_KEY_TYPES: Final[dict[int, type[Ed25519PublicKey] | type[MLDSA44PublicKey]]] = {
    LOG_KEY: Ed25519PublicKey,
    ED25519_COSIGNER: Ed25519PublicKey,
    ML_DSA_44_COSIGNER: MLDSA44PublicKey,
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: the log's origin, the number of leaves and the root hash (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def to_text(self) -> str:
        """Return the note text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode('ascii')}\n"


@dataclass(frozen=True, slots=True)
class NoteVerifier:
    """A signed-note verifier key (C2SP vkey): a log's (type 0x01, Ed25519) or a witness's (0x04 Ed25519, 0x06 ML-DSA-44)."""

    name: str
    key_id: bytes
    key_type: int
    public_key: Ed25519PublicKey | MLDSA44PublicKey

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read ``name+hexid+base64(type, key)``.

        Raises:
            MalformedMessage: it is not such a key, or its id is not its own.
        """
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
            public_key = _KEY_TYPES[raw[0]].from_public_bytes(raw[1:])
        except (ValueError, binascii.Error, LookupError, UnsupportedAlgorithm):
            raise MalformedMessage("is not a note verifier key", field="vkey") from None
        if not _NAME.fullmatch(name):
            raise MalformedMessage("is not a note verifier key", field="vkey")
        if key_id != compute_key_id(name, raw).hex():
            raise MalformedMessage("has an id that is not its own", field="vkey")
        return cls(name, compute_key_id(name, raw), raw[0], public_key)


LogVerifier = NoteVerifier
"""The verifier of the hub's log key."""


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """A self-contained proof: the entry's index, its path, and the signed checkpoint."""

    index: int
    path: tuple[bytes, ...]
    note: str


def write_verifier(name: str, jwk: Mapping[str, Any], *, use: KeyUse = KeyUse.LOG) -> str:
    """Return the vkey text of a log's key (Ed25519) or a witness's (Ed25519 or ML-DSA-44).

    Raises:
        MalformedMessage: the key or name is not fit for it.
    """
    require_use(jwk, use)
    if not _NAME.fullmatch(name):
        raise MalformedMessage("must hold no space and no plus sign", field="name")
    raw = write_key_material(jwk, use)
    return f"{name}+{compute_key_id(name, raw).hex()}+{base64.b64encode(raw).decode('ascii')}"


def write_key_material(jwk: Mapping[str, Any], use: KeyUse) -> bytes:
    """Return a public key as a vkey has it: one byte of signature type, then the key's bytes.

    Raises:
        MalformedMessage: it is not a key for this.
    """
    if use is KeyUse.WITNESS and jwk.get("alg") == ML_DSA_44:
        return bytes([ML_DSA_44_COSIGNER]) + load_ml_dsa_44_public_key(jwk).public_bytes_raw()
    key_type = ED25519_COSIGNER if use is KeyUse.WITNESS else LOG_KEY
    return bytes([key_type]) + load_ed25519_public_key(jwk).public_bytes_raw()


def sign_checkpoint(checkpoint: Checkpoint, log_jwk: Mapping[str, Any]) -> str:
    """Return the checkpoint as a note signed by the log's private key."""
    require_use(log_jwk, KeyUse.LOG)
    text = checkpoint.to_text()
    key_id = compute_key_id(checkpoint.origin, write_key_material(log_jwk, KeyUse.LOG))
    signature = load_ed25519_private_key(log_jwk).sign(text.encode())
    return f"{text}\n{write_signature_line(checkpoint.origin, key_id + signature)}"


def verify_checkpoint(note: str, log: NoteVerifier) -> Checkpoint:
    """Verify the log's signature on a note and return its checkpoint. Signatures by other keys are passed over.

    Raises:
        SignatureInvalid: there is no valid signature by the log's key, or the origin is another log's.
        MalformedMessage: it is not a checkpoint.
    """
    text, signatures = split_note(note)
    checkpoint = _read_checkpoint(text)
    if checkpoint.origin != log.name or log.key_type != LOG_KEY:
        raise SignatureInvalid
    for name, raw in signatures:
        if name == log.name and raw[:4] == log.key_id:
            try:
                log.public_key.verify(raw[4:], text.encode())
            except InvalidSignature:
                raise SignatureInvalid from None
            return checkpoint
    raise SignatureInvalid


def read_checkpoint(note: str) -> Checkpoint:
    """Return a note's checkpoint without looking at its signatures: for one that was verified before it was kept.

    Raises:
        MalformedMessage: it is not a checkpoint.
    """
    return _read_checkpoint(split_note(note)[0])


def split_note(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """Return a signed note's text, and name and bytes (key id first) of each signature; nothing is verified.

    Raises:
        MalformedMessage: it is not a signed note.
    """
    body, separator, tail = note.rpartition("\n\n")
    if not separator or not tail.endswith("\n") or len(note) > MAX_NOTE_BYTES:
        raise MalformedMessage("is not a signed note", field="checkpoint")
    signatures = []
    for line in tail[:-1].split("\n"):
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if dash != "—" or not _NAME.fullmatch(name):
            raise MalformedMessage("has a line that is not a signature", field="checkpoint")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error):
            raise MalformedMessage("has a signature that is not base64", field="checkpoint") from None
        signatures.append((name, raw))
    return body + "\n", signatures


def compute_key_id(name: str, material: bytes) -> bytes:
    """Return the four bytes by which a signature line names its key (C2SP signed-note)."""
    return sha256(name.encode() + b"\n" + material).digest()[:4]


def write_signature_line(name: str, raw: bytes) -> str:
    """Return a note's signature line; ``raw`` begins with the key id."""
    return f"— {name} {base64.b64encode(raw).decode('ascii')}\n"


def write_proof(index: int, path: Sequence[bytes], note: str) -> str:
    """Return a tlog-proof text."""
    hashes = "".join(f"{base64.b64encode(node).decode('ascii')}\n" for node in path)
    return f"{_PROOF_HEADER}\nindex {index}\n{hashes}\n{note}"


def read_proof(text: str) -> InclusionProof:
    """Read a tlog-proof text. An ``extra`` line is passed over: nothing authenticates it.

    Raises:
        TooLarge: it is over ``MAX_PROOF_BYTES``.
        MalformedMessage: it is not of the form.
    """
    if len(text) > MAX_PROOF_BYTES:
        raise TooLarge(f"more than {MAX_PROOF_BYTES} bytes", field="proof")
    head, _, note = text.partition("\n\n")
    lines = head.split("\n")
    if len(lines) > 1 and lines[1].startswith("extra "):
        del lines[1]
    if len(lines) < 2 or lines[0] != _PROOF_HEADER or not lines[1].startswith("index ") or not note:
        raise MalformedMessage("is not a tlog-proof", field="proof")
    if len(lines) - 2 > _MAX_PATH:
        raise MalformedMessage("has a path that is too long", field="proof")
    path = tuple(_read_hash(line, "proof") for line in lines[2:])
    return InclusionProof(_read_number(lines[1].removeprefix("index "), "proof"), path, note)


def verify_proof(proof: InclusionProof, entry: bytes, log: NoteVerifier) -> Checkpoint | None:
    """Return the checkpoint that covers ``entry`` by this proof, or none where the path does not lead to its root.

    Raises:
        SignatureInvalid: the checkpoint is not signed by the log.
        MalformedMessage: it is not a checkpoint.
    """
    checkpoint = verify_checkpoint(proof.note, log)
    holds = verify_inclusion(proof.index, checkpoint.size, hash_leaf(entry), proof.path, checkpoint.root)
    return checkpoint if holds else None


def _read_checkpoint(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) < 4 or not lines[0]:
        raise MalformedMessage("is not a checkpoint", field="checkpoint")
    return Checkpoint(lines[0], _read_number(lines[1], "checkpoint"), _read_hash(lines[2], "checkpoint"))


def _read_number(text: str, field: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise MalformedMessage("has a number that is not a plain decimal", field=field)
    return int(text)


def _read_hash(text: str, field: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise MalformedMessage("has a hash that is not base64", field=field) from None
    if len(raw) != HASH_BYTES or base64.b64encode(raw).decode("ascii") != text:
        raise MalformedMessage("has a hash of the wrong length", field=field)
    return raw
