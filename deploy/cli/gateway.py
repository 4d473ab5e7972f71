"""``safelane gateway``: an agency's own half, on its own machine. It holds the keys; content is in clear nowhere else."""

import asyncio
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from deploy.cli import gateway_registers
from deploy.cli.gateway_call import call_gateway, request_gateway
from deploy.cli.gateway_options import DEFAULT_CONFIG, AgencyOption, ConfigFile
from deploy.cli.verdicts import describe_decision, describe_list, describe_referral

if TYPE_CHECKING:
    from adapters.gateway.agency import AgencyGateway
    from adapters.gateway.config import GatewayConfig

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
gateway_registers.add_commands(app)

DocumentFile = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A document as the record system exports it.")
]
MappingOption = Annotated[str | None, typer.Option("--mapping", help="Mapping id; else the format is recognised.")]
POLL_SECONDS = 5.0


@app.callback()
def describe() -> None:
    """Run an agency's gateway: enrol it, serve, send, and see what became of a referral."""


@app.command(
    epilog="Example: safelane gateway init gw --agency school.oakfield --hub https://hub.example.org:8443 --trust trust.json"
)
def init(
    folder: Annotated[Path, typer.Argument(help="A new folder for configuration, keys and data.")],
    agency: Annotated[str, typer.Option(help="The agency's id in the partnership.")],
    hub: Annotated[str, typer.Option(help="The hub's URL, as in the invitation.")],
    trust: Annotated[Path, typer.Option(help="The partnership's trust file, received out of band.")],
    port: Annotated[int, typer.Option(help="Port of the local API.")] = 8600,
) -> None:
    """Write a first configuration, with its key file and local token."""
    from adapters.gateway.identity.quickstart import write_first_configuration
    from adapters.gateway.identity.trust import read_trust_file

    config = write_first_configuration(folder, agency=agency, hub_url=hub, trust_file=trust, port=port)
    typer.echo(f"Written: {folder / 'gateway.yaml'}")
    typer.echo(f"Compare the authority's fingerprint by telephone: {read_trust_file(config.trust_file).thumbprint}")
    typer.echo(f"Next: safelane gateway enrol --config {folder / 'gateway.yaml'} --invitation invitation.json")


@app.command("config", epilog="Example: safelane gateway config")
def describe_config() -> None:
    """Print every field of the configuration with its description."""
    from adapters.gateway.config import describe_fields

    for path, description in describe_fields():
        typer.echo(f"{path}\n    {description}")


@app.command(epilog="Example: safelane gateway enrol --config gateway.yaml --invitation invitation.json --wait")
def enrol(
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
    invitation: Annotated[
        Path | None, typer.Option(help="The invitation; leave it out to complete an earlier request.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the officers have decided.")] = False,
) -> None:
    """Join a partnership: make keys on this machine, hand in the request, and take the authority's welcome."""
    done = asyncio.run(_enrol(_load(config), agency, invitation, wait=wait))
    if not done:
        typer.echo(
            "Waiting for the authority's officers. Run `safelane gateway enrol` again later, without the invitation."
        )
        raise typer.Exit(3)


