"""``safelane audit``: what happened to a referral, and why, from the hub's records and its log."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from deploy.audit_trail import AuditTrail

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

MARKS = {"full": "F", "summary": "S", "pointer": "P", "held": "held", "withheld": "withheld", "rejected": "rejected"}


@app.callback()
def describe() -> None:
    """Show what happened to a referral. Every look is an event of the log."""


@app.command(epilog="Example: safelane audit show ref_3kq9x2vw --by ann --config hub.yaml")
def show(
    searched_id: Annotated[str, typer.Argument(metavar="ID", help="A referral, message or delivery id.")],
    config: Annotated[Path, typer.Option("--config", help="The hub's configuration file (YAML).")] = Path("hub.yaml"),
    by: Annotated[str, typer.Option(help="Who looks: your person id; default: your user name here.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show messages, decisions with rule and reason, receipts, and the positions of their events in the log."""
    import asyncio
    from datetime import UTC, datetime

    from broker.config import load_config, read_log_key
    from broker.log import LogWriter
    from deploy.audit_trail import read_trail
    from deploy.hub_status import open_operator

    settings = load_config(config)

    async def read() -> "AuditTrail":
        log = LogWriter(settings.log.origin, read_log_key(settings.log.key_file), epoch=settings.log.epoch)
        async with open_operator(settings) as (pool, _):
            return await read_trail(pool, log, searched_id, by=by or getpass.getuser(), now=datetime.now(UTC))

    trail = asyncio.run(read())
    if as_json:
        _print_json(trail)
    else:
        _print_trail(trail)


def _print_json(trail: "AuditTrail") -> None:
    import json
    from dataclasses import asdict

    typer.echo(json.dumps(asdict(trail), indent=1, default=str))


def _print_trail(trail: "AuditTrail") -> None:
    positions = {event["event_id"]: event["position"] for event in trail.events}
    for message in trail.messages:
        typer.secho(
            f"{message['referral_id']} revision {message['revision']}: {message['kind']} from {message['sender']}, "
            f"{message['outcome']} {message['received_at']:%Y-%m-%d %H:%M:%S} UTC, log {positions.get(message['event_id'], '-')}",
            bold=True,
        )
        typer.echo(f"  message {message['message_id']}  manifest {message['manifest_digest']}")
        for delivery in trail.deliveries:
            if delivery["message_id"] == message["message_id"]:
                _print_delivery(delivery, trail, positions)


def _print_delivery(delivery: dict[str, Any], trail: "AuditTrail", positions: dict[Any, int]) -> None:
    import json

    decision = json.loads(delivery["decision"])
    contact = f"#{delivery['contact']}" if delivery["contact"] else ""
    typer.echo(
        f"  {delivery['delivery_id']}  {delivery['recipient']}{contact} ({delivery['role']}, {delivery['purpose']}): "
        f"{delivery['outcome']} by {delivery['row']}, now {delivery['state']}, log {positions.get(delivery['event_id'], '-')}"
    )
    typer.echo(f"    {delivery['reason']}")
    for compartment, found in decision.get("compartments", {}).items():
        typer.echo(
            f"    {compartment} {MARKS.get(found['result'], found['result']):9} {found['row']:4} {found.get('reason', '')}"
        )
    for receipt in trail.receipts:
        if (receipt["message_id"], receipt["delivery_id"]) == (delivery["message_id"], delivery["delivery_id"]):
            typer.echo(
                f"    receipt {receipt['state']} claimed {receipt['at']:%Y-%m-%d %H:%M:%S}, "
                f"logged {receipt['received_at']:%Y-%m-%d %H:%M:%S} UTC, log {positions.get(receipt['event_id'], '-')}"
            )
