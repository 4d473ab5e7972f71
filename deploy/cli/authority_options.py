"""What the commands of ``safelane authority`` share: their options, an officer's key, the hub, the fingerprint to read out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deploy.authority.hub_link import HubLink
    from deploy.authority.officers import Officer

Folder = Annotated[Path, typer.Argument(help="The authority's folder.", envvar=None)]
HubUrl = Annotated[str, typer.Option("--hub", help="The hub's URL, as agencies call it.")]
OptionalHubUrl = Annotated[str, typer.Option("--hub", help="The hub's URL; without it nothing is published yet.")]
OfficerName = Annotated[str, typer.Option("--officer", help="The officer who acts.")]
TwoOfficers = Annotated[list[str], typer.Option("--officer", help="An officer who signs; give two.")]
PassphraseFiles = Annotated[
    list[str] | None,
    typer.Option("--passphrase-file", help="NAME=PATH of a file with the officer's passphrase, instead of asking."),
]


def open_officer(folder: Path, name: str, files: list[str] | None) -> "Officer":
    """Return an officer with their key, asking for the passphrase where no file has it."""
    from deploy.authority import officers
    from deploy.authority.founding import OFFICERS
    from deploy.cli.passphrases import read_passphrases

    return officers.open_officer(folder / OFFICERS, name, read_passphrases([name], files or [])[name])


def open_link(folder: Path, hub: str) -> "HubLink":
    """Return a connection to the hub's API, by the partnership's own certificate authority."""
    from deploy.authority.founding import TRUST_FILE
    from deploy.authority.hub_link import HubLink
    from deploy.authority.signing import read_trust
    from deploy.clock import read_real_clock

    return HubLink(hub, read_trust(folder / TRUST_FILE).ca_pem, read_real_clock)


def read_fingerprint(folder: Path) -> str:
    """Return the trust file's fingerprint in groups, to be read out by telephone."""
    from deploy.authority.founding import TRUST_FILE
    from deploy.authority.signing import read_trust

    digest = read_trust(folder / TRUST_FILE).thumbprint
    return " ".join(digest[i : i + 4] for i in range(0, 32, 4))
