"""``safelane audit report``: an inspection report as text, CSV, JSON or SVG."""

import getpass
from pathlib import Path
from typing import Annotated

import typer

EPILOG = "Example: safelane audit report clocks --from 2026-11-01 --to 2026-11-30 --csv clocks"


def report(  # noqa: PLR0917 - options of a command
    report_id: Annotated[str, typer.Argument(metavar="ID", help="A report's id, or 'list'.")],
    first: Annotated[str, typer.Option("--from", help="First day, YYYY-MM-DD; default: 90 days before the last.")] = "",
    last: Annotated[str, typer.Option("--to", help="Last day, YYYY-MM-DD; default: today.")] = "",
    only: Annotated[
        list[str] | None, typer.Option("--filter", help="NAME=VALUE: area, agency, kind, hours, at, referral.")
    ] = None,
    csv_table: Annotated[str, typer.Option("--csv", metavar="TABLE", help="Print one table as CSV.")] = "",
    svg_table: Annotated[str, typer.Option("--svg", metavar="TABLE", help="Print one table's plot as SVG.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: Annotated[Path, typer.Option("--config", help="The hub's configuration file (YAML).")] = Path("hub.yaml"),
    by: Annotated[str, typer.Option(help="Who looks: your person id; default: your user name here.")] = "",
) -> None:
    """Make an inspection report. Small numbers are suppressed here too, and the look is logged first."""
    import asyncio

    from deploy.report_printing import list_reports, print_report, read_report

    if report_id == "list":
        list_reports()
        return
    filters = {"from": first, "to": last, **dict(text.partition("=")[::2] for text in only or ())}
    result = asyncio.run(read_report(config, report_id, filters, by=by or getpass.getuser()))
    print_report(result, csv_table=csv_table, svg_table=svg_table, as_json=as_json)