@app.command(epilog="Example: safelane gateway serve --config gateway.yaml")
def serve(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Serve: local API, drop folders, sending and receiving, until stopped."""
    from adapters.gateway.logs import configure_logs
    from adapters.gateway.wiring import build_gateway

    configure_logs()
    settings = _load(config)
    gateway = build_gateway(settings, clock=_business_clock(settings))
    asyncio.run(_serve(gateway))


@app.command(epilog="Example: safelane gateway plan ppn-0041877.json")
def plan(
    document: DocumentFile,
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
    mapping: MappingOption = None,
) -> None:
    """Show who would get what of a document, and why. Nothing is stored or sent."""
    settings = _load(config)
    entry = settings.find_agency(agency)
    faults = asyncio.run(_plan(settings, entry.agency, document.name, document.read_bytes(), mapping))
    if faults:
        raise typer.Exit(1)


@app.command("log", epilog="Example: safelane gateway log --config gateway.yaml --agency csc.marchshire")
def show_log(
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
    resume_by: Annotated[
        str | None,
        typer.Option(help="Send again after a proven contradiction: who says so. Speak to the partnership first."),
    ] = None,
) -> None:
    """Show what this agency's witness sees of the hub's log. Exit code 4 when the log contradicts itself and sending has stopped."""
    if resume_by:
        answer = call_gateway(config, agency, "POST", f"/log/resume?{urlencode({'by': resume_by})}")
        typer.echo("Sending goes on." if answer["resumed"] else "Sending was not stopped.")
    found = call_gateway(config, agency, "GET", "/log")
    typer.echo(
        f"{found['state']}: {found['size']} entries seen, {found['witnessed_size']} under a quorum, {found['entries_read']} read"
    )
    for alarm in found["alarms"]:
        typer.secho(
            f"  {alarm['raised_at']}  {alarm['code']} at {alarm['place']}", fg="red" if alarm["stops"] else "yellow"
        )
    if found["advice"]:
        typer.secho(found["advice"], fg="red", bold=True)
        raise typer.Exit(4)


@app.command(epilog="Example: safelane gateway send ppn-0041877.json")
def send(
    document: DocumentFile,
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
    mapping: MappingOption = None,
) -> None:
    """Hand a document to the running gateway, as the record system would. The same document again has no second effect."""
    query = f"?mapping={mapping}" if mapping else ""
    media = {".xml": "application/xml", ".csv": "text/csv"}.get(document.suffix.lower(), "application/json")
    status, answer = request_gateway(
        config, agency, "POST", f"/referrals{query}", content=document.read_bytes(), media_type=media
    )
    for entry in answer.get("referrals", ()):
        again = " (was taken in before)" if entry.get("repeated") else ""
        typer.echo(f"record {entry['number']}: {entry['referral_id']} {entry['state']}{again}")
    if answer.get("referrals"):
        typer.echo("What becomes of one: safelane gateway status ID", err=True)
    for fault in answer.get("errors", ()):
        typer.secho(f"record {fault['number'] or '-'}: {fault['field']}: {fault['detail']}", fg="red", err=True)
    if status >= 400 and not answer.get("errors"):
        typer.secho(f"{answer.get('title', 'refused')} {answer.get('detail', '')}", fg="red", err=True)
    if status >= 400 or answer.get("errors"):
        raise typer.Exit(1)


@app.command(epilog="Example: safelane gateway status; safelane gateway status REFERRAL_ID")
def status(
    referral_id: Annotated[str | None, typer.Argument(help="One referral; none: all that are not done.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with every member.")] = False,
) -> None:
    """Show what is under way, held, failed or has an alarm; or everything about one referral."""
    answer = call_gateway(config, agency, "GET", f"/referrals/{referral_id}" if referral_id else "/referrals")
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    if referral_id is not None:
        for line in describe_referral(answer):
            typer.echo(line)
        return
    for line in describe_list(answer["referrals"]):
        typer.echo(line)
    for line in call_gateway(config, agency, "GET", "/attention")["agreements"]:
        typer.secho(line, fg="yellow")
    if answer["alarm"]:
        typer.secho(answer["alarm"]["advice"], fg="red", bold=True)


@app.command(epilog="Example: safelane gateway release REFERRAL_ID")
def release(
    referral_id: Annotated[str, typer.Argument(help="A held or failed referral.")],
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
) -> None:
    """Send a held or failed referral on its way again, after looking at it."""
    answer = call_gateway(config, agency, "POST", f"/referrals/{referral_id}/release")
    typer.echo(f"{answer['referral_id']} {answer['state']}")


@app.command(epilog="Example: safelane gateway confirm csc.marchshire --by 'Sgt Example'")
def confirm(
    recipient: Annotated[str, typer.Argument(help="The recipient agency's id.")],
    by: Annotated[str, typer.Option(help="Who confirms.")],
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
) -> None:
    """Confirm a recipient that is new to this gateway; referrals that waited for it go on."""
    from urllib.parse import quote

    answer = call_gateway(config, agency, "POST", f"/recipients/{quote(recipient)}/confirmation?by={quote(by)}")
    typer.echo(f"Confirmed {answer['agency']}; {len(answer['released'])} referrals go on.")


def _load(path: Path) -> "GatewayConfig":
    from adapters.gateway.config import load_config

    return load_config(path)


def _business_clock(config: "GatewayConfig") -> Any:
    from deploy.clock import build_business_clock

    return None if config.clock_file is None else build_business_clock(config.clock_file, config.environment)


async def _serve(gateway: Any) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await gateway.run(stop, ready=lambda port: typer.echo(f"The local API listens on port {port}.", err=True))


async def _enrol(config: "GatewayConfig", agency: str | None, invitation: Path | None, *, wait: bool) -> bool:
    from adapters.gateway.identity.directory_keeper import DirectoryKeeper
    from adapters.gateway.identity.enrolment import (
        complete_enrolment,
        open_or_create_keystore,
        read_invitation,
        request_enrolment,
    )
    from adapters.gateway.identity.trust import read_trust_file
    from adapters.gateway.wiring import build_hub_client, read_real_clock

    entry = config.find_agency(agency)
    trust = read_trust_file(config.trust_file)
    keystore = open_or_create_keystore(entry)
    hub = build_hub_client(config, entry, trust, keystore)
    try:
        if invitation is not None:
            invited = read_invitation(invitation)
            pending = await request_enrolment(
                config, entry, trust, invited, hub=hub, now=read_real_clock(), keystore=keystore
            )
            typer.echo(
                f"Handed in as {pending.enrolment_id}. Read this to the officer by telephone:\n  {pending.fingerprint}"
            )
        keeper = DirectoryKeeper(entry.directory_path, trust, hub, read_real_clock)
        while not await complete_enrolment(entry, trust, keystore, keeper, hub=hub, now=read_real_clock()):
            if not wait:
                return False
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await hub.close()
    typer.echo(f"{entry.agency} is enrolled. Next: safelane gateway serve")
    return True


async def _plan(config: "GatewayConfig", agency: str, name: str, body: bytes, mapping: str | None) -> int:
    from adapters.gateway.outgoing.intake import IncomingDocument
    from adapters.gateway.wiring import build_gateway

    gateway = build_gateway(config, clock=_business_clock(config), only=agency)
    found: AgencyGateway = gateway.agencies[agency]
    faults = 0
    try:
        await found.keeper.refresh()
        _, outcomes = found.intake.preview(IncomingDocument(body, name, "plan", mapping))
        for outcome in outcomes:
            if outcome.referral is None:
                faults += 1
                error = outcome.error
                typer.secho(
                    f"record {outcome.number}: {error.field if error else ''}: {error.detail if error else ''}",
                    fg="red",
                )
                continue
            drafted = await found.sender.draft_plan(outcome.referral)
            typer.echo(f"record {outcome.number}: {outcome.referral.kind}")
            for decision in drafted.decisions:
                for line in describe_decision(decision.model_dump(mode="json")):
                    typer.echo(f"  {line}")
    finally:
        await gateway.close()
    return faults
