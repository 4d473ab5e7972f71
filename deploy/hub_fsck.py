"""Running ``fsck`` on a hub's database: one read-only snapshot, a state file to go on from, witnesses' checkpoints to hold it against."""

from collections.abc import Callable, Sequence
from pathlib import Path

import asyncpg

from broker.config import HubConfig, read_log_key
from broker.log.fsck import Fsck, FsckState, OnProgress, WitnessedCheckpoint
from broker.store import translate_errors
from deploy.local.files import write_secret
from schemas.canonical import decode_base64url
from schemas.errors import ConfigInvalid, SafelaneError
from schemas.log_state import LogState, read_log_state

CONNECT_SECONDS = 10.0
STATEMENT_SECONDS = 600.0


def read_witness_files(paths: Sequence[Path]) -> list[LogState]:
    """Read witnesses' state files.

    Raises:
        ConfigInvalid: one cannot be read.
    """
    found = []
    for path in paths:
        try:
            found.append(read_log_state(path.read_bytes()))
        except OSError:
            raise ConfigInvalid("cannot be read", field=path.name) from None
    return found


def list_witnessed(states: Sequence[LogState]) -> list[WitnessedCheckpoint]:
    """Return the checkpoints of these states, each verified with the key that its witness had.

    Raises:
        ConfigInvalid: one holds what that key did not sign.
    """
    found = []
    for state in states:
        try:
            checkpoints = state.verified()
        except SafelaneError:
            raise ConfigInvalid("holds what the log did not sign", field=state.witness) from None
        found += [WitnessedCheckpoint(state.witness, c.size, c.root) for c, _ in checkpoints]
    return found


async def check_hub(
    config: HubConfig,
    witnesses: Sequence[LogState],
    state_file: Path | None,
    on_progress: OnProgress,
) -> FsckState:
    """Check the hub's log. With ``state_file`` the check can be interrupted and goes on where it was; the file is kept afterwards.

    Raises:
        ConfigInvalid: the state file or a witness's file is not one.
        StoreUnavailable: PostgreSQL does not answer.
    """
    state = _read_state(state_file)
    dsn = config.postgres.read_dsn("owner" if config.postgres.owner_dsn_file else "worker")
    key = decode_base64url(str(read_log_key(config.log.key_file)["x"]))
    with translate_errors():
        connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, command_timeout=STATEMENT_SECONDS)
        try:
            # One snapshot: what is appended meanwhile belongs to the next check.
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                fsck = Fsck(
                    connection,
                    config.log.origin,
                    key,
                    epoch=config.log.epoch,
                    witnessed=list_witnessed(witnesses),
                    state=state,
                )
                return await fsck.run(on_progress, on_batch=_keep(fsck, state_file))
        finally:
            await connection.close(timeout=CONNECT_SECONDS)


def _read_state(state_file: Path | None) -> FsckState | None:
    if state_file is None or not state_file.exists():
        return None
    return FsckState.from_json(state_file.read_text())


def _keep(fsck: Fsck, state_file: Path | None) -> Callable[[], None] | None:
    if state_file is None:
        return None
    return lambda: write_secret(state_file, fsck.state.to_json())
