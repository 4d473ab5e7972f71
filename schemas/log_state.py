"""What one witness has seen of the log, as a small file: signed checkpoints, newest last. Two such files compared find a fork that each alone cannot.

Clear on purpose: a checkpoint says nothing of anybody.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from schemas.canonical import canonical_bytes, parse_object
from schemas.checkpoint import Checkpoint, NoteVerifier, verify_checkpoint
from schemas.errors import MalformedMessage

FORMAT: Final = "safelane-log-state-1"
MAX_STATE_BYTES: Final = 8_000_000


@dataclass(frozen=True, slots=True)
class LogState:
    """Who kept it, the log's verifier key as they had it from the signed directory, and the checkpoints as signed."""

    witness: str
    verifier: str
    notes: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """Return the file's bytes."""
        members = {
            "format": FORMAT,
            "witness": self.witness,
            "verifier": self.verifier,
            "checkpoints": list(self.notes),
        }
        return canonical_bytes(members) + b"\n"

    def verified(self) -> list[tuple[Checkpoint, str]]:
        """Return the checkpoints with their notes, by size; each is signed by the log's key.

        Raises:
            SignatureInvalid, MalformedMessage: one is not.
        """
        key = NoteVerifier.from_text(self.verifier)
        found = [(verify_checkpoint(note, key), note) for note in self.notes]
        return sorted(found, key=lambda pair: pair[0].size)


def read_log_state(data: bytes) -> LogState:
    """Read a state file.

    Raises:
        MalformedMessage, TooLarge: it is not one.
    """
    members = parse_object(data, max_bytes=MAX_STATE_BYTES, field="state")
    notes = members.get("checkpoints")
    fits = isinstance(notes, list) and all(isinstance(note, str) for note in notes)
    if members.get("format") != FORMAT or not fits or not isinstance(members.get("verifier"), str):
        raise MalformedMessage("is not the state of a witness", field="state")
    return LogState(str(members.get("witness", "")), members["verifier"], tuple(members["checkpoints"]))


@dataclass(frozen=True, slots=True)
class Fork:
    """Two checkpoints of one log and one size, both signed by its key, with different roots: proof that it told two stories."""

    size: int
    first: str
    second: str


def find_fork(states: Iterable[LogState]) -> Fork | None:
    """Return the first fork that these states prove together, or none. Equal sizes are compared: nothing else is proof without the log's tiles.

    Raises:
        SignatureInvalid, MalformedMessage: a state holds what the log did not sign.
    """
    seen: dict[tuple[str, int], tuple[bytes, str]] = {}
    for state in states:
        for checkpoint, note in state.verified():
            known = seen.setdefault((checkpoint.origin, checkpoint.size), (checkpoint.root, note))
            if known[0] != checkpoint.root:
                return Fork(checkpoint.size, known[1], note)
    return None
