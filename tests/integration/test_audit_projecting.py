"""The projector on a real PostgreSQL: what it makes of the log, at any kill, by any number of processes, from zero, and after erasure."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from broker.audit import LoggedEvent, Projector, read_projections
from broker.audit.event_index import EventIndex
from broker.audit.projecting import PROJECTOR_LOCK
from broker.log import NewEvent
from broker.store import open_pool, upgrade_database
from broker.store.pool import Connection
from tests.support.hub_api import set_role_password, with_login
from tests.support.logged_referrals import START, County, log_events, store_referrals

ROWS = (
    "SELECT position, a.at, kind, sender, recipient, referral_kind, state, rule, message_id, delivery_id, referral_id, person, subject"
    " FROM audit_events a JOIN audit_streams USING (stream) ORDER BY position"
)
COUNTS = (
    "SELECT kind, sender, recipient, referral_kind, state, rule, events FROM audit_streams WHERE events > 0"
    " ORDER BY kind, sender, recipient, referral_kind, state, rule"
)


@dataclass
class Audited:
    owner: asyncpg.Connection
    pool: asyncpg.Pool

    async def read(self, query: str = ROWS, *args: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.owner.fetch(query, *args)]


@pytest.fixture
async def audited(database: str) -> AsyncIterator[Audited]:
    await upgrade_database(database)
    owner = await asyncpg.connect(database)
    await set_role_password(owner, "safelane_api")
    pool = await open_pool(with_login(database, "safelane_api"), name="test", most=4)
    yield Audited(owner, pool)
    await pool.close()
    await owner.close()


class Interrupted(Exception):
    pass


class FailingIndex(EventIndex):
    """Applies a batch whole and fails before it commits, ``failures`` times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    async def apply(self, connection: Connection, events: Sequence[LoggedEvent]) -> None:
        await super().apply(connection, events)
        if self.failures:
            self.failures -= 1
            raise Interrupted


async def test_what_was_logged_is_found_once_with_agencies_referral_state_and_rule(audited: Audited) -> None:
    referrals = list(County().referrals(120))
    await store_referrals(audited.owner, referrals)
    projector = Projector(audited.pool, [EventIndex()], batch_events=100)
    assert await projector.catch_up() == sum(len(r.events) for r in referrals)
    rows = await audited.read()
    assert [row[0] for row in rows] == list(range(len(rows)))
    expected = {
        (d[0], d[1]): (r.message[1], d[3], r.message[4], d[6], d[7], r.referral_id)
        for r in referrals
        for d in r.deliveries
    }
    decided = [row for row in rows if row[2] == "decided"]
    assert {(row[8], row[9]): (*row[3:8], row[10]) for row in decided} == {
        key: (sender, recipient, kind, outcome, rule, referral_id)
        for key, (sender, recipient, kind, outcome, rule, referral_id) in expected.items()
    }
    assert {row[6] for row in rows if row[2] == "clock"} == {"met", "breached"}
    assert all(row[11] for row in rows if row[2] == "review")
    counted = await audited.read("SELECT sum(events)::int FROM audit_streams")
    assert counted == [(len(rows),)]


async def test_a_failure_at_any_batch_repeats_nothing_and_loses_nothing(audited: Audited) -> None:
    await store_referrals(audited.owner, list(County().referrals(40)))
    index = FailingIndex(3)
    projector = Projector(audited.pool, [index], batch_events=50)
    for _ in range(3):
        with pytest.raises(Interrupted):
            await projector.project_once()
    await projector.catch_up()
    interrupted, counts = await audited.read(), await audited.read(COUNTS)
    await projector.rebuild("audit_events")
    assert await audited.read() == []
    await projector.catch_up()
    assert await audited.read() == interrupted
    assert await audited.read(COUNTS) == counts


async def test_a_killed_connection_in_a_batch_leaves_the_cursor_where_it_was(audited: Audited) -> None:
    await store_referrals(audited.owner, list(County().referrals(10)))

    class Killed(EventIndex):
        async def apply(self, connection: Connection, events: Sequence[LoggedEvent]) -> None:
            await super().apply(connection, events)
            pid = connection.get_server_pid()
            await audited.owner.execute("SELECT pg_terminate_backend($1)", pid)

    with pytest.raises(Exception, match=r"PostgreSQL|connection"):
        await Projector(audited.pool, [Killed()]).project_once()
    assert await audited.read("SELECT * FROM projection_cursors") == []
    await Projector(audited.pool, [EventIndex()]).catch_up()
    assert len(await audited.read()) == await audited.owner.fetchval("SELECT count(*) FROM log_entries")


