"""The bench's county is a real one: the projectors make the same tables from its events, and its log is right in every hash."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from bench.filled import prepare_county
from bench.filling import CountyPlan
from broker.api.wiring import list_projections
from broker.audit import Projector
from broker.audit.log_check import check_log
from schemas.directory import Directory
from tests.support.authority import FoundedAuthority

ENDS_AT = datetime(2026, 2, 20, 9, tzinfo=UTC)
COMPARED = {
    "audit_events": "position, at, kind, sender, recipient, referral_kind, state, rule, message_id, delivery_id, referral_id, person, subject"
    " FROM audit_events JOIN audit_streams USING (stream)",
    "audit_streams": "kind, sender, recipient, referral_kind, state, rule, events FROM audit_streams",
    "audit_deliveries": "* FROM audit_deliveries",
    "report_referrals": "* FROM report_referrals",
    "report_deliveries": "* FROM report_deliveries",
    "report_clocks": "* FROM report_clocks",
    "report_cells": "* FROM report_cells WHERE n <> 0",
    "report_durations": "* FROM report_durations WHERE n <> 0",
}


async def read_all(owner: asyncpg.Connection) -> dict[str, set[tuple[Any, ...]]]:
    return {
        name: {tuple(map(repr, row)) for row in await owner.fetch(f"SELECT {query}")}
        for name, query in COMPARED.items()
    }


async def test_the_projectors_make_the_same_of_its_events(database: str, tmp_path: Path) -> None:
    county = await prepare_county(database, tmp_path, CountyPlan(24, 3, ENDS_AT), lambda _step: None)
    owner = await asyncpg.connect(database)
    filled = await read_all(owner)
    pool = await asyncpg.create_pool(database, min_size=0, max_size=2)
    projector = Projector(pool, list_projections())
    for projection in projector.projections:
        await projector.rebuild(projection.name)
    assert await projector.catch_up() == county["events"] * len(projector.projections)
    again = await read_all(owner)
    for name, rows in filled.items():
        assert rows, name
        assert (name, rows ^ again[name]) == (name, set())
    directory = read_directory(tmp_path)
    async with owner.transaction(isolation="repeatable_read", readonly=True):
        assert [(finding.name, finding.holds) for finding in await check_log(owner, directory)] == [
            ("The newest head", True),
            ("Growth since the witnesses' last head", True),
            ("Events drawn at random", True),
        ]
    await pool.close()
    await owner.close()


def read_directory(folder: Path) -> Directory:
    return FoundedAuthority(folder / "authority").sign().directory
