"""``safelane demo``, ``safelane up`` and ``safelane down``: a whole fictional partnership on this machine."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

VAR = Path("var")
FILE_WIDTH = 140
"""Columns where the output is no terminal: in 80 the tables fold."""


def demo(
    samples: Annotated[
        Path | None, typer.Option(help="Another folder of samples of the same layout; default: those that come along.")
    ] = None,
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Compare every result with the folder's expected.yaml; exit code 1 on a difference."
        ),
    ] = False,
    root: Annotated[Path, typer.Option(help="Where it works and leaves what each agency received.")] = VAR / "demo",
) -> None:
    """Enrol a fictional county's agencies, send the sample referrals, and show who received what and why.

    Example: safelane demo --check
    """
    from deploy.local.demo import Demo
    from deploy.local.sample_set import BUNDLED

    console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH)
    if not Demo(root.absolute(), (samples or BUNDLED).absolute(), console).run(check=check):
        raise typer.Exit(1)


def up(
    partnership: Annotated[
        Path | None, typer.Option(help="A partnership file; default: the fictional county's.")
    ] = None,
    root: Annotated[Path, typer.Option(help="Where servers, keys and data are kept.")] = VAR / "up",
) -> None:
    """Start a whole partnership, leave it running on the real clock, and say what to try. Safe to run again.

    Example: safelane up
    """
    from deploy.local.console_people import add_demo_people, describe_console
    from deploy.local.guide import describe_running
    from deploy.local.install import ensure_rabbitmq
    from deploy.local.local_partnership import LocalPartnership
    from deploy.local.sample_set import BUNDLED, PARTNERSHIP_FILE

    console = Console()
    ensure_rabbitmq(console.print)
    local = LocalPartnership(
        root.absolute() / "run", (partnership or BUNDLED / PARTNERSHIP_FILE).absolute(), root.absolute() / "received"
    )
    local.start(lambda line: console.print(f"  {line}"))
    console.print("  Starting the console")
    local.hub.start_console()
    approvers = local.people
    people = add_demo_people(local.hub.config, local.hub.root, approvers)
    typer.echo(describe_running(local, root) + describe_console(local.hub.console_url, people, approvers))


def down(root: Annotated[Path, typer.Option(help="Where `safelane up` keeps its data.")] = VAR / "up") -> None:
    """Stop what `safelane up` started; data stays, and `safelane up` continues with it.

    Example: safelane down
    """
    from deploy.local.local_partnership import LocalPartnership
    from deploy.local.sample_set import BUNDLED, PARTNERSHIP_FILE

    LocalPartnership(root.absolute() / "run", BUNDLED / PARTNERSHIP_FILE, root.absolute() / "received").stop()
    typer.echo("Stopped. Data stays; `make clean` removes it.")
