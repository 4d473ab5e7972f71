"""A hub's database with a made-up county in it, and the audit's reader over it, as the role ``safelane_api``."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg

from broker.audit import Projector
from broker.audit.event_index import EventIndex
from broker.audit.filters import SearchFilter
from broker.audit.gate import AuditGate
from broker.audit.reader import AuditReader
from broker.audit.scope import Reader, read_reader
from broker.audit.searching import FoundEvent
from broker.log import LogWriter
from broker.registry import Registry
from broker.store import open_pool, upgrade_database
from schemas.directory import Person
from schemas.keys import KeyUse, generate_ed25519_jwk
from tests.support.hub_api import LOG_ORIGIN, set_role_password, with_login
from tests.support.logged_referrals import County, LoggedReferral, store_referrals

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


class NoDirectoryHere:
    """Stands for the registry where no test asks for a directory."""


@dataclass
class Audited:
    """``owner`` sees all tables; ``reader`` reads as the API's role does."""

    owner: asyncpg.Connection
    pool: asyncpg.Pool
    reader: AuditReader
    projector: Projector
    referrals: list[LoggedReferral]

    async def store(self, referrals: Sequence[LoggedReferral]) -> None:
        await store_referrals(self.owner, referrals)
        self.referrals += referrals
        await self.projector.catch_up()

    async def read(self, query: str, *args: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.owner.fetch(query, *args)]

    async def find(self, who: Reader, limit: int = 100, **asked: Any) -> list[FoundEvent]:
        """Return everything that a search finds, page by page."""
        search, cursor, found = SearchFilter.read(asked), None, []
        while True:
            page = await self.reader.search(who, search, cursor=cursor, limit=limit)
            found += page.events
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def looks(self) -> list[tuple[str, dict[str, Any]]]:
        """Return kind and members of every read that was logged, in order."""
        import orjson

        rows = await self.owner.fetch(
            "SELECT e.kind, p.event FROM log_entries e JOIN log_payloads p USING (event_id)"
            " WHERE e.kind IN ('audit_read', 'export') ORDER BY e.position"
        )
        return [(row["kind"], orjson.loads(row["event"])) for row in rows]


@asynccontextmanager
async def open_audited(dsn: str, count: int = 0, *, seed: int = 1) -> AsyncIterator[Audited]:
    """Migrate the database, store ``count`` referrals and project them."""
    await upgrade_database(dsn)
    owner = await asyncpg.connect(dsn)
    await set_role_password(owner, "safelane_api")
    pool = await open_pool(with_login(dsn, "safelane_api"), name="test", most=6)
    try:
        log = LogWriter(LOG_ORIGIN, generate_ed25519_jwk(KeyUse.LOG))
        registry = cast("Registry", NoDirectoryHere())
        clock = AdvancingClock()
        reader = AuditReader(pool, AuditGate(pool, log, clock), registry, clock, clock)
        audited = Audited(owner, pool, reader, Projector(pool, [EventIndex()]), [])
        if count:
            await audited.store(list(County(seed).referrals(count)))
        yield audited
    finally:
        await pool.close()
        await owner.close()


class AdvancingClock:
    """A clock that moves a second with each look, from the county's end on."""

    def __init__(self) -> None:
        self._now = NOW

    def __call__(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


def make_reader(*roles: str, agency: str = "csc.marchshire", person: str = "p.auditor1") -> Reader:
    """Return a person with roles as a reader."""
    return read_reader(Person(id=person, agency=agency, roles=roles))
