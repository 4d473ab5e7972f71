"""The audit's one front: the console, the API and the command line read through it. Every read is logged before it is done (``AuditGate``)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import asyncpg

from broker.audit import registers, saved_views
from broker.audit.access_log import ACCESS_EVENTS, AccessReport, UnusualRules, read_access
from broker.audit.exporting import ExportFormat, count_rows, write_export
from broker.audit.filters import DEFAULT_PAGE, MAX_PAGE, Cursor, SearchFilter
from broker.audit.gate import ACQUIRE_SECONDS, AuditGate
from broker.audit.overview import Overview, read_overview
from broker.audit.proofs import find_provable, require_provable, write_proofs
from broker.audit.referral_view import ReferralView
from broker.audit.scope import Permission, Reader
from broker.audit.searching import SearchPage, search_events
from broker.audit.showing import read_decisions, read_referral
from broker.registry import Registry
from broker.registry.packs import PackShelf
from broker.store.pool import Connection, translate_errors
from schemas.agreement_warnings import list_agreement_warnings
from schemas.decision import Decision
from schemas.directory import Agreement
from schemas.errors import MalformedMessage

Clock = Callable[[], datetime]
T = TypeVar("T")
SETTINGS: Final = "audit_unusual_access"
"""Name in the directory's ``local_policy`` of the figures from which use is unusual (members of ``UnusualRules``)."""


@dataclass(frozen=True, slots=True)
class AgreementLine:
    """An agreement of the directory and what its owner should hear of it."""

    agreement: Agreement
    in_force: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PolicyLine:
    """One rule of the pack in force, in the words that people are told."""

    id: str
    row: str
    effect: str
    reason: str
    authority: str


@dataclass(frozen=True, slots=True)
class PoliciesInForce:
    """The pack that decides here, and whether it is the one that the directory names."""

    pack: str
    title: str
    digest: str
    directory_digest: str
    policies: tuple[PolicyLine, ...]

    @property
    def matches_directory(self) -> bool:
        """Whether the signed directory names this pack."""
        return self.digest == self.directory_digest