async def test_many_projectors_share_the_work_and_each_event_is_taken_once(audited: Audited) -> None:
    await store_referrals(audited.owner, list(County().referrals(60)))
    size = await audited.owner.fetchval("SELECT count(*) FROM log_entries")
    projectors = [Projector(audited.pool, [EventIndex()], batch_events=25) for _ in range(3)]

    async def work(projector: Projector) -> int:
        done = 0
        for _ in range(200):
            done += await projector.project_once()
            await asyncio.sleep(0)
        return done

    assert sum(await asyncio.gather(*map(work, projectors))) == size
    assert await audited.read("SELECT count(*) FROM audit_events") == [(size,)]


async def test_while_another_has_the_lock_nothing_is_projected_and_the_lag_is_told(audited: Audited) -> None:
    await store_referrals(audited.owner, list(County().referrals(5)))
    size = await audited.owner.fetchval("SELECT count(*) FROM log_entries")
    projector = Projector(audited.pool, [EventIndex()])
    async with audited.owner.transaction():
        await audited.owner.execute("SELECT pg_advisory_xact_lock($1)", PROJECTOR_LOCK)
        assert await projector.project_once() == 0
        (state,) = await read_projections(audited.owner, ["audit_events"])
        assert (state.position, state.behind, state.log_size) == (0, size, size)
    await projector.catch_up()
    (state,) = await read_projections(audited.owner, ["audit_events"])
    assert (state.behind, state.lag_seconds()) == (0, 0.0)


async def test_erasing_a_payload_erases_what_the_search_knew_and_a_rebuild_agrees(audited: Audited) -> None:
    referrals = list(County().referrals(20))
    await store_referrals(audited.owner, referrals)
    projector = Projector(audited.pool, [EventIndex()])
    await projector.catch_up()
    erased = referrals[7]
    ids = [event.event_id for event, _ in erased.events]
    await audited.owner.execute("DELETE FROM log_payloads WHERE event_id = ANY($1::uuid[])", ids)
    rows, counts = await audited.read(), await audited.read(COUNTS)
    assert len(rows) == sum(len(r.events) for r in referrals)
    assert erased.referral_id not in str(rows)
    assert str(erased.message[0]) not in str(rows)
    blank = [row for row in rows if row[3:] == (None,) * 10]
    assert len(blank) == len(ids)
    assert await audited.read("SELECT 1 FROM audit_deliveries WHERE message_id = $1", erased.message[0]) == []
    await projector.rebuild("audit_events")
    await projector.catch_up()
    assert await audited.read() == rows
    assert await audited.read(COUNTS) == counts


async def test_who_looked_is_found_by_the_referral_that_they_looked_at(audited: Audited) -> None:
    referral = County().next_referral()
    await store_referrals(audited.owner, [referral])
    looks = (referral.referral_id, str(referral.message[0]), referral.deliveries[0][1], "ref-unknown-at-all")
    events = [
        NewEvent.salted("audit_read", {"at": START.isoformat(), "by": "p.ann", "action": "show", "subject": subject})
        for subject in looks
    ]
    await log_events(audited.owner, [(event, START) for event in events])
    await Projector(audited.pool, [EventIndex()]).catch_up()
    found = await audited.read("SELECT subject, referral_id FROM audit_events WHERE person = 'p.ann' ORDER BY position")
    assert found == [(look, referral.referral_id) for look in looks[:3]] + [(looks[3], None)]


async def test_roles_read_and_only_the_projectors_writes(audited: Audited) -> None:
    for role in ("safelane_reader", "safelane_console", "safelane_worker"):
        for table in ("audit_events", "audit_streams", "projection_cursors"):
            rights = await audited.owner.fetchrow(
                "SELECT has_table_privilege($1, $2, 'SELECT') AS read, has_table_privilege($1, $2, 'INSERT, UPDATE, DELETE, TRUNCATE') AS write",
                role,
                table,
            )
            assert (rights["read"], rights["write"]) == (role != "safelane_worker", False)
