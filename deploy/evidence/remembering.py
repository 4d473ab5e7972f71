"""The heads that whoever verifies a log keeps from one time to the next: a ``log-state.json`` like a witness's, so that it can be compared with theirs."""

from pathlib import Path
from typing import Final

from deploy.authority.key_file import write_durably
from schemas.checkpoint import read_checkpoint
from schemas.errors import ConfigInvalid
from schemas.log_state import LogState, read_log_state

NAME: Final = "this file"
_KEPT: Final = 50


def read_remembered(path: Path) -> LogState | None:
    """Return what was kept before, or none the first time.

    Raises:
        ConfigInvalid: it cannot be read.
        MalformedMessage: it is not such a file.
    """
    try:
        return read_log_state(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError:
        raise ConfigInvalid("cannot be read", field=path.name) from None


def write_remembered(path: Path, before: LogState | None, note: str, verifier: str) -> None:
    """Keep ``note`` too: the first head of its epoch for "since when", and the last ones. Heads of an earlier epoch have done their work.

    Raises:
        ConfigInvalid: it cannot be written.
    """
    head = read_checkpoint(note)
    notes = {read_checkpoint(text).size: text for text in (before.notes if before else ()) if _is_of(text, head.origin)}
    notes.setdefault(head.size, note)
    ordered = [notes[size] for size in sorted(notes)]
    kept = ordered if len(ordered) <= _KEPT else [ordered[0], *ordered[1 - _KEPT :]]
    try:
        write_durably(path, LogState(NAME, verifier, tuple(kept)).to_bytes(), mode=0o644)
    except OSError:
        raise ConfigInvalid("cannot be written", field=path.name) from None


def _is_of(note: str, origin: str) -> bool:
    return read_checkpoint(note).origin == origin
