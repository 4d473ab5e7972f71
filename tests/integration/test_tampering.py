"""The tamper trial: one thing of anything that the log protects is changed by chance, and ``fsck``, the witnesses or ``verify`` must say so."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.api.wiring import read_trust_file
from broker.log import unchecked
from broker.log.fsck import Fsck, FsckState
from broker.store import open_pool
from deploy.authority.signing import read_trust
from deploy.evidence.export import export_evidence
from deploy.evidence.pack import Files
from deploy.evidence.state_compare import compare_states
from deploy.hub_fsck import list_witnessed, read_hub_keys
from schemas.checkpoint import NoteVerifier
from schemas.errors import IntegrityBroken
from schemas.log_state import LogState
from tests.support.pack_tampering import try_packs
from tests.support.second_epoch import EpochTamperer, TwoEpochs, open_second_epoch
from tests.support.servers import RabbitVhost
from tests.support.tampering import Column, Targets, is_protected, read_targets, remembered_signatures
from tests.support.whole_log import WholeLog, open_whole_log

SHORT, LONG = (200, 40), (5_000, 1_000)
"""Trials on the database and on a pack."""


async def check(epochs: TwoEpochs, *, first: bool = False, states: Sequence[LogState] | None = None) -> FsckState:
    """Check the database as ``safelane hub fsck`` does, with what a witness kept; ``first``: as if ``hub.yaml`` still named the first epoch."""
    whole = epochs.whole
    try:
        hub = await read_hub_keys(whole.world.owner, whole.world.config)
    except IntegrityBroken:
        state = FsckState()
        state.note("directory-is-not-the-authoritys", "directory_versions")
        return state
    writer = epochs.first if first else whole.writer
    log = NoteVerifier.from_text(writer.verifier)
    fsck = Fsck(
        whole.world.owner,
        log.name,
        log.public_key.public_bytes_raw(),
        epoch=writer.epoch,
        hub=hub,
        witnessed=list_witnessed(epochs.states if states is None else states, hub),
        timestamp_roots=whole.timestamp_roots,
        authorities=read_trust_file(whole.world.config.trust_file).every_authority(),
    )
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


async def try_often(epochs: TwoEpochs, targets: Targets, trials: int, seed: int, folder: Path) -> tuple[int, list[str]]:
    """Change each protected column once, and then anything ``trials`` times, each time with the database as it was.

    Returns how often anything was changed by chance, and what escaped.
    """
    owner, done, escaped = epochs.whole.world.owner, 0, []
    columns: list[Column | None] = [column for table in targets.tables for column in targets.protected(table)]
    note = await newest_note(epochs.whole)
    assert (await check(epochs)).findings == [], "the honest log passes, or no finding would mean anything"
    for trial, column in enumerate([*columns, *[None] * trials]):
        transaction = owner.transaction()
        await transaction.start()
        chance = random.Random(f"{seed}/{trial}")  # noqa: S311 (chance that can be repeated)
        tamperer = EpochTamperer(epochs, targets, chance)
        what = await (tamperer.tamper() if column is None else tamperer.change(column))
        if what is not None:
            done += column is None
            told = f"seed {seed}, trial {trial}: {what}"
            try:
                caught = await is_caught(epochs, tamperer, what, note, folder)
            except Exception as error:  # noqa: BLE001 (whatever was changed: a check that falls over says nothing)
                escaped.append(f"{told}: {type(error).__name__}")
            else:
                escaped += [] if caught else [told]
        await transaction.rollback()
    return done, escaped


async def is_caught(epochs: TwoEpochs, tamperer: EpochTamperer, what: str, note: str, folder: Path) -> bool:
    """Tell whether the change is found, by its name where it has one; what rewrites the first epoch without any help from witnesses."""
    rewritten, returned = what.startswith("rewrite"), what.startswith("return")
    state = await check(epochs, first=returned, states=() if rewritten else None)
    codes = {finding.code for finding in state.findings}
    if tamperer.expected is not None and tamperer.expected not in codes:
        return False
    return bool(codes) and (
        not what.startswith("fork") or compare(epochs.whole, note, await newest_note(epochs.whole), folder)
    )


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
        epochs = await open_second_epoch(whole)
        packs = try_packs(
            await export(whole),
            read_trust(whole.world.folder / "authority" / "trust.json").authority_keys(),
            whole.timestamp_roots,
            trials[1],
            seed,
        )
        epochs, targets = await epochs.seen_now(), await read_targets(whole.world.owner)
        with remembered_signatures():
            done, escaped = await try_often(epochs, targets, trials[0], seed, folder)
        assert [*packs, *escaped] == [], "\n".join(["these escaped:", *packs, *escaped])
        protected = {column.path for table in targets.tables for column in targets.protected(table)}
        assert protected - set(targets.tried) == set(), "every protected column was changed"
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
    assert {"restate", "rewrite", "sign alone", "return", "fork", "roll back"} <= set(targets.tried)
