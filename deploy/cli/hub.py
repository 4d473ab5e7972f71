"""``safelane hub``: run the hub's API, console and workers, look at its state, invite agencies and people."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli import console_users, hub_retention

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(console_users.app, name="users")
app.add_typer(hub_retention.retention, name="retention")
app.add_typer(hub_retention.hold, name="hold")

Config = Annotated[Path, typer.Option("--config", help="The hub's configuration file (YAML).")]


@app.callback()
def describe() -> None:
    """Run the hub: the HTTP API, the console, the workers, and what an operator needs to see."""


@app.command(epilog="Example: safelane hub init --config hub.yaml")
def init(config: Config = Path("hub.yaml")) -> None:
    """Bring the database to the newest schema (as its owner) and declare RabbitMQ's topology. Running it again changes nothing."""
    import asyncio

    from broker.config import load_config
    from deploy.hub_programs import prepare_hub

    revision = asyncio.run(prepare_hub(load_config(config)))
    typer.echo(f"The database is at {revision}; RabbitMQ has the hub's queues.")


@app.command(
    "make-log-key",
    epilog="Example: safelane hub make-log-key hub.example.org/log --key log.key.json --verifier log.vkey",
)
def make_log_key(
    origin: Annotated[str, typer.Argument(help="Origin of the message log: a name of yours, without spaces.")],
    key: Annotated[Path, typer.Option(help="New file for the private key; only the hub has it.")],
    verifier: Annotated[
        Path, typer.Option(help="New file for the public key; hand it to the officers (authority set-hub).")
    ],
) -> None:
    """Make the message log's key, once, before the first start. Nothing is overwritten."""
    from deploy.local.files import write_secret
    from schemas.canonical import canonical_bytes
    from schemas.checkpoint import write_verifier
    from schemas.errors import ConfigInvalid
    from schemas.keys import KeyUse, generate_ed25519_jwk, public_part

    for path in (key, verifier):
        if path.exists():
            raise ConfigInvalid("is there already", field=path.name)
    private = generate_ed25519_jwk(KeyUse.LOG)
    text = write_verifier(origin, public_part(private))
    write_secret(key, canonical_bytes(private).decode())
    verifier.write_text(text + "\n", encoding="utf-8")
    typer.echo(f"Written: {key} (secret) and {verifier}. Next: safelane authority set-hub")


@app.command("restore-queues", epilog="Example: safelane hub restore-queues --config hub.yaml")
def restore_queues(config: Config = Path("hub.yaml")) -> None:
    """Make queues, users and permissions of all enrolled agencies again, after RabbitMQ lost its data. What is there stays as it is."""
    import asyncio

    from broker.config import load_config
    from deploy import queue_restoring

    restored = asyncio.run(queue_restoring.restore_queues(load_config(config)))
    typer.echo(f"RabbitMQ has the hub's queues and those of {len(restored)} agencies.")


@app.command(epilog="Example: safelane hub serve --config hub.yaml")
def serve(config: Config = Path("hub.yaml")) -> None:
    """Serve the HTTP API until it is told to stop (SIGTERM or Ctrl-C)."""
    from broker.config import load_config
    from deploy.hub_programs import run_api
    from deploy.program_logs import set_up_logs

    set_up_logs()
    run_api(load_config(config), on_listening=lambda url: typer.echo(f"Listening on {url}", err=True))


@app.command(epilog="Example: safelane hub console --config hub.yaml")
def console(config: Config = Path("hub.yaml")) -> None:
    """Serve the web console until it is told to stop (SIGTERM or Ctrl-C)."""
    from broker.config import load_config
    from deploy.hub_programs import run_console
    from deploy.program_logs import set_up_logs

    set_up_logs()
    run_console(load_config(config), on_listening=lambda url: typer.echo(f"Listening on {url}", err=True))


@app.command("make-console-secret", epilog="Example: safelane hub make-console-secret --out console.secret")
def make_console_secret(
    out: Annotated[Path, typer.Option(help="New file for the secret; only the console has it.")],
) -> None:
    """Make the console's secret, once, before its first start. A new one later makes every authenticator app useless."""
    import base64
    import secrets

    from deploy.local.files import write_secret
    from schemas.errors import ConfigInvalid

    if out.exists():
        raise ConfigInvalid("is there already", field=out.name)
    write_secret(out, base64.b64encode(secrets.token_bytes(32)).decode())
    typer.echo(f"Written: {out} (secret). Name it in hub.yaml as console.secret_file.")


