"""``safelane hub users``: the console's accounts, for whoever has the hub's configuration: the first operator, and the way back in."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.verdicts import show_minute

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Add, list, change, disable and reset accounts of the console. Every change is an event of the log.",
    epilog="Example: safelane hub users list --config hub.yaml",
)

Config = Annotated[Path, typer.Option("--config", help="The hub's configuration file (YAML).")]
Name = Annotated[str, typer.Argument(help="The user name: small letters, digits, dots and hyphens.")]
ROLE_HELP = "auditor, ig_officer, operator or inspector. Repeatable."


@app.command(epilog="Example: safelane hub users add ann.hale --full-name 'Ann Hale' --role auditor --config hub.yaml")
def add(
    name: Name,
    *,
    role: Annotated[list[str], typer.Option(help=ROLE_HELP)],
    config: Config = Path("hub.yaml"),
    full_name: Annotated[str, typer.Option(help="As colleagues know the person; default: the user name.")] = "",
    agency: Annotated[
        str | None, typer.Option(help="The one agency whose business they may see; without it, the partnership's.")
    ] = None,
    person: Annotated[str | None, typer.Option(help="Their person id in the directory, if they approve.")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="The account ends after so many days; an inspector's must.")
    ] = None,
) -> None:
    """Add an account and print its one-time link; hand that over by a safe way. It is good for three days."""
    import asyncio

    from broker.config import load_config
    from deploy import console_accounts

    made = console_accounts.describe_new(name, full_name or name, role, agency=agency, person=person, days=days)
    link = asyncio.run(console_accounts.add_account(load_config(config), made))
    typer.echo(f"{name} opens this link once, within three days:\n  {link}")


@app.command("list", epilog="Example: safelane hub users list --config hub.yaml")
def list_all(config: Config = Path("hub.yaml")) -> None:
    """List accounts: state, roles, agency, ways to sign in."""
    import asyncio

    from broker.config import load_config
    from deploy import console_accounts

    users = asyncio.run(console_accounts.list_accounts(load_config(config)))
    for user in users:
        ways = [*(["password"] if user.has_password else []), *(["passkey"] if user.passkeys else [])]
        ways += ["identity provider"] if user.identities else []
        roles = ",".join(sorted(user.roles))
        ends = f"  ends {show_minute(user.expires_at)}" if user.expires_at else ""
        typer.echo(
            f"{user.name:24} {user.state:9} {roles:28} {user.agency or 'partnership':24} {' + '.join(ways) or '-'}{ends}"
        )
    typer.echo(f"{len(users)} accounts.")


@app.command(epilog="Example: safelane hub users roles ann.hale --role auditor --role ig_officer --config hub.yaml")
def roles(
    name: Name, *, role: Annotated[list[str], typer.Option(help=ROLE_HELP)], config: Config = Path("hub.yaml")
) -> None:
    """Give an account exactly these roles, at once for its open sessions too."""
    import asyncio

    from broker.config import load_config
    from deploy import console_accounts

    asyncio.run(console_accounts.change_account_roles(load_config(config), name, role))
    typer.echo(f"{name} is now {', '.join(sorted(role))}.")


@app.command(epilog="Example: safelane hub users disable ann.hale --config hub.yaml")
def disable(name: Name, config: Config = Path("hub.yaml")) -> None:
    """Disable an account and end its sessions at once."""
    import asyncio

    from broker.config import load_config
    from deploy import console_accounts

    asyncio.run(console_accounts.disable_account(load_config(config), name))
    typer.echo(f"{name} can no longer sign in; open sessions have ended.")


@app.command(epilog="Example: safelane hub users reset ann.hale --config hub.yaml")
def reset(name: Name, config: Config = Path("hub.yaml")) -> None:
    """Take away password, codes and passkeys, end the sessions, and print a new one-time link. A disabled account is enabled so."""
    import asyncio

    from broker.config import load_config
    from deploy import console_accounts

    link = asyncio.run(console_accounts.reset_account(load_config(config), name))
    typer.echo(f"{name} opens this link once, within three days:\n  {link}")
