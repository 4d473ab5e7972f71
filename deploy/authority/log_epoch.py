"""The authority's act after the hub lost part of its log: two officers sign the directory that opens the next epoch."""

from collections.abc import Sequence
from pathlib import Path

from deploy.authority.state import AuthorityState
from schemas.errors import ConfigInvalid
from schemas.log_epochs import begin_epoch
from schemas.log_state import LogState, read_log_state


def open_next_epoch(
    state: AuthorityState, kept: Path | None, witnesses: Sequence[Path], *, log_origin: str, verifier_file: Path
) -> AuthorityState:
    """Return the state in which the hub's log is in its next epoch; sign it to make it so.

    ``kept``: the hub's newest head after the loss, none if nothing is left; ``witnesses``: ``log-state.json`` of witnesses, the more the better.

    Raises:
        ConfigInvalid: a file cannot be read.
        SignatureInvalid, IntegrityBroken, MalformedMessage: see ``begin_epoch``.
    """
    states = [read_log_state(_read(path)) for path in witnesses]
    note = _read(kept).decode() if kept else None
    verifier = _read(verifier_file).decode().strip()
    hub = begin_epoch(state.hub, note, states, log_origin=log_origin, log_verifier=verifier)
    return state.model_copy(update={"hub": hub})


def describe_states(witnesses: Sequence[Path]) -> list[tuple[str, int]]:
    """Return whose states these are, with the highest head of each, for the officers to read."""
    states: list[LogState] = [read_log_state(_read(path)) for path in witnesses]
    return [(state.witness, state.verified()[-1][0].size if state.notes else 0) for state in states]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise ConfigInvalid("cannot be read", field=path.name) from None
