"""Commands of ``safelane authority`` about who takes part: people who approve, and agencies that ask to join."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.authority_options import Folder, HubUrl, OfficerName, PassphraseFiles, open_link, open_officer


def add_commands(app: typer.Typer) -> None:
    """Add these commands to ``safelane authority``."""
    app.command(epilog="Example: safelane authority make-person keys --id jo --agency csc.marchshire --role approver")(
        make_person
    )
    app.command(epilog="Example: safelane authority add-person authority jo.person.json")(add_person)
    app.command(epilog="Example: safelane authority remove-person authority jo")(remove_person)
    app.command(
        epilog="Example: safelane authority pending authority --hub https://hub.example.org:8443 --officer ann"
    )(pending)
    app.command(
        epilog="Example: safelane authority approve authority enr_Ab3dEf6hIj9k --hub https://hub.example.org:8443 --officer ann"
    )(approve)
    app.command(
        epilog="Example: safelane authority refuse authority enr_Ab3dEf6hIj9k --hub https://hub.example.org:8443 --officer ann"
    )(refuse)


def make_person(
    keys: Annotated[Path, typer.Argument(help="Folder for the encrypted key file: the person's own.")],
    *,
    person_id: Annotated[str, typer.Option("--id", help="A short id, not a name.")],
    agency: Annotated[str, typer.Option(help="Their agency.")],
    role: Annotated[list[str], typer.Option(help="What they may do: approver, auditor, operator, ig_officer …")],
    passphrase_file: PassphraseFiles = None,
) -> None:
    """Make the keys of a person who approves, on their own machine; hand the public entry to the officers."""
    from deploy.authority.key_file import write_durably
    from deploy.authority.officers import create_person
    from deploy.cli.passphrases import read_passphrases

    passphrase = read_passphrases([person_id], passphrase_file or [], confirm=True)[person_id]
    person = create_person(keys, person_id, agency, role, passphrase)
    entry = keys / f"{person_id}.person.json"
    write_durably(entry, person.model_dump_json(indent=1).encode())
    typer.echo(f"Made. Give {entry} to the officers; keep {keys / f'{person_id}.key.json'} to yourself.")


def add_person(folder: Folder, entry: Annotated[Path, typer.Argument(help="The person's public entry.")]) -> None:
    """Put a person who approves into the next directory version, after checking who they are."""
    from pydantic import ValidationError

    from deploy.authority import directory_building
    from deploy.authority.state import load_state, save_state
    from schemas.directory import Person
    from schemas.errors import ConfigInvalid

    try:
        person = Person.model_validate_json(entry.read_bytes())
    except (OSError, ValidationError):
        raise ConfigInvalid("is not a person's public entry", field=entry.name) from None
    save_state(folder, directory_building.add_person(load_state(folder), person))
    typer.echo(f"Added {person.id}: {', '.join(person.roles)} at {person.agency}. Sign the next version to publish it.")


def remove_person(folder: Folder, person: Annotated[str, typer.Argument(help="The person's id.")]) -> None:
    """Leave a person out of the next directory version: what they sign counts no more once it is published."""
    from deploy.authority import directory_building
    from deploy.authority.state import load_state, save_state

    save_state(folder, directory_building.remove_person(load_state(folder), person))
    typer.echo("Removed. Sign the next version to publish it.")


def pending(folder: Folder, hub: HubUrl, officer: OfficerName, passphrase_file: PassphraseFiles = None) -> None:
    """List the agencies that ask to join, each with the fingerprint to compare with them by telephone."""
    from schemas.enrolment import verify_enrolment
    from schemas.errors import SafelaneError

    someone = open_officer(folder, officer, passphrase_file)
    with open_link(folder, hub) as link:
        rows = link.list_pending(someone)
    if not rows:
        typer.echo("Nobody waits.")
    for row in rows:
        try:
            request = verify_enrolment(row["request"])
        except SafelaneError as error:
            typer.echo(f"{row['enrolment_id']}  DOES NOT VERIFY ({error.code})")
            continue
        typer.echo(f"{row['enrolment_id']}  {request.agency}  {request.fingerprint()}")


def approve(
    folder: Folder,
    *,
    enrolment_id: Annotated[str, typer.Argument(help="The enrolment to approve.")],
    hub: HubUrl,
    officer: OfficerName,
    fingerprint: Annotated[
        str, typer.Option(help="The fingerprint that the agency read out; without it you are asked.")
    ] = "",
    passphrase_file: PassphraseFiles = None,
) -> None:
    """Approve a request after the agency read its fingerprint out by telephone; two officers then sign."""
    from deploy.authority.signing import record_approval
    from deploy.clock import read_real_clock
    from schemas.enrolment import verify_enrolment
    from schemas.errors import NotFound, Rejected

    someone = open_officer(folder, officer, passphrase_file)
    with open_link(folder, hub) as link:
        row = next((r for r in link.list_pending(someone) if r["enrolment_id"] == enrolment_id), None)
    if row is None:
        raise NotFound("no such request waits", field="enrolment_id")
    request = verify_enrolment(row["request"])
    if not fingerprint:
        typer.echo(
            f"{request.agency} asks to join. Call them on a number that you already have; let them read the fingerprint out."
        )
        fingerprint = typer.prompt("Fingerprint")
    if "".join(fingerprint.split()).lower() != "".join(request.fingerprint().split()):
        raise Rejected("the fingerprint is another: do not approve, and tell the hub's operator", field="fingerprint")
    record_approval(folder, someone, enrolment_id, row["request"], now=read_real_clock())
    typer.echo(f"Approved {request.agency}. It counts once two officers run 'safelane authority sign'.")


def refuse(
    folder: Folder,
    *,
    enrolment_id: Annotated[str, typer.Argument(help="The enrolment to refuse.")],
    hub: HubUrl,
    officer: OfficerName,
    reason: Annotated[str, typer.Option(help="A reason code.")] = "fingerprint_differs",
    passphrase_file: PassphraseFiles = None,
) -> None:
    """Refuse a request; the agency needs a new invitation to ask again."""
    someone = open_officer(folder, officer, passphrase_file)
    with open_link(folder, hub) as link:
        link.refuse(someone, enrolment_id, reason)
    typer.echo("Refused.")
