"""Options that several commands of ``safelane audit`` share, and what is made of them: whom a command asks, and what it searches for.

``@with_source`` and ``@with_search`` give a command those options; the command itself takes ``source`` and ``asked`` in their place.
"""

import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from deploy.cli.personal_key import Hub, PassphraseFile, Trust

if TYPE_CHECKING:
    from deploy.audit_here import LocalAudit
    from deploy.audit_link import AuditLink

    Source = AuditLink | LocalAudit

Command = Callable[..., None]
Options = Mapping[str, tuple[Any, Any]]
"""Parameter's name to its annotation and its default."""

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

SOURCE_OPTIONS: Final[Options] = {
    "key": (Key, None),
    "hub": (Hub, ""),
    "trust": (Trust, Path("trust.json")),
    "passphrase_file": (PassphraseFile, None),
    "config": (Config, Path("hub.yaml")),
    "by": (By, ""),
}
PERIOD_OPTIONS: Final[Options] = {"person": (Person, None), "since": (Since, None), "until": (Until, None)}
SEARCH_OPTIONS: Final[Options] = {
    "event": (Events, None),
    "agency": (Agency, None),
    "kind": (Kinds, None),
    "state": (States, None),
    "rule": (Rules, None),
    "id": (Id, None),
    "token": (Token, None),
    **PERIOD_OPTIONS,
}


def with_source(command: Command) -> Command:
    """Give ``command`` the options that say whom it asks; it takes ``source``."""
    return _add_options(command, SOURCE_OPTIONS, "source", open_source)


def with_search(command: Command) -> Command:
    """Give ``command`` the filters of a search; it takes ``asked``."""
    return _add_options(command, SEARCH_OPTIONS, "asked", write_search)


def open_source(
    *, key: Path | None, hub: str, trust: Path, passphrase_file: Path | None, config: Path, by: str
) -> "Source":
    """Return the API for who has a key, else the database of this machine's hub.

    Raises:
        ConfigInvalid: a file cannot be read, or a key comes without a hub.
    """
    if key is None:
        import getpass

        from broker.config import load_config
        from deploy.audit_here import LocalAudit

        return LocalAudit(load_config(config), by or getpass.getuser())
    from deploy.audit_link import AuditLink
    from deploy.authority.signing import read_trust
    from deploy.cli.personal_key import open_key
    from schemas.errors import ConfigInvalid

    if not hub:
        raise ConfigInvalid("is needed with --key", field="--hub")
    link = AuditLink(hub, read_trust(trust).ca_pem, lambda: datetime.now(UTC))
    link.person = open_key(key, passphrase_file)
    return link


def write_search(**members: Any) -> dict[str, Any]:
    """Return a search's members without those that were not given; instants without a zone are UTC."""
    given: dict[str, Any] = {}
    for name, value in members.items():
        if isinstance(value, datetime):
            given[name] = (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
        elif value:
            given[name] = value
    return given


def _add_options(command: Command, options: Options, name: str, make: Callable[..., Any]) -> Command:
    """Return a command with ``options`` where ``command`` takes ``name``, which ``make`` makes of them."""
    own = [p for p in inspect.signature(command).parameters.values() if p.name != name]
    added = [
        inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for option, (annotation, default) in options.items()
    ]

    def run(**given: Any) -> None:
        made = make(**{option: given.pop(option) for option in options})
        command(**{name: made}, **given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (*own, *added)}
    return run
