"""What the console does through other database roles than its own, where this machine holds their credentials: evidence packs and rehearsals."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from broker.api.wiring import read_trust_file
from broker.config import HubConfig, read_log_key
from broker.console.services import ConsoleServices, Rehearsal
from broker.decisions.bundle import load_bundle
from broker.decisions.simulate import simulate
from broker.log import LogWriter
from broker.store import open_pool
from deploy.evidence.export import export_evidence
from deploy.evidence.pack import zip_pack
from deploy.policy_rehearsal import read_past_decisions
from schemas.errors import ConfigInvalid


def build_console_services(config: HubConfig) -> ConsoleServices:
    """Return the services for which this machine has what they need; the console's pages show commands for the rest."""
    return ConsoleServices(
        export_evidence=_export_with(config) if _has_role(config, "worker") else None,
        rehearse=_rehearse_with(config) if _has_role(config, "api") else None,
    )


def _export_with(config: HubConfig) -> Callable[[str, str], Awaitable[bytes]]:
    log = LogWriter(config.log.origin, read_log_key(config.log.key_file), epoch=config.log.epoch)
    authority = read_trust_file(config.trust_file).authority

    async def export(searched_id: str, by: str) -> bytes:
        # The worker's role: it alone may read sealed envelopes and events with their salts.
        pool = await open_pool(config.postgres.read_dsn("worker"), name="safelane-evidence", most=1)
        try:
            return zip_pack(await export_evidence(pool, log, searched_id, authority, by=by, now=datetime.now(UTC)))
        finally:
            await pool.close()

    return export


def _rehearse_with(config: HubConfig) -> Callable[[bytes, int], Awaitable[Rehearsal]]:
    async def rehearse(body: bytes, last: int) -> Rehearsal:
        past, now, new = await read_past_decisions(config, last, None, load_bundle(body))
        return Rehearsal(len(past.inputs), past.unreadable, simulate(past.inputs, now, new))

    return rehearse


def _has_role(config: HubConfig, role: str) -> bool:
    try:
        config.postgres.read_dsn(role)
    except ConfigInvalid:
        return False
    return True
