"""Inspection reports for people with a key of their own: as JSON, CSV or SVG, suppressed as in the console. Every call is logged first."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response

from broker.api.answers import answer_json, describe
from broker.api.audit_routes import AuditCaller
from broker.api.context import Context
from broker.audit.scope import Permission, Reader
from broker.reports.catalogue import REPORTS, find_report
from broker.reports.csv_form import write_csv
from broker.reports.json_form import describe_report, to_json
from broker.reports.making import DirectoryShelf, ReportMaker
from broker.reports.periods import ReportFilters, local_day
from broker.reports.plots import draw_plot
from broker.reports.report import Report, ReportResult
from broker.reports.tables import ShownTable
from broker.store.pool import translate_errors
from schemas.errors import NotFound, NotPermitted

router = APIRouter(prefix="/v1/audit/reports", tags=["audit"])

_SHELF: Final = DirectoryShelf()
_EXAMPLE: Final = {"report": "clocks", "number": 2, "title": "Statutory clocks", "threshold": 5, "tables": []}
Id = Annotated[str, Path(max_length=40)]
Name = Annotated[str, Path(max_length=40)]
Day = Annotated[str, Query(max_length=10, examples=["2026-11-01"])]
Code = Annotated[str, Query(max_length=80)]


@router.get("", summary="List the inspection reports", openapi_extra=describe(answer={"reports": [_EXAMPLE]}))
async def list_reports(context: Context, reader: AuditCaller) -> Response:
    """Return each report's question, measures, filters, and what it cannot say and who can."""
    _require_partnership(reader)
    await context.audit.gate.record(reader, Permission.REPORTS, "reports")
    return answer_json({"reports": [describe_report(report) for report in REPORTS]})


@router.get("/{report_id}", summary="An inspection report", openapi_extra=describe(answer=_EXAMPLE))
async def show_report(  # noqa: PLR0917 - the query's parameters, for the API's description
    request: Request,
    report_id: Id,
    context: Context,
    reader: AuditCaller,
    first: Annotated[str, Query(alias="from", max_length=10)] = "",
    to: Day = "",
    area: Code = "",
    agency: Code = "",
    kind: Code = "",
) -> Response:
    """Return tables under a period (whole local days) and filters. A report's own filters are query parameters too."""
    return answer_json(to_json(await _make(request, report_id, context, reader, "report")))


@router.get(
    "/{report_id}/{table}.csv",
    summary="One table of a report as CSV",
    openapi_extra=describe(answer="Clock,Clocks…", media_type="text/csv"),
)
async def show_csv(request: Request, report_id: Id, table: Name, context: Context, reader: AuditCaller) -> Response:
    """Return a table for spreadsheets; takes the same query as the report."""
    result = await _make(request, report_id, context, reader, "export_report")
    return Response(write_csv(_find_table(result, table)), media_type="text/csv; charset=utf-8")


@router.get(
    "/{report_id}/{table}.svg",
    summary="One table's plot as SVG",
    openapi_extra=describe(answer="<svg…", media_type="image/svg+xml"),
)
async def show_svg(request: Request, report_id: Id, table: Name, context: Context, reader: AuditCaller) -> Response:
    """Return a table's plot; takes the same query as the report."""
    result = await _make(request, report_id, context, reader, "report")
    found = _find_table(result, table)
    plot = next((p for p in result.plots if p.table == table), None)
    if plot is None:
        raise NotFound("that table has no plot", field="table")
    return Response(draw_plot(plot, found), media_type="image/svg+xml")


async def _make(request: Request, report_id: str, context: Context, reader: Reader, action: str) -> ReportResult:
    _require_partnership(reader)
    report: Report = find_report(report_id)
    audit = context.audit
    filters = ReportFilters.read(dict(request.query_params), today=local_day(audit.business_clock()))
    await audit.gate.record(
        reader, Permission.REPORTS, action, f"{report.id} {filters.period.first} {filters.period.last}"
    )
    maker = ReportMaker(audit.business_clock, threshold=context.report_threshold, shelf=_SHELF)
    with translate_errors():
        async with audit.pool.acquire(timeout=10) as connection:
            return await maker.make(connection, report, filters)


def _require_partnership(reader: Reader) -> None:
    """Refuse people of one agency: reports are about all of them.

    Raises:
        NotPermitted: the reader may not see reports, or belongs to one agency.
    """
    reader.require(Permission.REPORTS)
    if reader.agency is not None:
        raise NotPermitted("reports are about the whole partnership, so only its own people can see them")


def _find_table(result: ReportResult, name: str) -> ShownTable:
    table = result.find_table(name)
    if table is None:
        raise NotFound("the report has no such table", field="table")
    return table
