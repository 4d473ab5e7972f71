"""``safelane hub retention`` and ``safelane hub hold``: what is erased when its time is over, and what stops that."""

from pathlib import Path
from typing import Annotated

import typer

retention = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, epilog="Example: safelane hub retention run --config hub.yaml"
)
hold = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, epilog="Example: safelane hub hold list --config hub.yaml"
)

Config = Annotated[Path, typer.Option("--config", help="The hub's configuration file (YAML).")]
ReasonCode = Annotated[str, typer.Option("--reason-code", help="Why, as a code; it is kept with the event.")]


@retention.callback()
def describe_retention() -> None:
    """Erase sealed bytes when their time is over; the content-free audit and every proof stay."""


@hold.callback()
def describe_hold() -> None:
    """Legal holds: what is under one is not erased, by time or on request."""


@retention.command(epilog="Example: safelane hub retention run --config hub.yaml")
def run(
    config: Config = Path("hub.yaml"),
    *,
    stay: Annotated[
        bool, typer.Option("--stay", help="Go on until told to stop, looking as often as the configuration says.")
    ] = False,
) -> None:
    """Erase what is due, in small batches, each an event of the log. Nothing under a legal hold or still under way is touched."""
    import asyncio

    from broker.config import load_config
    from deploy.hub_retention import run_retention

    if stay:
        from deploy.program_logs import set_up_logs

        set_up_logs()
    found = asyncio.run(run_retention(load_config(config), stay=stay))
    if not stay:
        typer.echo(f"Erased: the sealed bytes of {found.messages} messages and {found.quarantined} quarantined ones.")


@retention.command(epilog="Example: safelane hub retention status --config hub.yaml")
def status(config: Config = Path("hub.yaml")) -> None:
    """Show what has been kept for longer than its time, and why."""
    import asyncio

    from broker.config import load_config
    from deploy.hub_retention import count_retained

    settings = load_config(config)
    found = asyncio.run(count_retained(settings))
    typer.echo(f"Sealed bytes are kept for {settings.retention.ciphertext_after.days} days after receipt.")
    typer.echo(f"due                {found.due}")
    typer.echo(f"under a legal hold {found.held}")
    typer.echo(f"still under way    {found.under_way}")
    typer.echo(f"quarantined, due   {found.quarantined}")


@retention.command(epilog="Example: safelane hub retention erase ref_3kq9x2vw --by ann --config hub.yaml")
def erase(
    referral: Annotated[str, typer.Argument(help="The referral's id.")],
    *,
    by: Annotated[str, typer.Option(help="Who does it: your person id.")],
    config: Config = Path("hub.yaml"),
) -> None:
    """Erase all that is held of one referral, payloads and salts too, once two people have agreed ('review agree erase'). It cannot be undone."""
    import asyncio

    from broker.config import load_config
    from deploy.hub_retention import erase_referral

    entries = asyncio.run(erase_referral(load_config(config), referral, by=by))
    typer.echo(f"Erased, with the payloads of {entries} log entries. Their commitments and every proof stay.")


@hold.command(
    epilog="Example: safelane hub hold add --referral ref_3kq9x2vw --reason-code court_order --by ann --config hub.yaml"
)
def add(
    *,
    referral: Annotated[
        str | None, typer.Option(help="Hold this referral and the whole conversation that it belongs to.")
    ] = None,
    subject_token: Annotated[
        Path | None,
        typer.Option(help="Hold everything about this child: a file with the token, as scheme|pepper|value."),
    ] = None,
    reason_code: ReasonCode,
    by: Annotated[str, typer.Option(help="Who places it: your person id.")],
    config: Config = Path("hub.yaml"),
) -> None:
    """Place a legal hold, at once. Lifting it takes two people."""
    import asyncio

    from broker.config import load_config
    from deploy.hub_retention import place_hold
    from schemas.errors import ConfigInvalid

    if (referral is None) == (subject_token is None):
        raise ConfigInvalid("give one of --referral and --subject-token", field="referral")
    subject = referral or read_token(subject_token)
    scope = "referral" if referral else "subject"
    hold_id, here = asyncio.run(
        place_hold(load_config(config), scope=scope, subject=subject, reason_code=reason_code, by=by)
    )
    typer.echo(f"Hold {hold_id} is in force.")
    if here == 0:
        typer.echo("It keeps nothing now: no message of this referral is here. Check the id; one that comes is kept.")


@hold.command(epilog="Example: safelane hub hold lift 0b6f0c1e-… --by ann --config hub.yaml")
def lift(
    hold_id: Annotated[str, typer.Argument(help="The hold's id, as 'list' shows it.")],
    *,
    by: Annotated[str, typer.Option(help="Who does it: your person id.")],
    config: Config = Path("hub.yaml"),
) -> None:
    """Lift a legal hold, once two people have agreed ('review agree lift_hold')."""
    import asyncio

    from broker.config import load_config
    from deploy.hub_retention import lift_hold

    people = asyncio.run(lift_hold(load_config(config), hold_id, by=by))
    typer.echo(f"Lifted, as {' and '.join(people)} agreed.")


@hold.command("list", epilog="Example: safelane hub hold list --all --config hub.yaml")
def list_all(
    config: Config = Path("hub.yaml"),
    *,
    everything: Annotated[bool, typer.Option("--all", help="Those that were lifted, too.")] = False,
) -> None:
    """List legal holds, newest first. A child's token stands there as its digest."""
    import asyncio

    from broker.config import load_config
    from deploy.hub_retention import list_holds

    rows = asyncio.run(list_holds(load_config(config), in_force=not everything))
    for row in rows:
        until = f"lifted {row['lifted_at']:%Y-%m-%d %H:%M}" if row["lifted_at"] else "in force"
        typer.echo(
            f"{row['hold_id']}  {until}  {row['scope']} {row['subject']}  {row['reason_code']}, "
            f"by {row['placed_by']} {row['placed_at']:%Y-%m-%d %H:%M} UTC"
        )
    typer.echo(f"{len(rows)} holds.")


def read_token(path: Path | None) -> str:
    """Return a subject's token from a file: on a command line it would stay in the shell's history.

    Raises:
        ConfigInvalid: the file cannot be read, or holds no token.
    """
    from broker.config import read_text
    from schemas.errors import ConfigInvalid

    if path is None:
        raise ConfigInvalid("is not given", field="subject_token")
    return read_text(path, "subject_token")
