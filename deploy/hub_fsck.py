"""Running ``fsck`` on a hub's database: one read-only snapshot, a state file to go on from, witnesses' checkpoints to hold it against."""

from collections.abc import Callable, Sequence
from pathlib import Path

import asyncpg

from broker.api.wiring import read_timestamp_roots, read_trust_file
from broker.config import HubConfig, read_log_key
from broker.log.fsck import Fsck, FsckState, OnProgress, WitnessedCheckpoint
from broker.registry.versions import read_latest_directory
from broker.store import translate_errors
from deploy.local.files import write_secret
from schemas.canonical import decode_base64url
from schemas.directory import HubKeys
from schemas.errors import ConfigInvalid, IntegrityBroken, SafelaneError
from schemas.log_epochs import find_epoch, measure_kept
from schemas.log_state import LogState, read_log_state
from schemas.signed_directory import verify_directory

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


def list_witnessed(states: Sequence[LogState], hub: HubKeys) -> list[WitnessedCheckpoint]:
    """Return the checkpoints of these states, each verified with the key that its witness had.

    Heads of an earlier epoch beyond what was kept of it are left out: the authority signed that they are lost.

    Raises:
        ConfigInvalid: one holds what that key did not sign.
    """
    found = []
    for state in states:
        try:
            checkpoints = state.verified()
        except SafelaneError:
            raise ConfigInvalid("holds what the log did not sign", field=state.witness) from None
        origins = {earlier.log_origin for earlier in hub.earlier}
        found += [
            WitnessedCheckpoint(state.witness, c.size, c.root)
            for c, _ in checkpoints
            if c.origin not in origins or c.size <= measure_kept(hub, find_epoch(hub, c.origin))
        ]
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
                hub = await read_hub_keys(connection, config)
                fsck = Fsck(
                    connection,
                    config.log.origin,
                    key,
                    epoch=config.log.epoch,
                    hub=hub,
                    witnessed=list_witnessed(witnesses, hub),
                    timestamp_roots=read_timestamp_roots(config.timestamps) if config.timestamps else (),
                    authorities=read_trust_file(config.trust_file).every_authority(),
                    state=state,
                )
                return await fsck.run(on_progress, on_batch=_keep(fsck, state_file))
        finally:
            await connection.close(timeout=CONNECT_SECONDS)


async def read_hub_keys(connection: asyncpg.Connection, config: HubConfig) -> HubKeys:
    """Return what the newest directory says of the log; nothing before there is one.

    Raises:
        IntegrityBroken: the pinned authority did not sign it.
    """
    body = await read_latest_directory(connection)
    if body is None:
        return HubKeys()
    try:
        return verify_directory(body, read_trust_file(config.trust_file).authority_keys()).hub
    except SafelaneError:
        raise IntegrityBroken("the stored directory is not one that the authority signed", field="directory") from None


def _read_state(state_file: Path | None) -> FsckState | None:
    if state_file is None or not state_file.exists():
        return None
    return FsckState.from_json(state_file.read_text())


def _keep(fsck: Fsck, state_file: Path | None) -> Callable[[], None] | None:
    if state_file is None:
        return None
    return lambda: write_secret(state_file, fsck.state.to_json())
