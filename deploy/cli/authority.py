"""``safelane authority``: the partnership's own signing key, on a machine of its own, away from the hub."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli import authority_joining
from deploy.cli.authority_options import (
    Folder,
    HubUrl,
    OptionalHubUrl,
    PassphraseFiles,
    TwoOfficers,
    open_link,
    read_fingerprint,
)

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def describe() -> None:
    """Keep the authority's key: found it, look at enrolments, sign directories, revoke."""


@app.command(
    epilog="Example: safelane authority init authority --partnership partnership.yaml --officer ann@csc.marchshire --officer ben@police.marchshire --ca-certificate ca.pem --ca-key ca.key"
)
def init(
    folder: Folder,
    *,
    partnership: Annotated[Path, typer.Option(help="The partnership file (YAML).")],
    officer: Annotated[list[str], typer.Option(help="NAME@AGENCY; two or more. Any two sign together.")],
    ca_certificate: Annotated[Path, typer.Option(help="The partnership CA's certificate (PEM).")],
    ca_key: Annotated[Path, typer.Option(help="The partnership CA's private key (PEM).")],
    policies: Annotated[
        Path | None, typer.Option(help="Folder of the policy pack; default: the one that comes along.")
    ] = None,
    local_policies: Annotated[Path | None, typer.Option(help="Folder of the partnership's local pack over it.")] = None,
    passphrase_file: PassphraseFiles = None,
) -> None:
    """Make the authority's keys, its successor's, and the trust file that every agency pins."""
    from broker.decisions import DEFAULT_PACK
    from deploy.authority.founding import TRUST_FILE, NewOfficer, found_authority
    from deploy.authority.policies import use_policy_pack
    from deploy.authority.state import save_state
    from deploy.cli.passphrases import read_passphrases

    names = [_split_officer(entry) for entry in officer]
    passphrases = read_passphrases([name for name, _ in names], passphrase_file or [], confirm=True)
    typer.echo("Making keys …", err=True)
    new = tuple(NewOfficer(name, agency, passphrases[name]) for name, agency in names)
    state = found_authority(folder, partnership, new, ca_certificate=ca_certificate, ca_key=ca_key)
    save_state(folder, use_policy_pack(state, policies or DEFAULT_PACK, local_policies))
    typer.echo(f"Founded. Agencies pin {folder / TRUST_FILE}; its fingerprint, to be read out by telephone:")
    typer.echo(f"  {read_fingerprint(folder)}")
    typer.echo("Move successor.key.json to a safe in another building.")


@app.command(epilog="Example: safelane authority show authority")
def show(folder: Folder) -> None:
    """Show the fingerprint, the last version, the officers and who is enrolled."""
    from deploy.authority.founding import OFFICERS
    from deploy.authority.officers import list_officers
    from deploy.authority.state import load_state

    state = load_state(folder)
    typer.echo(f"fingerprint        {read_fingerprint(folder)}")
    typer.echo(f"directory version  {state.directory_version}")
    typer.echo(f"policy digest      {state.policy_digest}")
    typer.echo(f"officers           {', '.join(p.id for p in list_officers(folder / OFFICERS))}")
    for agency_id, entry in sorted(state.enrolled.items()):
        typer.echo(f"enrolled           {agency_id}{' (revoked)' if entry.revoked_at else ''}")


@app.command(
    epilog="Example: safelane authority set-hub authority --log-origin log.example.org/marchshire --log-verifier-file hub-log.vkey"
)
def set_hub(
    folder: Folder,
    log_origin: Annotated[str, typer.Option(help="Origin line of the hub's log.")],
    log_verifier_file: Annotated[Path, typer.Option(help="File with the log's verifier key (C2SP note format).")],
) -> None:
    """Name the hub's log and its public key in the next directory version."""
    from deploy.authority.state import load_state, save_state
    from schemas.errors import ConfigInvalid

    try:
        verifier = log_verifier_file.read_text(encoding="utf-8").strip()
    except OSError:
        raise ConfigInvalid("cannot be read", field="log-verifier-file") from None
    state = load_state(folder)
    save_state(folder, state, hub=state.hub.model_copy(update={"log_origin": log_origin, "log_verifier": verifier}))
    typer.echo("Set. Sign the next version to publish it.")


