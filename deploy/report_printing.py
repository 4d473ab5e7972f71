"""Inspection reports at the command line: the look logged first, then the report as text, CSV, JSON or SVG."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import typer

from broker.config import load_config, read_log_key
from broker.log import LogWriter, NewEvent
from broker.reports.catalogue import REPORTS, find_report
from broker.reports.csv_form import write_csv
from broker.reports.json_form import to_json
from broker.reports.making import ReportMaker
from broker.reports.periods import ReportFilters, local_day
from broker.reports.plots import draw_plot
from broker.reports.report import ReportResult
from broker.reports.tables import ShownTable
from deploy.clock import build_business_clock
from deploy.hub_status import open_operator
from schemas.errors import NotFound

_WIDEST = 48


async def read_report(config: Path, report_id: str, given: Mapping[str, str], *, by: str) -> ReportResult:
    """Log the look, then make the report.

    Raises:
        NotFound: there is no such report.
        ReportAskedWrongly: a filter is not of its form.
        StoreUnavailable: it cannot be logged; nothing is shown.
    """
    settings = load_config(config)
    report, clock = find_report(report_id), build_business_clock(settings.clock_file, settings.environment)
    filters = ReportFilters.read(given, today=local_day(clock()))
    log = LogWriter(settings.log.origin, read_log_key(settings.log.key_file), epoch=settings.log.epoch)
    now = datetime.now(UTC)
    subject = f"{report.id} {filters.period.first} {filters.period.last}"
    members = {"at": now.isoformat(), "by": by, "action": "report", "subject": subject}
    async with open_operator(settings) as (pool, _), pool.acquire(timeout=10) as connection:
        async with connection.transaction():
            await log.append(connection, [NewEvent.salted("audit_read", members)], at=now)
        return await ReportMaker(clock, threshold=settings.reports.threshold).make(connection, report, filters)


def list_reports() -> None:
    """Print the reports' ids and questions."""
    for report in REPORTS:
        typer.echo(f"{report.number:2}  {report.id:12} {report.question}")


def print_report(result: ReportResult, *, csv_table: str, svg_table: str, as_json: bool) -> None:
    """Print a report in one of its forms.

    Raises:
        NotFound: it has no such table, or that table no plot.
    """
    if csv_table:
        typer.echo(write_csv(_find(result, csv_table)), nl=False)
    elif svg_table:
        table = _find(result, svg_table)
        plot = next((p for p in result.plots if p.table == table.name), None)
        if plot is None:
            raise NotFound("that table has no plot", field="svg")
        typer.echo(draw_plot(plot, table))
    elif as_json:
        typer.echo(json.dumps(to_json(result), indent=1, ensure_ascii=False))
    else:
        _print_text(result)


def _find(result: ReportResult, name: str) -> ShownTable:
    table = result.find_table(name)
    if table is None:
        raise NotFound(f"the report has the tables {', '.join(t.name for t in result.tables)}", field="table")
    return table


def _print_text(result: ReportResult) -> None:
    typer.secho(f"{result.report.number}. {result.report.title}", bold=True)
    typer.echo(result.report.question)
    typer.echo(
        f"{result.filters.period.first} to {result.filters.period.last}; counts under {result.threshold} are not shown"
    )
    for table in result.tables:
        typer.secho(f"\n{table.title} ({table.name})", bold=True)
        texts = [[column.title for column in table.columns], *([cell.text for cell in row] for row in table.rows)]
        widths = [min(_WIDEST, max(len(row[i]) for row in texts)) for i in range(len(table.columns))]
        for row in texts:
            typer.echo("  ".join(text[:_WIDEST].ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
        if not table.rows:
            typer.echo("nothing to show")
    for what, who in result.report.cannot_say:
        typer.echo(f"\nNot here: {what}. Who can answer: {who}.")
