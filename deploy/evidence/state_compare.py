"""Comparing what witnesses saw of a log: a fork that each alone cannot see."""

from pathlib import Path

from deploy.evidence.verdict import Verdict
from schemas.errors import ConfigInvalid
from schemas.log_state import LogState, find_fork, read_log_state


def read_states(paths: list[Path]) -> list[LogState]:
    """Read state files, or gateways' data folders that hold one.

    Raises:
        ConfigInvalid: one cannot be read.
        MalformedMessage: one is not a witness's state.
    """
    states = []
    for path in paths:
        file = path / "log-state.json" if path.is_dir() else path
        try:
            states.append(read_log_state(file.read_bytes()))
        except OSError:
            raise ConfigInvalid("cannot be read", field=path.name) from None
    return states


def compare_states(paths: list[Path]) -> Verdict:
    """Compare what witnesses saw: state files, or gateway data folders that hold one.

    Raises:
        ConfigInvalid: one cannot be read.
    """
    verdict, states = Verdict(), read_states(paths)
    if len({state.verifier for state in states}) > 1:
        verdict.open.append("that it is one log: the witnesses had different keys for it from their directories")
    for state in states:
        verdict.attempt(state.witness, lambda state=state: _describe(state))  # type: ignore[misc]
    if verdict.broken:
        return verdict
    fork = find_fork(states)
    if fork is not None:
        verdict.broken.append(
            f"the log told two stories at {fork.size} entries: both are signed by its key. Use the telephone."
        )
        return verdict
    shared = set.intersection(*({c.size for c, _ in state.verified()} for state in states))
    if shared:
        verdict.proved.append(f"they saw the same log at {len(shared)} sizes, up to {max(shared)} entries")
    else:
        verdict.open.append("that they saw the same log: no size was seen by all of them")
    return verdict


def _describe(state: LogState) -> str:
    found = state.verified()
    return f"{state.witness}: {len(found)} checkpoints, all signed by the log, up to {found[-1][0].size if found else 0} entries"