@app.command(epilog="Example: safelane hub worker --config hub.yaml")
def worker(config: Config = Path("hub.yaml")) -> None:
    """Take referrals in, decide, log and deliver, until it is told to stop; 'worker.processes' says how many at once."""
    from broker.config import load_config
    from deploy.hub_programs import run_worker
    from deploy.program_logs import set_up_logs

    set_up_logs()
    code = run_worker(load_config(config))
    if code:
        raise typer.Exit(code)


@app.command(epilog="Example: safelane hub status --config hub.yaml")
def status(config: Config = Path("hub.yaml")) -> None:
    """Show whether each part is ready and what is waiting. Exit code 3 if a part is not ready."""
    import asyncio

    from broker.config import load_config
    from deploy.cli import EXIT_UNAVAILABLE
    from deploy.hub_status import read_report

    report = asyncio.run(read_report(load_config(config)))
    for check in report.checks:
        typer.echo(f"{check.name:22} {'ready' if check.ready else f'NOT READY: {check.code} ({check.why})'}")
    for name, value in report.facts.items():
        typer.echo(f"{name:22} {value}")
    for concern in report.concerns:
        typer.secho(concern, fg="yellow")
    if not all(check.ready for check in report.checks):
        raise typer.Exit(EXIT_UNAVAILABLE)