@dataclass(frozen=True, slots=True)
class AuditReader:
    """Reads for a ``Reader``, within what they may see. Stateless but for the gate; any number of processes may have one."""

    pool: asyncpg.Pool
    gate: AuditGate
    registry: Registry
    clock: Clock
    business_clock: Clock
    shelf: PackShelf | None = field(default=None, repr=False)

    async def search(
        self, reader: Reader, search: SearchFilter, *, cursor: str | None = None, limit: int = DEFAULT_PAGE
    ) -> SearchPage:
        """Return a page of events, newest first.

        Raises:
            NotPermitted, MalformedMessage: the reader may not search; the limit or cursor is wrong. Nothing is logged.
            StoreUnavailable, IntegrityBroken: it cannot be logged, or not be read. Nothing is shown.
        """
        if not 0 < limit <= MAX_PAGE:
            raise MalformedMessage(f"must be 1 to {MAX_PAGE}", field="limit")
        place = Cursor.read(cursor, search) if cursor else None
        reader.require(Permission.SEARCH)
        await self.gate.record(reader, Permission.SEARCH, "search", await self.gate.name_search(search))
        async with self._connect() as connection:
            return await search_events(connection, search, agency=reader.agency, cursor=place, most=limit)

    async def show(self, reader: Reader, searched_id: str) -> ReferralView:
        """Return a referral's whole view, by its own id or that of one of its messages or deliveries.

        Raises:
            NotFound: there is none, or the reader's agency has no part in it. The attempt is logged all the same.
            NotPermitted, MalformedMessage, StoreUnavailable, IntegrityBroken: as for ``search``.
        """
        SearchFilter.read({"id": searched_id})
        reader.require(Permission.SEARCH)
        await self.gate.record(reader, Permission.SEARCH, "show", await self.gate.name_ids([searched_id]))
        async with self._connect() as connection:
            return await read_referral(connection, searched_id, agency=reader.agency)

    async def decisions(self, reader: Reader, searched_id: str) -> list[tuple[int, str, Decision]]:
        """Return the decisions of a referral, a message or one delivery, whole, as they were recorded: for who may see all of them.

        Each with its number (0 for the first of its delivery) and what caused it.

        Raises:
            NotFound: there is none, or the reader did not send it.
            NotPermitted, MalformedMessage, StoreUnavailable, IntegrityBroken: as for ``search``.
        """
        SearchFilter.read({"id": searched_id})
        reader.require(Permission.SEARCH)
        await self.gate.record(reader, Permission.SEARCH, "decisions", await self.gate.name_ids([searched_id]))
        async with self._connect() as connection:
            return await read_decisions(connection, searched_id, agency=reader.agency)

    async def export(self, reader: Reader, search: SearchFilter, form: ExportFormat) -> AsyncIterator[bytes]:
        """Return the pieces of a file with what a search finds, the export being logged when this returns.

        Raises:
            NotPermitted, StoreUnavailable, IntegrityBroken: as for ``search``.
        """
        reader.require(Permission.EXPORT)
        subject = await self.gate.name_search(search)
        await self.gate.record(reader, Permission.EXPORT, f"export_{form.value}", subject)

        async def read_page(cursor: str | None) -> SearchPage:
            place = Cursor.read(cursor, search) if cursor else None
            async with self._connect() as connection:
                return await search_events(
                    connection, search, agency=reader.agency, cursor=place, most=count_rows(cursor)
                )

        return write_export(read_page, form)

    async def prove(self, reader: Reader, search: SearchFilter) -> bytes:
        """Return a file with the bytes and proofs of the events that a search finds (``broker.audit.proofs``).

        Raises:
            NotFound, MalformedMessage: it finds nothing that the reader may have, or more than a file holds. The attempt is logged all the same.
            NotPermitted, StoreUnavailable, IntegrityBroken: as for ``search``.
        """
        reader.require(Permission.EXPORT)
        await self.gate.record(reader, Permission.EXPORT, "export_proofs", await self.gate.name_search(search))
        async with self._connect() as connection:
            positions = await find_provable(connection, search, agency=reader.agency)
            return await write_proofs(connection, self.registry, positions)

    async def prove_position(self, reader: Reader, position: int) -> bytes:
        """Return the same file for the event at one position.

        Raises:
            NotFound: the log has no such event, or it is not for this reader. The attempt is logged all the same.
            NotPermitted, StoreUnavailable, IntegrityBroken: as for ``search``.
        """
        await self.gate.record(reader, Permission.EXPORT, "export_proofs", f"position={position}")
        async with self._connect() as connection:
            await require_provable(connection, position, agency=reader.agency)
            return await write_proofs(connection, self.registry, [position])

    async def access_log(
        self, reader: Reader, search: SearchFilter, *, cursor: str | None = None, limit: int = DEFAULT_PAGE
    ) -> SearchPage:
        """Return a page of who did or looked at what; for a reader of one agency, what that agency's own referrals were looked at.

        Raises:
            NotPermitted, MalformedMessage, StoreUnavailable, IntegrityBroken: as for ``search``.
        """
        if not 0 < limit <= MAX_PAGE:
            raise MalformedMessage(f"must be 1 to {MAX_PAGE}", field="limit")
        if not search.event:
            search = search.model_copy(update={"event": ACCESS_EVENTS})
        place = Cursor.read(cursor, search) if cursor else None
        reader.require(Permission.ACCESS_LOG)
        await self.gate.record(reader, Permission.ACCESS_LOG, "access_log", await self.gate.name_search(search))
        async with self._connect() as connection:
            return await search_events(connection, search, agency=reader.agency, cursor=place, most=limit)

    async def access_report(self, reader: Reader, *, since: datetime, until: datetime) -> AccessReport:
        """Return everybody's use of the audit in a period of at most 31 days, and what of it is unusual; for one agency, its own people's.

        Raises:
            NotPermitted, MalformedMessage, StoreUnavailable, IntegrityBroken: as for ``search``.
        """
        span = f"since={since.isoformat()} until={until.isoformat()}"
        await self.gate.record(reader, Permission.ACCESS_LOG, "access_report", span)
        directory = (await self.registry.current()).directory
        own = None if reader.agency is None else [p.id for p in directory.people if p.agency == reader.agency]
        async with self._connect() as connection:
            return await read_access(
                connection,
                since=since,
                until=until,
                timezone=directory.partnership.timezone,
                people=own,
                rules=read_rules(directory.local_policy.get(SETTINGS, {})),
            )

    async def overview(self, reader: Reader) -> Overview:
        """Return today's counts and the log's state.

        Raises:
            NotPermitted, StoreUnavailable, IntegrityBroken: as for ``search``.
        """
        await self.gate.record_overview(reader)
        directory = (await self.registry.current()).directory
        zone = ZoneInfo(directory.partnership.timezone)
        now = self.clock()
        midnight = datetime.combine(now.astimezone(zone).date(), time(), zone)
        async with self._connect() as connection:
            return await read_overview(
                connection,
                since=midnight,
                now=now,
                business_now=self.business_clock(),
                agency=reader.agency,
                directory=directory,
            )

    async def list_views(self, reader: Reader) -> list[saved_views.SavedView]:
        """Return the reader's own saved searches."""
        reader.require(Permission.SEARCH)
        async with self._connect() as connection:
            return await saved_views.list_views(connection, reader.person)

    async def save_view(self, reader: Reader, name: str, search: SearchFilter) -> None:
        """Keep a search under a name of the reader's own.

        Raises:
            MalformedMessage, TooManyViews: the name is not of its form, or there are 50.
        """
        reader.require(Permission.SEARCH)
        async with self._connect() as connection:
            await saved_views.save_view(connection, reader.person, name, search, now=self.clock())

    async def delete_view(self, reader: Reader, name: str) -> None:
        """Forget one of the reader's saved searches.

        Raises:
            NotFound: there is none of that name.
        """
        reader.require(Permission.SEARCH)
        async with self._connect() as connection:
            await saved_views.delete_view(connection, reader.person, name)

    async def consents(self, reader: Reader, **asked: Any) -> list[registers.ConsentLine]:
        """Return the newest entry of each consent (``registers.list_consents``)."""
        return await self._read_register(reader, "consents", registers.list_consents, agency=reader.agency, **asked)

    async def consent(self, reader: Reader, consent_id: str) -> list[registers.ConsentLine]:
        """Return the entries of one consent, oldest first.

        Raises:
            NotFound: there is none, or another agency recorded it.
        """
        SearchFilter.read({"id": consent_id})
        subject = await self.gate.name_ids([consent_id])
        return await self._read_register(
            reader, "consent", registers.list_consent_entries, consent_id, subject=subject, agency=reader.agency
        )

    async def quarantine(self, reader: Reader, **asked: Any) -> list[registers.QuarantineLine]:
        """Return what is in quarantine (``registers.list_quarantine``)."""
        return await self._read_register(reader, "quarantine", registers.list_quarantine, agency=reader.agency, **asked)

    async def agencies(self, reader: Reader) -> list[registers.AgencyLine]:
        """Return the directory's agencies, their keys, when they were last heard and how far they witness."""
        snapshot = await self.registry.current()
        return await self._read_register(
            reader, "agencies", registers.list_agencies, snapshot, agency=reader.agency, now=self.clock()
        )

    async def checkpoints(self, reader: Reader, **asked: Any) -> list[registers.CheckpointLine]:
        """Return signed heads of the log and who cosigned them (``registers.list_checkpoints``)."""
        return await self._read_register(reader, "checkpoints", registers.list_checkpoints, **asked)

    async def agreements(self, reader: Reader) -> list[AgreementLine]:
        """Return the directory's data-sharing agreements: all, or those of the reader's agency."""
        await self.gate.record(reader, Permission.REGISTERS, "agreements")
        directory = (await self.registry.current()).directory
        today = self.business_clock().astimezone(ZoneInfo(directory.partnership.timezone)).date()
        return [
            AgreementLine(a, a.starts_on <= today <= a.ends_on, tuple(list_agreement_warnings([a], today)))
            for a in directory.agreements
            if reader.agency is None or reader.agency in a.parties
        ]

    async def policies(self, reader: Reader) -> PoliciesInForce | None:
        """Return the rules in force in the words that people are told; none in a process that holds no packs.

        Raises:
            PolicyNotHeld: the directory names a pack that is not here.
        """
        await self.gate.record(reader, Permission.REGISTERS, "policies")
        if self.shelf is None:
            return None
        snapshot = await self.registry.current()
        pack = self.shelf.find_pack(snapshot)
        lines = (PolicyLine(p.id, p.row, p.effect, p.reason, p.authority) for p in pack.policies.values())
        named = snapshot.directory.policy_digest
        return PoliciesInForce(pack.id, pack.title, pack.digest, named, tuple(sorted(lines, key=_by_row)))

    async def _read_register(
        self,
        reader: Reader,
        action: str,
        read: Callable[..., Awaitable[T]],
        *args: Any,
        subject: str = "",
        **asked: Any,
    ) -> T:
        await self.gate.record(reader, Permission.REGISTERS, action, subject)
        async with self._connect() as connection:
            return await read(connection, *args, **asked)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Connection]:
        with translate_errors():
            async with self.pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
                yield connection


def read_rules(settings: dict[str, Any]) -> UnusualRules:
    """Return the figures from which use is unusual, with a partnership's own in place of ours.

    Raises:
        MalformedMessage: a setting is unknown or not of its form.
    """
    given = dict(settings)
    try:
        for name in ("day_starts", "day_ends"):
            if name in given:
                given[name] = time.fromisoformat(given[name])
        return UnusualRules(**given)
    except (TypeError, ValueError):
        raise MalformedMessage("is not of its form", field=f"local_policy.{SETTINGS}") from None


def _by_row(line: PolicyLine) -> tuple[str, str]:
    return line.row, line.id
