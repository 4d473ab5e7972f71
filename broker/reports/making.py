"""Makes a report: reads its counts and what it looks up, names agencies, calls its function, suppresses small numbers."""

from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256

from pydantic import ValidationError

from broker.registry.versions import read_latest_directory
from broker.reports.cell_store import read_sums
from broker.reports.periods import ReportFilters
from broker.reports.report import LookContext, Report, ReportData, ReportResult
from broker.reports.suppression import DEFAULT_THRESHOLD, protect_tables
from broker.store.pool import Connection
from schemas.canonical import parse_object
from schemas.directory import Directory
from schemas.errors import IntegrityBroken, SafelaneError
from schemas.jose.jws import peek_payload
from schemas.objects.signed import MAX_OBJECT_BYTES


class DirectoryShelf:
    """The directory version that is in force, parsed once. The registry verified it before it was stored."""

    def __init__(self) -> None:
        """Start without one."""
        self._digest = b""
        self._directory: Directory | None = None

    async def read(self, connection: Connection) -> Directory | None:
        """Return the newest directory, or none while there is none.

        Raises:
            IntegrityBroken: what is stored is no directory.
        """
        body = await read_latest_directory(connection)
        if body is None:
            return None
        digest = sha256(body).digest()
        if digest != self._digest:
            try:
                payload = peek_payload(parse_object(body, max_bytes=MAX_OBJECT_BYTES, field="directory"))
                self._directory = Directory.model_validate_json(payload)
            except (SafelaneError, ValidationError):
                raise IntegrityBroken("a stored directory cannot be read", field="directory_versions.body") from None
            self._digest = digest
        return self._directory


class ReportMaker:
    """Makes reports. ``clock`` is the business clock: what is overdue now is overdue by it."""

    def __init__(
        self, clock: Callable[[], datetime], *, threshold: int = DEFAULT_THRESHOLD, shelf: DirectoryShelf | None = None
    ) -> None:
        """Keep the clock and the threshold below which a count is not shown (a setting of the hub)."""
        self._clock = clock
        self.threshold = threshold
        self._shelf = shelf or DirectoryShelf()

    async def make(self, connection: Connection, report: Report, filters: ReportFilters) -> ReportResult:
        """Return a report under filters.

        Raises:
            ReportAskedWrongly: one of its own filters is not of its form.
        """
        now = self._clock()
        directory = await self._shelf.read(connection)
        sums = await read_sums(connection, report.reads, filters)
        found = await report.look(LookContext(connection, filters, now, directory)) if report.look is not None else {}
        data = ReportData(tuple(sums), filters, now, found, name_agencies(directory))
        made = report.build(data)
        shown = protect_tables(made.tables, self.threshold)
        return ReportResult(report, filters, now, tuple(shown), made.plots, made.notes, self.threshold)

    async def list_choices(self, connection: Connection) -> dict[str, list[tuple[str, str]]]:
        """Return what can be chosen as area and agency: (id, name)."""
        directory = await self._shelf.read(connection)
        if directory is None:
            return {"area": [], "agency": []}
        return {
            "area": [(area.gss, area.name or area.gss) for area in directory.partnership.areas],
            "agency": sorted(((a.id, a.name) for a in directory.agencies), key=lambda pair: pair[1]),
        }


def name_agencies(directory: Directory | None) -> Mapping[str, str]:
    """Return agencies' and areas' names by id."""
    if directory is None:
        return {}
    names = {agency.id: agency.name for agency in directory.agencies}
    names |= {area.gss: area.name or area.gss for area in directory.partnership.areas}
    return names