@app.command(epilog="Example: safelane hub clocks --breached --config hub.yaml")
def clocks(
    config: Config = Path("hub.yaml"),
    *,
    only_open: Annotated[bool, typer.Option("--open", help="Only clocks that run or wait for an answer.")] = False,
    breached: Annotated[bool, typer.Option("--breached", help="Only clocks that ran out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """List statutory and local clocks, what falls due first at the front: codes, agencies and instants, never content."""
    import asyncio
    import json

    from broker.config import load_config
    from deploy.cli.verdicts import show_minute
    from deploy.hub_clocks import read_clocks
    from schemas.codes import name_clock

    if only_open and breached:
        raise typer.BadParameter("choose one of --open and --breached")
    state = "open" if only_open else "breached" if breached else None
    report = asyncio.run(read_clocks(load_config(config), state))
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=1))
        return
    for line in report.lines:
        clock = line.clock
        met = f"  met {show_minute(clock.met_at)}" if clock.met_at else ""
        typer.echo(
            f"{clock.clock:20} {clock.state.value:9} due {show_minute(clock.due_at)}  {line.recipient or line.sender:24} {line.message_id}{met}"
        )
        typer.echo(f"    {name_clock(clock.clock)}")
    typer.echo(f"{len(report.lines)} clocks at {show_minute(report.as_of)}.")


@app.command(epilog="Example: safelane hub agencies --config hub.yaml")
def agencies(config: Config = Path("hub.yaml")) -> None:
    """List the agencies of the signed directory: enrolled or not, keys, queue."""
    import asyncio

    from broker.config import load_config
    from deploy.hub_status import list_agencies

    rows = asyncio.run(list_agencies(load_config(config)))
    for row in rows:
        typer.echo(f"{row.agency:28} {row.state:10} {row.encryption_keys} encryption keys  {row.queue}")
    typer.echo(f"{len(rows)} agencies, {sum(row.state == 'enrolled' for row in rows)} enrolled.")


@app.command(epilog="Example: safelane hub invite school.oakfield --config hub.yaml --out oakfield.invitation.json")
def invite(
    agency: Annotated[str, typer.Argument(help="The agency to invite; it must be in the directory.")],
    *,
    config: Config = Path("hub.yaml"),
    hours: Annotated[int, typer.Option(min=1, max=336, help="For how long the invitation is good.")] = 72,
    out: Annotated[
        Path | None, typer.Option(help="Write the invitation to this file; without it, to the terminal.")
    ] = None,
) -> None:
    """Make a one-time invitation; give it to the agency by a safe way. It says nothing about whom to trust: the officers' trust file does."""
    import asyncio
    import json
    from datetime import timedelta

    from broker.config import load_config
    from deploy.authority.key_file import write_private
    from deploy.cli.verdicts import show_minute
    from deploy.hub_status import make_invitation

    invitation = asyncio.run(make_invitation(load_config(config), agency, timedelta(hours=hours)))
    text = json.dumps(invitation, indent=1)
    if out is None:
        typer.echo(text)
        return
    write_private(out, text.encode())
    typer.echo(f"Invitation for {agency}, good until {show_minute(invitation['expires_at'])}: {out}")


@app.command(epilog="Example: safelane hub fsck --config hub.yaml --witness csc.log-state.json --state fsck.json")
def fsck(
    config: Config = Path("hub.yaml"),
    *,
    witness: Annotated[
        list[Path] | None,
        typer.Option(help="A witness's log-state.json; finds a database that was put back. Repeatable."),
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Keep the progress in this file; the next run goes on from there.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin at the first entry whatever the state file says.")
    ] = False,
) -> None:
    """Rebuild the log from the database by other code and compare: entries, tiles, checkpoints, records, receipts. Exit code 4 on any difference."""
    import asyncio

    from broker.config import load_config
    from deploy.cli import EXIT_INTEGRITY
    from deploy.cli.progress import show_progress
    from deploy.hub_fsck import check_hub, read_witness_files

    settings = load_config(config)
    states = read_witness_files(witness or ())
    if fresh and state is not None:
        state.unlink(missing_ok=True)
    with show_progress("entries") as on_progress:
        found = asyncio.run(check_hub(settings, states, state, on_progress))
    for finding in found.findings:
        typer.secho(f"{finding.code}: {finding.where}", fg="red")
    more = found.counts.get("findings", 0) - len(found.findings)
    if more > 0:
        typer.echo(f"and {more} more")
    typer.echo(f"{found.tree.size} entries, root {found.tree.root().hex()}")
    held = ", ".join(sorted({kept.witness for kept in states}))
    typer.echo(
        f"Held against the checkpoints of: {held}"
        if held
        else "No witness's checkpoints: a database that was put back cannot be seen."
    )
    if found.findings:
        typer.secho(
            "The log is not what it was. Stop, use the telephone, and keep the disk as it is.", fg="red", bold=True
        )
        raise typer.Exit(EXIT_INTEGRITY)
    typer.echo("Nothing was found.")


@app.command(epilog="Example: safelane hub checkpoint --config hub.yaml --out kept.checkpoint")
def checkpoint(
    config: Config = Path("hub.yaml"),
    out: Annotated[Path | None, typer.Option(help="Write it to this file; without it, to the terminal.")] = None,
) -> None:
    """Give the newest head of the log that the database holds, as it was signed: after a loss, what the officers need to open the next epoch."""
    import asyncio

    from broker.config import load_config
    from deploy.hub_epoch import read_kept_checkpoint

    note = asyncio.run(read_kept_checkpoint(load_config(config)))
    if out is None:
        typer.echo(note, nl=False)
        return
    out.write_text(note, encoding="utf-8")
    typer.echo(f"Written: {out}. Next: safelane authority open-epoch")


@app.command("open-epoch", epilog="Example: safelane hub open-epoch 000007.json --config hub.yaml")
def open_epoch(
    directory: Annotated[Path, typer.Argument(help="The signed directory that names the new epoch.")],
    config: Config = Path("hub.yaml"),
) -> None:
    """Begin the next epoch of the log after a loss, with the hub's programs stopped: only a directory that the officers signed can."""
    import asyncio

    from broker.config import load_config
    from deploy.hub_epoch import open_log_epoch
    from schemas.errors import ConfigInvalid

    try:
        body = directory.read_bytes()
    except OSError:
        raise ConfigInvalid("cannot be read", field=directory.name) from None
    signed, size = asyncio.run(open_log_epoch(load_config(config), body))
    kept = signed.hub.earlier[-1].kept_size
    typer.echo(f"Epoch {signed.hub.epoch} is open: {kept} entries were kept, the log has {size} now.")
    typer.echo("Start the API and the workers. Gateways find out by themselves and send again what was lost.")
