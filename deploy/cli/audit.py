"""``safelane audit``: what happened to referrals, who looked at what, from the hub's records and its log: over the API or on the hub's own machine."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli import audit_report
from deploy.cli.chronology import chronology
from deploy.cli.personal_key import Hub, PassphraseFile, Trust

if TYPE_CHECKING:
    from deploy.audit_here import LocalAudit
    from deploy.audit_link import AuditLink

    Source = AuditLink | LocalAudit

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.command(epilog=audit_report.EPILOG)(audit_report.report)

Key = Annotated[
    Path | None,
    typer.Option("--key", help="Your own key file (safelane authority make-person); needs --hub and --trust."),
]
Config = Annotated[
    Path, typer.Option("--config", help="On the hub's own machine, without --key: the hub's configuration file (YAML).")
]
By = Annotated[
    str, typer.Option("--by", help="With --config, who looks: your person id; default: your user name here.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100, help="Most events to print.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="Go on where the last page ended.")]
Events = Annotated[list[str] | None, typer.Option("--event", help="Kind of event (docs/events.md); repeat for more.")]
Kinds = Annotated[list[str] | None, typer.Option("--kind", help="Kind of referral (CP_S47 …); repeat for more.")]
States = Annotated[
    list[str] | None, typer.Option("--state", help="Outcome, receipt state or code of the event; repeat for more.")
]
Rules = Annotated[list[str] | None, typer.Option("--rule", help="Row of the decision table (D5 …); repeat for more.")]
Agency = Annotated[str | None, typer.Option("--agency", help="An agency that sent or received.")]
Id = Annotated[str | None, typer.Option("--id", help="A referral, message or delivery id.")]
Token = Annotated[str | None, typer.Option("--token", help="A child's token: scheme|pepper id|value.")]
Person = Annotated[str | None, typer.Option("--person", help="Who acted or looked.")]
Since = Annotated[datetime | None, typer.Option("--since", help="From this instant on (UTC).")]
Until = Annotated[datetime | None, typer.Option("--until", help="Before this instant (UTC).")]

EXIT_CODES = (
    "Exit codes: 0 done, 1 refused or not found, 2 wrong usage, 3 the hub is unavailable, 4 an integrity check failed."
)


@app.callback(epilog=EXIT_CODES)
def describe() -> None:
    """Search the log, show a referral, see who looked at what. Every look is an event of the log, written before anything is shown."""


@app.command(
    epilog="Example: safelane audit search --kind CP_S47 --state held --since 2026-11-01 --key ann.key.json --hub https://hub.example.org:8443 --trust trust.json"
)
def search(
    *,
    event: Events = None,
    agency: Agency = None,
    kind: Kinds = None,
    state: States = None,
    rule: Rules = None,
    searched_id: Id = None,
    token: Token = None,
    person: Person = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
    key: Key = None,
    hub: Hub = "",
    trust: Trust = Path("trust.json"),
    passphrase_file: PassphraseFile = None,
    config: Config = Path("hub.yaml"),
    by: By = "",
) -> None:
    """Find events, newest first; no filter finds all of them."""
    asked = _ask(event=event, agency=agency, kind=kind, state=state, rule=rule, id=searched_id, token=token)
    asked |= _ask(person=person, since=since, until=until)
    page = _open(key, hub, trust, passphrase_file, (config, by)).search(asked, cursor=cursor, limit=limit)
    _print_page(page, as_json=as_json)


@app.command(epilog="Example: safelane audit show ref_3kq9x2vw --by ann --config hub.yaml")
def show(
    searched_id: Annotated[str, typer.Argument(metavar="ID", help="A referral, message or delivery id.")],
    *,
    as_json: AsJson = False,
    key: Key = None,
    hub: Hub = "",
    trust: Trust = Path("trust.json"),
    passphrase_file: PassphraseFile = None,
    config: Config = Path("hub.yaml"),
    by: By = "",
) -> None:
    """Show messages, decisions with rule and reason, receipts, holds, clocks, and the positions of their events in the log."""
    from deploy.cli.audit_view import print_referral

    view = _open(key, hub, trust, passphrase_file, (config, by)).show(searched_id)
    if as_json:
        _print_json(view)
    else:
        print_referral(view)


@app.command(
    epilog="Example: safelane audit export events.csv --agency csc.marchshire --since 2026-11-01 --by ann --config hub.yaml"
)
def export(
    file: Annotated[Path, typer.Argument(help="File to write; .csv or .jsonl says how. It must not exist.")],
    *,
    event: Events = None,
    agency: Agency = None,
    kind: Kinds = None,
    state: States = None,
    rule: Rules = None,
    searched_id: Id = None,
    token: Token = None,
    person: Person = None,
    since: Since = None,
    until: Until = None,
    key: Key = None,
    hub: Hub = "",
    trust: Trust = Path("trust.json"),
    passphrase_file: PassphraseFile = None,
    config: Config = Path("hub.yaml"),
    by: By = "",
) -> None:
    """Write what a search finds to a file: up to 100,000 events, as CSV or JSON lines. The export is an event of the log."""
    from deploy.cli.audit_view import write_file
    from schemas.errors import ConfigInvalid

    form = file.suffix.removeprefix(".")
    if form not in {"csv", "jsonl"}:
        raise ConfigInvalid("must end in .csv or .jsonl", field="FILE")
    asked = _ask(event=event, agency=agency, kind=kind, state=state, rule=rule, id=searched_id, token=token)
    asked |= _ask(person=person, since=since, until=until)
    source = _open(key, hub, trust, passphrase_file, (config, by))
    lines = write_file(file, lambda write: source.export(asked, _form(form), write))
    typer.echo(f"{file}: {lines} lines.")


@app.command(
    epilog="Example: safelane audit access --unusual --since 2026-11-01 --until 2026-12-01 --by ann --config hub.yaml"
)
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
    key: Key = None,
    hub: Hub = "",
    trust: Trust = Path("trust.json"),
    passphrase_file: PassphraseFile = None,
    config: Config = Path("hub.yaml"),
    by: By = "",
) -> None:
    """Show who did or looked at what, newest first; or everybody's counts and what is unusual."""
    from deploy.cli.audit_view import print_access, read_period

    source = _open(key, hub, trust, passphrase_file, (config, by))
    if not unusual:
        _print_page(
            source.access(_ask(person=person, since=since, until=until), cursor=cursor, limit=limit), as_json=as_json
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


def _open(key: Path | None, hub: str, trust: Path, passphrase_file: Path | None, here: tuple[Path, str]) -> "Source":
    """Return the API for who has a key, else the database of this machine's hub."""
    if key is None:
        import getpass

        from broker.config import load_config
        from deploy.audit_here import LocalAudit

        config, by = here
        return LocalAudit(load_config(config), by or getpass.getuser())
    from datetime import UTC

    from deploy.audit_link import AuditLink
    from deploy.authority.signing import read_trust
    from deploy.cli.personal_key import open_key
    from schemas.errors import ConfigInvalid

    if not hub:
        raise ConfigInvalid("is needed with --key", field="--hub")
    link = AuditLink(hub, read_trust(trust).ca_pem, lambda: datetime.now(UTC))
    link.person = open_key(key, passphrase_file)
    return link


def _ask(**members: Any) -> dict[str, Any]:
    """Return a search's members without those that were not given; instants without a zone are UTC."""
    from datetime import UTC

    given: dict[str, Any] = {}
    for name, value in members.items():
        if isinstance(value, datetime):
            given[name] = (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
        elif value:
            given[name] = value
    return given


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
