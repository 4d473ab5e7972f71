"""``safelane quarantine``: messages that could not be taken in and wait for a person. Their bodies are never shown: they may be sealed content."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    Decide = Callable[..., Awaitable[None]]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Config = Annotated[Path, typer.Option("--config", help="The hub's configuration file (YAML).")]
Id = Annotated[str, typer.Argument(help="The quarantine id, as 'list' shows it.")]
By = Annotated[str, typer.Option("--by", help="Who decides: your person id.")]
Reason = Annotated[str, typer.Option("--reason", help="Why. No names and no content: it is kept with the record.")]


@app.callback()
def describe() -> None:
    """Look at quarantined messages; send them back to intake, or reject them."""


@app.command("list", epilog="Example: safelane quarantine list --config hub.yaml")
def list_messages(
    config: Config = Path("hub.yaml"),
    state: Annotated[str, typer.Option(help="open, replaying, replayed, rejected or all.")] = "open",
) -> None:
    """List quarantined messages, newest first."""
    import asyncio

    from broker.config import load_config
    from broker.delivery.quarantine import STATES, list_quarantined
    from deploy.hub_status import open_operator
    from schemas.errors import ConfigInvalid

    if state not in (*STATES, "all"):
        raise ConfigInvalid(f"must be one of {', '.join((*STATES, 'all'))}", field="state")

    async def read() -> list[dict[str, object]]:
        async with open_operator(load_config(config)) as (pool, _):
            return await list_quarantined(pool, state=None if state == "all" else state)

    rows = asyncio.run(read())
    for row in rows:
        mark = "SECURITY " if row["security"] else ""
        typer.echo(f"{row['quarantine_id']}  {row['state']:9} {row['user_id'] or '-':28} {mark}{row['code']}")
    typer.echo(f"{len(rows)} messages.")


@app.command(epilog="Example: safelane quarantine show 0b6f0c1e-… --config hub.yaml")
def show(quarantine_id: Id, config: Config = Path("hub.yaml")) -> None:
    """Show one quarantined message: who sent it, which rule it broke, how often it came, and what was decided."""
    import asyncio

    from broker.config import load_config
    from broker.delivery.quarantine import show_quarantined
    from deploy.hub_status import open_operator

    async def read() -> dict[str, object]:
        async with open_operator(load_config(config)) as (pool, _):
            return await show_quarantined(pool, read_id(quarantine_id))

    for name, value in asyncio.run(read()).items():
        typer.echo(f"{name:16} {value if value is not None else '-'}")


@app.command(
    epilog="Example: safelane quarantine replay 0b6f0c1e-… --by ann --reason 'key was uploaded late' --config hub.yaml"
)
def replay(quarantine_id: Id, by: By, reason: Reason, config: Config = Path("hub.yaml")) -> None:
    """Send a message back to intake, as the agency that sent it. However often, it has one effect."""
    from broker.delivery.quarantine import replay_quarantined

    _decide(config, replay_quarantined, quarantine_id, by, reason)
    typer.echo(
        "Sent back to intake: a worker takes it within seconds. 'safelane quarantine show' tells what became of it."
    )


@app.command(epilog="Example: safelane quarantine reject 0b6f0c1e-… --by ann --reason 'test message' --config hub.yaml")
def reject(quarantine_id: Id, by: By, reason: Reason, config: Config = Path("hub.yaml")) -> None:
    """Close a message for good. Its bytes are kept, and its sender was told when it came."""
    from broker.delivery.quarantine import reject_quarantined

    _decide(config, reject_quarantined, quarantine_id, by, reason)
    typer.echo("Rejected.")


def read_id(text: str) -> "UUID":
    """Return the id.

    Raises:
        NotFound: it is not one.
    """
    from uuid import UUID

    from schemas.errors import NotFound

    try:
        return UUID(text)
    except ValueError:
        raise NotFound("is not an id of the quarantine", field="quarantine_id") from None


def _decide(config_path: Path, act: "Decide", quarantine_id: str, by: str, reason: str) -> None:
    import asyncio
    from datetime import UTC, datetime

    from broker.config import load_config, read_log_key
    from broker.log import LogWriter
    from broker.store import open_pool
    from schemas.errors import ConfigInvalid

    if not by.strip() or not reason.strip():
        raise ConfigInvalid("must not be empty", field="reason" if by.strip() else "by")
    config = load_config(config_path)

    async def run() -> None:
        log = LogWriter(config.log.origin, read_log_key(config.log.key_file), epoch=config.log.epoch)
        # The API's role may only read the quarantine; deciding is the worker's.
        pool = await open_pool(config.postgres.read_dsn("worker"), name="safelane-operator", most=1)
        try:
            await act(pool, log, read_id(quarantine_id), by=by, reason=reason, now=datetime.now(UTC))
        finally:
            await pool.close()

    asyncio.run(run())
