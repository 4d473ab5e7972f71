"""The tamper trial: one thing of anything that the log protects is changed by chance, and ``fsck``, the witnesses or ``verify`` must say so."""

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.config import read_log_key
from broker.log import unchecked
from broker.log.fsck import Fsck, FsckState, WitnessedCheckpoint
from broker.store import open_pool
from deploy.authority.signing import read_trust
from deploy.evidence.export import export_evidence
from deploy.evidence.pack import Files
from deploy.evidence.state_compare import compare_states
from schemas.canonical import decode_base64url
from schemas.log_state import LogState
from tests.support.hub_world import ORIGIN
from tests.support.pack_tampering import try_packs
from tests.support.servers import RabbitVhost
from tests.support.tampering import Tamperer, Targets, is_protected, read_targets, remembered_signatures
from tests.support.whole_log import WholeLog, open_whole_log

SHORT, LONG = (200, 40), (5_000, 1_000)
"""Trials on the database and on a pack."""


async def check(whole: WholeLog, witnessed: WitnessedCheckpoint) -> FsckState:
    """Check the database as it is, with what a witness kept of it as it was."""
    key = decode_base64url(read_log_key(whole.world.config.log.key_file)["x"])
    fsck = Fsck(whole.world.owner, ORIGIN, key, witnessed=[witnessed], timestamp_roots=whole.timestamp_roots)
    return await fsck.run()


async def export(whole: WholeLog) -> Files:
    world = whole.world
    pool = await open_pool(world.config.postgres.read_dsn("worker"), name="test", most=1)
    trust = read_trust(world.folder / "authority" / "trust.json")
    first = await world.owner.fetchval("SELECT referral_id FROM messages ORDER BY received_at LIMIT 1")
    try:
        return await export_evidence(pool, whole.writer, first, trust.authority, by="ann", now=datetime.now(UTC))
    finally:
        await pool.close()


async def newest_note(whole: WholeLog) -> str:
    return str(await whole.world.owner.fetchval("SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1"))


async def try_often(whole: WholeLog, targets: Targets, trials: int, seed: int, folder: Path) -> tuple[int, list[str]]:
    """Tamper ``trials`` times, each time with the database as it was; return how often something changed, and what escaped."""
    owner, done, escaped = whole.world.owner, 0, []
    head = await owner.fetchrow("SELECT size, root FROM log_checkpoints ORDER BY size DESC LIMIT 1")
    kept, note = WitnessedCheckpoint("csc.marchshire", head["size"], head["root"]), await newest_note(whole)
    assert (await check(whole, kept)).findings == [], "the honest log passes, or no finding would mean anything"
    for trial in range(trials):
        transaction = owner.transaction()
        await transaction.start()
        chance = random.Random(f"{seed}/{trial}")  # noqa: S311 (chance that can be repeated)
        what = await Tamperer(owner, targets, whole.writer, chance).tamper()
        if what is not None:
            done += 1
            try:
                found = (await check(whole, kept)).findings
            except Exception as error:  # noqa: BLE001 (whatever was changed: a check that falls over says nothing)
                escaped.append(f"seed {seed}, trial {trial}: {what}: {type(error).__name__}")
                await transaction.rollback()
                continue
            caught = bool(found) and (
                not what.startswith("fork") or compare(whole, note, await newest_note(whole), folder)
            )
            if not caught:
                escaped.append(f"seed {seed}, trial {trial}: {what}")
        await transaction.rollback()
    return done, escaped


def compare(whole: WholeLog, one: str, other: str, folder: Path) -> bool:
    """Tell whether two witnesses find that they were shown two logs, one of which each alone would have believed, or that one is behind."""
    files = [folder / "one.json", folder / "other.json"]
    for file, shown in zip(files, (one, other), strict=True):
        file.write_bytes(LogState(file.stem, whole.writer.verifier, (shown,)).to_bytes())
    same_size = one.split("\n")[1] == other.split("\n")[1]
    return not same_size or compare_states(files).exit_code == 4


async def run_trial(
    database: str, rabbit: RabbitVhost, folder: Path, trials: tuple[int, int], seed: int
) -> tuple[Targets, int]:
    async with open_whole_log(database, rabbit, folder) as whole:
        packs = try_packs(
            await export(whole),
            read_trust(whole.world.folder / "authority" / "trust.json").authority_keys(),
            whole.timestamp_roots,
            trials[1],
            seed,
        )
        targets = await read_targets(whole.world.owner)
        with remembered_signatures():
            done, escaped = await try_often(whole, targets, trials[0], seed, folder)
        assert [*packs, *escaped] == [], "\n".join(["these escaped:", *packs, *escaped])
        return targets, done


@pytest.mark.timeout(300)
async def test_no_tampering_escapes(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> None:
    targets, done = await run_trial(
        database, rabbit_vhost, tmp_path, SHORT, seed=random.SystemRandom().randrange(1 << 30)
    )
    assert done > SHORT[0] * 0.7
    # There is something of everything to tamper with, and whatever is exempt is there and not by a slip of the pen.
    columns = {column.path for table in targets.columns.values() for column in table}
    assert set(unchecked.COLUMNS) <= columns
    assert not [
        table for table in {**unchecked.TABLES, **unchecked.ROWS} if is_protected(table) and table not in unchecked.ROWS
    ]
    empty = {table for table, count in targets.counts.items() if not count}
    assert empty <= {"agreement_warnings", "policy_activations"}, (
        "test_expiries and test_policy_activation run fsck over these"
    )


@pytest.mark.faults
@pytest.mark.timeout(3600)
async def test_no_tampering_escapes_in_thousands_of_trials(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    targets, done = await run_trial(
        database, rabbit_vhost, tmp_path, LONG, seed=random.SystemRandom().randrange(1 << 30)
    )
    assert done > LONG[0] * 0.7
    tried = set(targets.tried)
    missed = [
        column.path
        for table in targets.tables
        for column in targets.columns[table]
        if column.path not in unchecked.COLUMNS and column.path not in tried
    ]
    assert missed == [], "every protected column was changed at least once"