@app.command(
    "open-epoch",
    epilog="Example: safelane authority open-epoch authority --kept kept.checkpoint --witness csc.json --witness health.json --log-origin hub.example.org/log/2 --log-verifier-file log2.vkey --officer ann --officer ben",
)
def open_epoch(
    folder: Folder,
    *,
    witness: Annotated[
        list[Path], typer.Option(help="A witness's log-state.json, from the agency itself. Repeatable: all you get.")
    ],
    log_origin: Annotated[str, typer.Option(help="Origin line of the log in its new epoch; never used before.")],
    log_verifier_file: Annotated[Path, typer.Option(help="File with the new log key's verifier (hub make-log-key).")],
    officer: TwoOfficers,
    kept: Annotated[
        Path | None, typer.Option(help="The head that the hub still has (hub checkpoint); without it: nothing is left.")
    ] = None,
    passphrase_file: PassphraseFiles = None,
) -> None:
    """Sign the directory that opens the log's next epoch, after the hub lost part of its log. It begins with what was kept and
    commits to the highest head that these witnesses saw; senders send again what lies between. Not published: the hub takes the file.
    """
    from deploy.authority.log_epoch import describe_states, open_next_epoch
    from deploy.authority.signing import DIRECTORIES, sign_next_version
    from deploy.authority.state import load_state
    from deploy.cli.passphrases import read_passphrases
    from deploy.clock import read_real_clock

    changed = open_next_epoch(load_state(folder), kept, witness, log_origin=log_origin, verifier_file=log_verifier_file)
    for name, size in describe_states(witness):
        typer.echo(f"{name} saw {size} entries")
    signed = sign_next_version(
        folder, read_passphrases(officer, passphrase_file or []), now=read_real_clock(), changed=changed
    )
    hub = signed.directory.hub
    typer.echo(
        f"Signed version {signed.directory.version}: epoch {hub.epoch}, {hub.earlier[-1].kept_size} entries kept."
    )
    typer.echo(f"Give the hub's operator {folder / DIRECTORIES / f'{signed.directory.version:06d}.json'}.")


@app.command(
    epilog="Example: safelane authority set-witnesses authority csc.marchshire health.marchshire-ft --quorum 1"
)
def set_witnesses(
    folder: Folder,
    agency: Annotated[list[str], typer.Argument(help="Agencies that witness the hub's log.")],
    quorum: Annotated[int, typer.Option(min=0, help="How many of them must have cosigned a checkpoint.")] = 1,
) -> None:
    """Name the witnesses of the hub's log, and how many make a quorum, in the next directory version."""
    from deploy.authority.state import load_state, save_state
    from schemas.directory import WitnessPolicy
    from schemas.errors import ConfigInvalid

    if quorum > len(set(agency)):
        raise ConfigInvalid("asks for more witnesses than there are", field="quorum")
    policy = WitnessPolicy(agencies=tuple(sorted(set(agency))), quorum=quorum)
    save_state(folder, load_state(folder), witnesses=policy)
    typer.echo("Set. Sign the next version to publish it.")


@app.command(epilog="Example: safelane authority set-policies authority policies/england-2026-09")
def set_policies(
    folder: Folder,
    pack: Annotated[Path, typer.Argument(help="Folder of the policy pack.")],
    local: Annotated[
        Path | None, typer.Option("--local", help="Folder of the partnership's local pack over it.")
    ] = None,
) -> None:
    """Put a policy pack's matrix and digest into the first directory version. Later packs: ``safelane policy activate``."""
    from deploy.authority.policies import use_policy_pack
    from deploy.authority.state import load_state, save_state
    from schemas.errors import ConfigInvalid

    state = load_state(folder)
    if state.directory_version:
        raise ConfigInvalid("is named by a signed directory already: use 'safelane policy activate'", field="policies")
    state = save_state(folder, use_policy_pack(state, pack, local))
    typer.echo(f"Set to {state.policy_digest}. Sign the next version to publish it.")


