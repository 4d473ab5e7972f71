"""The audit on the hub's own machine, for operators: the same reader as the API's, on the API's database role. Every read is logged under their name."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from broker.api.wiring import list_projections, read_clock
from broker.audit import ProjectionState, Projector, read_projections
from broker.audit.access_log import AccessReport
from broker.audit.exporting import ExportFormat
from broker.audit.filters import SearchFilter
from broker.audit.gate import AuditGate
from broker.audit.plain import describe_page, to_plain
from broker.audit.reader import AuditReader
from broker.audit.scope import Permission, Reader
from broker.config import HubConfig, read_log_key
from broker.log import LogWriter
from broker.store import translate_errors
from deploy.clock import build_business_clock
from deploy.hub_status import open_operator
from schemas.decision import Decision

T = TypeVar("T")
R = TypeVar("R")
_MOST_BATCHES: Final = 20
"""Batches taken in before a read: where the API runs there is nothing to do, where it does not the newest events are found all the same."""


@dataclass(frozen=True, slots=True)
class LocalAudit:
    """Reads as ``by``, who sees everything: they are on the machine that holds it."""

    config: HubConfig
    by: str

    def search(self, asked: dict[str, Any], *, cursor: str | None, limit: int) -> dict[str, Any]:
        """Return a page of events."""
        search = SearchFilter.read(asked)
        return self._run(lambda a, who: a.search(who, search, cursor=cursor, limit=limit), describe_page)

    def access(self, asked: dict[str, Any], *, cursor: str | None, limit: int) -> dict[str, Any]:
        """Return a page of who did or looked at what."""
        search = SearchFilter.read(asked)
        return self._run(lambda a, who: a.access_log(who, search, cursor=cursor, limit=limit), describe_page)

    def access_report(self, *, since: datetime, until: datetime) -> dict[str, Any]:
        """Return everybody's use in a period, and what of it is unusual."""
        return self._run(lambda a, who: a.access_report(who, since=since, until=until), _describe_report)

    def show(self, searched_id: str) -> dict[str, Any]:
        """Return a referral's whole view."""
        return self._run(lambda a, who: a.show(who, searched_id), lambda view: view.to_json())

    def decisions(self, searched_id: str) -> list[tuple[int, str, Decision]]:
        """Return the decisions of a referral, message or delivery as they were recorded: number within the delivery, cause, record."""
        return self._run(lambda a, who: a.decisions(who, searched_id), lambda found: found)

    def export(self, asked: dict[str, Any], form: ExportFormat, write: Callable[[bytes], Any]) -> None:
        """Write the file with what a search finds."""
        search = SearchFilter.read(asked)

        async def copy(audit: AuditReader, who: Reader) -> None:
            async for piece in await audit.export(who, search, form):
                write(piece)

        self._run(copy, lambda done: done)

    def prove(self, asked: dict[str, Any]) -> bytes:
        """Return the file of proofs of what a search finds."""
        search = SearchFilter.read(asked)
        return self._run(lambda a, who: a.prove(who, search), bytes)

    def prove_position(self, position: int) -> bytes:
        """Return the file of proof of one event."""
        return self._run(lambda a, who: a.prove_position(who, position), bytes)

    def reindex(self, report: Callable[[int, int], None]) -> int:
        """Empty every projection and make it again from the log; return the log's size. ``report`` is told (events done, all)."""
        return asyncio.run(_reindex(self.config, report))

    def _run(self, read: Callable[[AuditReader, Reader], Awaitable[T]], describe: Callable[[T], R]) -> R:
        async def run() -> R:
            async with _open_audit(self.config) as audit:
                return describe(await read(audit, Reader(self.by, None, frozenset(Permission))))

        return asyncio.run(run())


def _describe_report(report: AccessReport) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(asdict(report))
    return plain


@asynccontextmanager
async def _open_audit(config: HubConfig) -> AsyncIterator[AuditReader]:
    log = LogWriter(config.log.origin, read_log_key(config.log.key_file), epoch=config.log.epoch)
    business_clock = build_business_clock(config.clock_file, config.environment)
    async with open_operator(config) as (pool, registry):
        projector = Projector(pool, list_projections())
        for _ in range(_MOST_BATCHES):
            if not await projector.project_once():
                break
        yield AuditReader(pool, AuditGate(pool, log, read_clock), registry, read_clock, business_clock)


async def _reindex(config: HubConfig, report: Callable[[int, int], None]) -> int:
    async with open_operator(config) as (pool, _):
        projector = Projector(pool, list_projections())
        names = [projection.name for projection in projector.projections]
        for name in names:
            await projector.rebuild(name)
        while True:
            await projector.project_once()
            with translate_errors():
                async with pool.acquire(timeout=10) as connection:
                    states = await read_projections(connection, names)
            report(sum(min(s.position, s.log_size) for s in states), sum(s.log_size for s in states))
            if not any(state.behind for state in states):
                return _read_size(states)
            await asyncio.sleep(0)


def _read_size(states: list[ProjectionState]) -> int:
    return max((state.log_size for state in states), default=0)
