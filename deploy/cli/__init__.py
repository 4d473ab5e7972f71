"""The ``safelane`` command. Each group is a module of this package, imported only when it is used, so that ``--help`` is quick.

Exit codes: 0 done, 1 it failed, 2 wrong usage, 3 a service is unavailable (try again), 4 an integrity check failed (stop, and say so).
"""

import importlib
import importlib.util
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from deploy.cli.ids_as_arguments import take_ids
from deploy.local.program_missing import ProgramMissing
from schemas.errors import DependencyUnavailable, IntegrityBroken, SafelaneError

EXIT_FAILED = 1
EXIT_UNAVAILABLE = 3
EXIT_INTEGRITY = 4

GROUPS = ("hub", "authority", "gateway", "quarantine", "audit", "evidence", "policy", "review")
"""Groups of commands: module ``deploy.cli.<name>``, attribute ``app``."""
SINGLE_COMMANDS = {
    "verify": "deploy.cli.verify",
    "demo": "deploy.cli.demo",
    "up": "deploy.cli.demo",
    "down": "deploy.cli.demo",
}
"""Commands without a group: module, and a function of the command's own name."""


class LazyGroup(TyperGroup):
    """A command group that imports a subcommand's module when it is asked for. A module that is not installed is not listed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the groups and commands that this installation has."""
        modules = {name: f"deploy.cli.{name}" for name in GROUPS} | SINGLE_COMMANDS
        return [name for name, module in modules.items() if importlib.util.find_spec(module) is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return the command, or None where there is no such command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        if cmd_name in GROUPS:
            group = typer.main.get_group(importlib.import_module(f"deploy.cli.{cmd_name}").app)
            group.name = cmd_name
            return take_ids(group)
        function = getattr(importlib.import_module(SINGLE_COMMANDS[cmd_name]), cmd_name)
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(cmd_name)(function)
        return take_ids(typer.main.get_command(single))


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Safelane carries safeguarding referrals between agencies: sealed end to end, released on need-to-know, provable afterwards.",
    epilog="Example: safelane hub status --config hub.yaml",
)


@app.callback()
def describe() -> None:
    """Safelane: run a hub or a gateway, enrol agencies, decide, and prove what happened."""


def main() -> None:
    """Run the command line; turn our errors, and files that cannot be had, into a readable line and an exit code."""
    quieten_logs()
    try:
        app()
    except SafelaneError as error:
        sys.exit(report_error(error))
    except OSError as error:
        if error.filename is None:
            raise
        typer.secho(f"{error.filename}: {error.strerror}", fg="red", err=True)
        sys.exit(EXIT_FAILED)


def quieten_logs() -> None:
    """Log errors alone, to standard error: what a command warns of, it says itself. Programs that serve set up their own logs."""
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    for library in ("aio_pika", "aiormq"):  # of a lost connection our own errors and events tell, in words that help
        logging.getLogger(library).setLevel(logging.CRITICAL)


def report_error(error: SafelaneError) -> int:
    """Print ``error`` for people on standard error and return the exit code for it."""
    if isinstance(error, ProgramMissing):
        typer.secho(error.detail, fg="red", err=True)
        return EXIT_FAILED
    where = f" ({error.field})" if error.field else ""
    typer.secho(f"{error.public_message}", fg="red", err=True)
    typer.echo(f"  {error.code}{where}: {error.detail}", err=True)
    if isinstance(error, IntegrityBroken):
        return EXIT_INTEGRITY
    return EXIT_UNAVAILABLE if isinstance(error, DependencyUnavailable) else EXIT_FAILED