authority_joining.add_commands(app)


@app.command(
    epilog="Example: safelane authority sign authority --officer ann --officer ben --hub https://hub.example.org:8443"
)
def sign(
    folder: Folder,
    officer: TwoOfficers,
    hub: OptionalHubUrl = "",
    days: Annotated[int, typer.Option(min=1, max=90, help="For how long the version is good.")] = 30,
    passphrase_file: PassphraseFiles = None,
) -> None:
    """Sign the next directory version with everything that was approved; publish it where a hub is given."""
    from datetime import timedelta

    from deploy.authority.signing import sign_next_version
    from deploy.cli.passphrases import read_passphrases
    from deploy.clock import read_real_clock

    passphrases = read_passphrases(officer, passphrase_file or [])
    signed = sign_next_version(folder, passphrases, now=read_real_clock(), lifetime=timedelta(days=days))
    typer.echo(f"Signed version {signed.directory.version}, good until {signed.directory.expires_at:%Y-%m-%d}.")
    typer.echo(f"Newly enrolled: {len(signed.welcomes)}.")
    _publish(folder, hub)


@app.command(epilog="Example: safelane authority publish authority --hub https://hub.example.org:8443")
def publish(folder: Folder, hub: HubUrl) -> None:
    """Hand the newest signed version to the hub, again if need be: it changes nothing twice."""
    _publish(folder, hub)


@app.command(
    epilog="Example: safelane authority revoke authority school.oakfield --officer ann --officer ben --hub https://hub.example.org:8443"
)
def revoke(
    folder: Folder,
    *,
    agency: Annotated[str, typer.Argument(help="The agency.")],
    officer: TwoOfficers,
    key: Annotated[str, typer.Option(help="Thumbprint of one key; without it the whole agency is revoked.")] = "",
    hub: OptionalHubUrl = "",
    passphrase_file: PassphraseFiles = None,
) -> None:
    """Revoke an agency, or one key of it, in a version signed at once."""
    from deploy.authority.directory_building import revoke_agency
    from deploy.authority.signing import sign_next_version
    from deploy.authority.state import load_state
    from deploy.cli.passphrases import read_passphrases
    from deploy.clock import read_real_clock

    now = read_real_clock()
    changed = revoke_agency(load_state(folder), agency, now=now, thumbprint=key or None)
    passphrases = read_passphrases(officer, passphrase_file or [])
    signed = sign_next_version(folder, passphrases, now=now, changed=changed)
    typer.echo(f"Signed version {signed.directory.version}: {'one key of ' if key else ''}{agency} is revoked.")
    _publish(folder, hub)


@app.command(epilog="Example: safelane authority succeed authority --officer ann --officer ben")
def succeed(folder: Folder, officer: TwoOfficers, passphrase_file: PassphraseFiles = None) -> None:
    """Put the pinned successor in the authority's place (the old key is lost, or in wrong hands) and pin a new one."""
    from deploy.authority.founding import TRUST_FILE
    from deploy.authority.succession import hand_over
    from deploy.cli.passphrases import read_passphrases

    hand_over(folder, read_passphrases(officer, passphrase_file or []))
    typer.echo(f"The successor is the authority now. Its fingerprint: {read_fingerprint(folder)}")
    typer.echo(f"Put {folder / TRUST_FILE} in place on the hub, restart it, then sign and publish the next version.")
    typer.echo("Move the new successor.key.json to the safe.")


def _publish(folder: Path, hub: str) -> None:
    from deploy.authority.signing import read_signed

    if not hub:
        typer.echo("Not published: run 'safelane authority publish' with --hub.")
        return
    signed = read_signed(folder)
    with open_link(folder, hub) as link:
        link.publish(signed)
    typer.echo(f"Published version {signed.directory.version}.")


def _split_officer(entry: str) -> tuple[str, str]:
    from schemas.errors import ConfigInvalid

    name, separator, agency = entry.partition("@")
    if not separator or not name or not agency:
        raise ConfigInvalid("must be NAME@AGENCY", field="officer")
    return name, agency
