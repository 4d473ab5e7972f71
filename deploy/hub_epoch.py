"""The hub's part in opening a new epoch of its log, with its programs stopped: what is left of the log, and the first entries under the new key."""

from broker.api.directory_routes import list_directory_events
from broker.api.wiring import read_clock, read_trust_file
from broker.config import HubConfig, read_log_key
from broker.log import LogWriter
from broker.log.epoch import open_epoch
from broker.log.reading import read_checkpoint
from broker.registry import versions
from broker.store import open_pool, translate_errors
from schemas.directory import Directory
from schemas.errors import ConfigInvalid, NotFound
from schemas.objects import peek_object
from schemas.signed_directory import verify_directory


async def read_kept_checkpoint(config: HubConfig) -> str:
    """Return the newest head that the database holds, as it was signed.

    Raises:
        NotFound: the log is empty.
        StoreUnavailable: PostgreSQL does not answer.
    """
    pool = await open_pool(config.postgres.read_dsn("api"), name="safelane-operator", most=1)
    try:
        with translate_errors():
            async with pool.acquire(timeout=10) as connection:
                note = await read_checkpoint(connection)
    finally:
        await pool.close()
    if note is None:
        raise NotFound("the log is empty", field="checkpoint")
    return note


async def open_log_epoch(config: HubConfig, body: bytes) -> tuple[Directory, int]:
    """Take in the directory that opens the epoch and append the epoch's first entries; return it and the log's size.

    Raises:
        SignatureInvalid, MalformedMessage: the authority did not sign it.
        ConfigInvalid: ``hub.yaml`` names another epoch, origin or key than the directory.
        Conflict: the epoch is open already, or a newer directory is here.
        IntegrityBroken: the database does not hold what the authority says was kept.
    """
    directory = verify_directory(body, read_trust_file(config.trust_file).authority_keys())
    log = LogWriter(config.log.origin, read_log_key(config.log.key_file), epoch=config.log.epoch)
    hub = directory.hub
    if (hub.epoch, hub.log_origin, hub.log_verifier) != (log.epoch, config.log.origin, log.verifier):
        raise ConfigInvalid("names another epoch, origin or key than the directory", field="log")
    pool = await open_pool(config.postgres.read_dsn("api"), name="safelane-operator", most=1)
    now = read_clock()
    try:
        with translate_errors():
            async with pool.acquire(timeout=10) as connection, connection.transaction():
                before = await versions.read_latest_directory(connection)
                earlier = Directory.model_validate(peek_object(before)) if before else None
                events = list_directory_events(body, directory, earlier, (), at=now.isoformat())
                await versions.insert_directory(connection, body, directory)
                batch = await open_epoch(connection, log, hub, events, at=now)
    finally:
        await pool.close()
    return directory, batch.size
