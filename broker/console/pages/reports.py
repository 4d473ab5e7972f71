"""Inspection reports: the twenty questions, each with filters, plots, tables and CSV. They are about the whole partnership, and shown to its people alone."""

from collections.abc import Mapping
from typing import Final

from fastapi import Request, Response
from markupsafe import Markup

from broker.console.access import Capability
from broker.console.forms import Form
from broker.console.page import Page, PageContext
from broker.console.routing import Pages
from broker.reports.catalogue import REPORTS, find_report
from broker.reports.csv_form import write_csv
from broker.reports.making import DirectoryShelf, ReportMaker
from broker.reports.periods import ReportAskedWrongly, ReportFilters, local_day
from broker.reports.plots import draw_plot
from broker.reports.report import Filter, Report, ReportResult
from broker.reports.words import KINDS
from schemas.errors import NotFound

_SHELF: Final = DirectoryShelf()
_DAYS: Final = ("from", "to")
_MOST_ROWS: Final = 1000
"""Rows of a table on a page; its CSV has all."""

pages = Pages("reports", navigation=("Reports", "/reports", Capability.READ_REPORTS, 55, True))


class PartnershipOnly(NotFound):
    """The page is about all agencies, and the viewer belongs to one."""

    code = "partnership-only"
    public_message = "Reports are about the whole partnership, so only its own people can see them."


def describe_request(request: Request) -> str:
    """Return what a report was asked for: its id and period. What else was typed may be anything, and is not repeated."""
    report = str(request.path_params.get("report_id", ""))
    known = report if any(report == r.id for r in REPORTS) else "unknown"
    try:
        asked = read_question(request.query_params)
        period = ReportFilters.read(asked, today=local_day(request.app.state.context.clock())).period
    except ReportAskedWrongly:
        return known
    return f"{known} {period.first} {period.last}"


def read_question(query: Mapping[str, str]) -> dict[str, str]:
    """Return a report's filters as its address has them; the days that a form sends in three fields each become one, YYYY-MM-DD.

    Raises:
        ReportAskedWrongly: a day is no real date.
    """
    form, asked = _read_form(query), dict(query)
    for name in _DAYS:
        day = form.day(name)
        if name in form.errors:
            raise ReportAskedWrongly("must be a real date, for example 27 3 2026", field=name)
        for part in ("day", "month", "year"):
            asked.pop(f"{name}-{part}", None)
        if day is not None:
            asked[name] = day.isoformat()
    return asked


def open_maker(page: PageContext) -> ReportMaker:
    """Return the maker of reports, for people of the whole partnership.

    Raises:
        PartnershipOnly: the viewer belongs to one agency.
    """
    if page.user.agency is not None:
        raise PartnershipOnly
    return ReportMaker(page.context.business_clock, threshold=page.context.report_threshold, shelf=_SHELF)


@pages.read("/reports", capability=Capability.READ_REPORTS, action="reports")
async def list_reports(page: Page) -> Response:
    """List the questions and how far each can be answered."""
    open_maker(page)
    return await page.render("index.html", reports=REPORTS)


@pages.read("/reports/{report_id}", capability=Capability.READ_REPORTS, action="report", subject=describe_request)
async def show_report(page: Page, report_id: str) -> Response:
    """Show one report under the filters of its address."""
    maker, report = open_maker(page), find_report(report_id)
    page.form = _read_form(page.request.query_params)
    result: ReportResult | None = None
    async with page.connection() as connection:
        choices = await maker.list_choices(connection)
        filters = _read_filters(page)
        if filters is not None:
            try:
                result = await maker.make(connection, report, filters)
            except ReportAskedWrongly as error:
                page.form.fail_with(error, "from")
    asked = dict(page.request.query_params)
    return await page.render(
        "one.html",
        report=report,
        result=result,
        asked=asked,
        shown=list_filters(report),
        choices={**choices, "kind": list(KINDS.items())},
        plots=_draw(result) if result is not None else {},
        query=page.request.url.query,
        most_rows=_MOST_ROWS,
        period=filters.period if filters is not None else None,
    )


@pages.read(
    "/reports/{report_id}/{table}.csv",
    capability=Capability.READ_REPORTS,
    action="report_export",
    subject=describe_request,
)
async def download_table(page: Page, report_id: str, table: str) -> Response:
    """Return one table of a report as CSV, suppressed as on the page."""
    maker, report = open_maker(page), find_report(report_id)
    filters = ReportFilters.read(
        read_question(page.request.query_params), today=local_day(page.context.business_clock())
    )
    async with page.connection() as connection:
        result = await maker.make(connection, report, filters)
    found = result.find_table(table)
    if found is None:
        raise NotFound("the report has no such table", field="table")
    name = f"{report.id}-{found.name}-{filters.period.first}-{filters.period.last}.csv"
    return send_csv(page, write_csv(found), name)


def send_csv(page: PageContext, text: str, name: str) -> Response:
    """Return a file to download; ``name`` is made of our own words and dates."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return page.finish(Response(text, media_type="text/csv; charset=utf-8", headers=headers))


def list_filters(report: Report) -> list[tuple[str, str]]:
    """Return the filters of a report beside its period: name in the address, and label."""
    labels = {
        Filter.AREA: ("area", "Area"),
        Filter.SENDER: ("agency", "Sender"),
        Filter.RECIPIENT: ("agency", "Recipient"),
        Filter.KIND: ("kind", "Kind of referral"),
    }
    return [labels[name] for name in report.filters]


def _read_form(query: Mapping[str, str]) -> Form:
    return Form({name: [value] for name, value in query.items()})


def _read_filters(page: PageContext) -> ReportFilters | None:
    """Return the filters of the address, or none where one is wrong: the form says which."""
    try:
        asked = read_question(page.request.query_params)
        return ReportFilters.read(asked, today=local_day(page.context.business_clock()))
    except ReportAskedWrongly as error:
        page.form.fail_with(error, "from")
        return None


def _draw(result: ReportResult) -> dict[str, list[tuple[str, Markup]]]:
    """Return each table's plots: title and drawing. They are made of our own elements and escaped text."""
    drawn: dict[str, list[tuple[str, Markup]]] = {}
    for plot in result.plots:
        table = result.find_table(plot.table)
        if table is not None and table.rows:
            drawn.setdefault(plot.table, []).append((plot.title, Markup(draw_plot(plot, table))))  # noqa: S704
    return drawn
