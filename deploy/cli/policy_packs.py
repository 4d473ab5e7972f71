"""Commands of ``safelane policy`` about packs at a hub: lodge, list, approve, take into use, and run a recorded decision again."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.personal_key import Hub, KeyFile, PassphraseFile, Reason, Trust, connect
from deploy.cli.verdicts import show_minute

PackFolder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the policy pack.")]
LocalFolder = Annotated[Path | None, typer.Option("--local", help="Folder of the partnership's local pack over it.")]


def add_commands(app: typer.Typer) -> None:
    """Add these commands to ``safelane policy``."""
    connection = "--key ann.key.json --hub https://hub.example.org:8443 --trust trust.json"
    app.command("packs", epilog=f"Example: safelane policy packs {connection}")(packs)
    app.command("lodge", epilog=f"Example: safelane policy lodge policies/next {connection}")(lodge)
    app.command("approve", epilog=f"Example: safelane policy approve 3f9a0c12 --reason-code board_agreed {connection}")(
        approve
    )
    app.command(
        "activate",
        epilog="Example: safelane policy activate authority policies/next --officer ann --officer ben --reason-code board_agreed"
        " --hub https://hub.example.org:8443",
    )(activate)


def packs(*, key: KeyFile, hub: Hub, trust: Trust, passphrase_file: PassphraseFile = None) -> None:
    """List the packs at the hub: which is in force, and who approved which."""
    approver, link = connect(key, hub, trust, passphrase_file)
    with link:
        rows = link.list_packs(approver)
    for row in rows:
        state = "in force" if row["in_force"] else "approved" if row["is_approved"] else "lodged"
        typer.echo(f"{row['policy_digest'][:16]}  {state:<8} {row['pack_id']}, since {show_minute(row['added_at'])}")
        for approval in row["approvals"]:
            typer.echo(
                f"    approved by {approval['approver']} of {approval['agency']} ({approval['reason_code']}) until {show_minute(approval['expires_at'])}"
            )
    typer.echo(f"{len(rows)} packs.")


def lodge(
    folder: PackFolder,
    *,
    key: KeyFile,
    hub: Hub,
    trust: Trust,
    local: LocalFolder = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Give a pack to the hub by its digest. It decides nothing until two people approve it and the officers sign a directory that names it."""
    from broker.decisions import bundle_pack

    body = bundle_pack(folder, local)
    approver, link = connect(key, hub, trust, passphrase_file)
    with link:
        digest = link.lodge_pack(approver, body)
    typer.echo(f"Lodged as {digest}. Two people approve it: safelane policy approve {digest[:16]} …")


def approve(
    digest: Annotated[str, typer.Argument(help="The pack's digest, or its first 8 characters or more.")],
    *,
    reason_code: Reason,
    key: KeyFile,
    hub: Hub,
    trust: Trust,
    role: Annotated[str, typer.Option(help="The role in which you approve.")] = "policy_approver",
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign, as one of two people, that a lodged pack may be taken into use. Rehearse it first: ``safelane policy simulate``."""
    from deploy.policy_activation import approve_activation, find_pack

    approver, link = connect(key, hub, trust, passphrase_file)
    with link:
        pack = find_pack(link.list_packs(approver), digest)
        approve_activation(
            link, approver, pack["policy_digest"], reason_code=reason_code, role=role, now=datetime.now(UTC)
        )
        pack = find_pack(link.list_packs(approver), digest)
    people = ", ".join(approval["approver"] for approval in pack["approvals"])
    typer.echo(f"Approved by {people}. {'The officers can activate it.' if pack['is_approved'] else 'One more must.'}")


def activate(
    authority: Annotated[Path, typer.Argument(help="The authority's folder.")],
    folder: PackFolder,
    *,
    officer: Annotated[list[str], typer.Option("--officer", help="An officer who signs; give two.")],
    reason_code: Reason,
    hub: Hub,
    local: LocalFolder = None,
    passphrase_file: Annotated[
        list[str] | None,
        typer.Option("--passphrase-file", help="NAME=PATH of a file with the officer's passphrase, instead of asking."),
    ] = None,
) -> None:
    """Take a pack into use: two officers approve it, where two people have not yet, and sign the directory that names it. It holds from the next message."""
    from deploy.authority.founding import TRUST_FILE
    from deploy.authority.signing import read_trust
    from deploy.cli.passphrases import read_passphrases
    from deploy.clock import read_real_clock
    from deploy.policy_activation import activate_pack
    from deploy.review_link import ReviewLink

    passphrases = read_passphrases(officer, passphrase_file or [])
    with ReviewLink(hub, read_trust(authority / TRUST_FILE).ca_pem, read_real_clock) as link:
        pack, signed = activate_pack(
            authority,
            link,
            passphrases,
            pack_folder=folder,
            local=local,
            reason_code=reason_code,
            now=read_real_clock(),
        )
    typer.echo(f"In force: {pack.id} {pack.digest[:16]}, by directory version {signed.directory.version}.")
