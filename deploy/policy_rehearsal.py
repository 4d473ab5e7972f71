"""Rehearsing policy outside the hub: engines for a pack and a partnership file, and past decisions read back from the hub's records."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from broker.config import HubConfig, read_log_key
from broker.decisions import DEFAULT_PACK, DecisionEngine, PolicyPack, load_pack
from broker.decisions.case_facts import build_case_facts
from broker.decisions.cases import Case
from broker.decisions.layering import layer_pack
from broker.decisions.simulate import RecordedInput, record_header
from broker.log import LogWriter, NewEvent
from broker.registry.packs import InstalledPack, PackShelf
from broker.store import translate_errors
from broker.store.pool import Connection
from deploy.authority.partnership import load_partnership
from deploy.hub_status import open_operator
from deploy.recorded_decisions import Rerun, read_recorded, run_again
from schemas.directory import Directory

SAMPLE_PARTNERSHIP = Path(__file__).parent / "local" / "samples" / "partnership.yaml"
_REHEARSAL_DAYS = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class PastDecisions:
    """Inputs of past decisions, and how many could not be read back (their sender's keys or content are erased)."""

    inputs: tuple[RecordedInput, ...]
    unreadable: int


def choose_pack(folder: Path | None, local: Path | None) -> PolicyPack:
    """Return the pack in ``folder`` (none: the national one that is installed), with a local pack over it if there is one.

    Raises:
        ConfigInvalid: a pack is not valid, or the local one does more than it may.
    """
    pack = load_pack(folder or DEFAULT_PACK)
    return layer_pack(pack, local) if local else pack


def read_partnership(path: Path | None) -> Directory:
    """Return an unsigned directory of a partnership file, for rehearsal only: who holds which role, agreements, local policy.

    Raises:
        ConfigInvalid: the file is not of its form.
    """
    parts = dict(load_partnership(path or SAMPLE_PARTNERSHIP))
    now = datetime.now(UTC)
    return Directory(version=1, issued_at=now, expires_at=now + _REHEARSAL_DAYS, **parts)


def record_cases(cases: Sequence[Case], now: DecisionEngine, new: DecisionEngine) -> list[RecordedInput]:
    """Return decision cases as inputs of a rehearsal.

    Raises:
        Rejected: a case is not of its form.
    """
    return [
        RecordedInput(case.id, build_case_facts(case.id, case.data, now), build_case_facts(case.id, case.data, new))
        for case in cases
    ]


async def read_past_decisions(
    config: HubConfig, last: int, now_pack: PolicyPack | None, new_pack: PolicyPack
) -> tuple[PastDecisions, DecisionEngine, DecisionEngine]:
    """Read the last decisions back from the hub's records, newest first, with the registers as they were, under the current directory.

    ``now_pack`` none: the pack in force at the hub.

    Raises:
        StoreUnavailable: PostgreSQL does not answer.
        PolicyNotHeld: the pack in force is not here.
    """
    async with open_operator(config) as (pool, registry):
        snapshot = await registry.current()
        now_pack = now_pack or open_shelf(config).find_pack(snapshot)
        with translate_errors():
            async with pool.acquire(timeout=10) as connection:
                recorded, unreadable = await read_recorded(connection, last=last)
    # Neither pack need be the one that the signed directory names: this is a rehearsal.
    directory = snapshot.directory.model_copy(update={"policy_digest": "", "matrix": ()})
    engines = DecisionEngine(now_pack, directory), DecisionEngine(new_pack, directory)
    found = [
        inputs
        for one in recorded
        if (
            inputs := record_header(
                one.delivery_id,
                one.header,
                sender=one.stored.manifest.sender,
                registers=one.registers,
                decided=one.decision,
                engines=engines,
            )
        )
    ]
    return PastDecisions(tuple(found), unreadable), *engines


def open_shelf(config: HubConfig) -> PackShelf:
    """Return the packs that a hub of this configuration can decide by.

    Raises:
        ConfigInvalid: the installed pack is not valid.
    """
    return PackShelf(InstalledPack.load(config.policy_pack, config.local_policy_pack))


async def rerun_decisions(
    config: HubConfig, *, searched_id: str = "", last: int = 0, by: str
) -> tuple[list[Rerun], int]:
    """Run recorded decisions again, each with its own pack, directory version and registers; return them, and how many are erased.

    That somebody looked is an event of the log.

    Raises:
        NotFound: there is no such referral, message or delivery.
        StoreUnavailable: PostgreSQL does not answer.
    """
    async with open_operator(config) as (pool, _):
        with translate_errors():
            async with pool.acquire(timeout=10) as connection:
                await _log_look(connection, config, by, "rerun", searched_id or f"last {last}")
                recorded, unreadable = await read_recorded(connection, searched_id=searched_id, last=last)
                return await run_again(connection, recorded, open_shelf(config)), unreadable


async def read_active(config: HubConfig) -> tuple[PolicyPack, Directory]:
    """Return the pack in force at a hub, and its directory without the digest and matrix that a rehearsal need not meet.

    Raises:
        PolicyNotHeld: the pack in force is not here.
        StoreUnavailable: PostgreSQL does not answer.
    """
    async with open_operator(config) as (_, registry):
        snapshot = await registry.current()
    pack = open_shelf(config).find_pack(snapshot)
    return pack, snapshot.directory.model_copy(update={"policy_digest": "", "matrix": ()})


async def _log_look(connection: Connection, config: HubConfig, by: str, action: str, subject: str) -> None:
    now = datetime.now(UTC)
    log = LogWriter(config.log.origin, read_log_key(config.log.key_file), epoch=config.log.epoch)
    members = {"at": now.isoformat(), "by": by, "action": action, "subject": subject}
    async with connection.transaction():
        await log.append(connection, [NewEvent.salted("audit_read", members)], at=now)
