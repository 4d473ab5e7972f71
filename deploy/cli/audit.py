"""``safelane audit``: what happened to referrals, who looked at what, from the hub's records and its log: over the API or on the hub's own machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli import audit_report
from deploy.cli.audit_options import Config, Person, Since, Until, with_search, with_source, write_search
from deploy.cli.chronology import chronology

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.cli.audit_options import Source

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.command(epilog=audit_report.EPILOG)(audit_report.report)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100, help="Most events to print.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="Go on where the last page ended.")]

EXIT_CODES = (
    "Exit codes: 0 done, 1 refused or not found, 2 wrong usage, 3 the hub is unavailable, 4 an integrity check failed."
)


@app.callback(epilog=EXIT_CODES)
def describe() -> None:
    """Search the log, show a referral, see who looked at what. Every look is an event of the log, written before anything is shown."""


@app.command(
    epilog="Example: safelane audit search --kind CP_S47 --state held --since 2026-11-01 --key ann.key.json --hub https://hub.example.org:8443 --trust trust.json"
)
@with_source
@with_search
def search(
    *,
    asked: dict[str, Any],
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
    source: "Source",
) -> None:
    """Find events, newest first; no filter finds all of them."""
    page = source.search(asked, cursor=cursor, limit=limit)
    _print_page(page, as_json=as_json)


@app.command(epilog="Example: safelane audit show ref_3kq9x2vw --by ann --config hub.yaml")
@with_source
def show(
    searched_id: Annotated[str, typer.Argument(metavar="ID", help="A referral, message or delivery id.")],
    *,
    proofs: Annotated[
        Path | None,
        typer.Option(help="Write its events' bytes and proofs to this new file instead; safelane verify checks it."),
    ] = None,
    as_json: AsJson = False,
    source: "Source",
) -> None:
    """Show messages, decisions with rule and reason, receipts, holds, clocks, and the positions of their events in the log."""
    from deploy.cli.audit_view import print_referral

    if proofs is not None:
        _write_proofs(proofs, lambda: source.prove({"id": searched_id}))
        return
    view = source.show(searched_id)
    if as_json:
        _print_json(view)
    else:
        print_referral(view)


@app.command(
    epilog="Example: safelane audit export events.csv --agency csc.marchshire --since 2026-11-01 --by ann --config hub.yaml"
)
@with_source
@with_search
def export(
    file: Annotated[Path, typer.Argument(help="New file; .csv, .jsonl or .proofs.json says how it is written.")],
    *,
    position: Annotated[
        int | None, typer.Option(min=0, help="With .proofs.json, the one event at this position of the log.")
    ] = None,
    asked: dict[str, Any],
    source: "Source",
) -> None:
    """Write what a search finds to a file: up to 100,000 events as CSV or JSON lines, up to 200 with their bytes and proofs. It is an event of the log."""
    from deploy.cli.audit_view import write_file
    from schemas.errors import ConfigInvalid

    form, proves = file.suffix.removeprefix("."), file.name.endswith(".proofs.json")
    if form not in {"csv", "jsonl"} and not proves:
        raise ConfigInvalid("must end in .csv, .jsonl or .proofs.json", field="FILE")
    if position is not None and not proves:
        raise ConfigInvalid("is for a file that ends in .proofs.json", field="--position")
    if proves:
        _write_proofs(file, lambda: source.prove(asked) if position is None else source.prove_position(position))
        return
    lines = write_file(file, lambda write: source.export(asked, _form(form), write))
    typer.echo(f"{file}: {lines} lines.")


@app.command(
    epilog="Example: safelane audit access --unusual --since 2026-11-01 --until 2026-12-01 --by ann --config hub.yaml"
)
@with_source
def access(
    *,
    unusual: Annotated[
        bool,
        typer.Option(
            "--unusual", help="Counts by person and what is unusual, for --since to --until (31 days at most)."
        ),
    ] = False,
    person: Person = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
    source: "Source",
) -> None:
    """Show who did or looked at what, newest first; or everybody's counts and what is unusual."""
    from deploy.cli.audit_view import print_access, read_period

    if not unusual:
        _print_page(
            source.access(write_search(person=person, since=since, until=until), cursor=cursor, limit=limit),
            as_json=as_json,
        )
        return
    first, last = read_period(since, until)
    report = source.access_report(since=first, until=last)
    if as_json:
        _print_json(report)
    else:
        print_access(report)


@app.command(epilog="Example: safelane audit reindex --config hub.yaml")
def reindex(config: Config = Path("hub.yaml")) -> None:
    """Make what searches read again from the log. Until it is done a search says up to which position it is complete. A kill loses nothing."""
    import getpass

    from broker.config import load_config
    from deploy.audit_here import LocalAudit
    from deploy.cli.progress import show_progress

    with show_progress("events") as report:
        size = LocalAudit(load_config(config), getpass.getuser()).reindex(report)
    typer.echo(f"Searches are complete up to position {size}.")


app.command(
    "chronology",
    epilog="Example: safelane audit chronology child.token --key ann.key.json --hub https://hub.example.org:8443 --trust trust.json",
)(chronology)


def _write_proofs(file: Path, fetch: "Callable[[], bytes]") -> None:
    import json

    from deploy.cli.audit_view import write_file

    found = b""

    def write_whole(write: "Callable[[bytes], Any]") -> None:
        nonlocal found
        found = fetch()
        write(found)

    write_file(file, write_whole)
    left_out = len(json.loads(found).get("left_out", ()))
    if left_out:
        typer.echo(
            f"{left_out} newer events are left out: the witnesses have not cosigned them yet. Ask again in a minute."
        )
    typer.echo(f"{file}: check it with: safelane verify {file} --trust trust.json")


def _form(name: str) -> Any:
    from broker.audit.exporting import ExportFormat

    return ExportFormat(name)


def _print_page(page: dict[str, Any], *, as_json: bool) -> None:
    from deploy.cli.audit_view import print_events

    if as_json:
        _print_json(page)
    else:
        print_events(page)


def _print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=1))
