"""What commands share by which a person speaks to the hub with their own key: ``safelane review``, ``policy`` and ``audit``."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deploy.authority.people import Approver
    from deploy.review_link import ReviewLink

KeyFile = Annotated[Path, typer.Option("--key", help="Your own key file (safelane authority make-person).")]
Hub = Annotated[str, typer.Option("--hub", help="The hub's URL.")]
Trust = Annotated[Path, typer.Option("--trust", help="The partnership's trust file.")]
PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", help="File with your passphrase; else it is asked for.")
]
Reason = Annotated[str, typer.Option("--reason-code", help="Why, as a code; the words stay with your agency.")]


def connect(key: Path, hub: str, trust: Path, passphrase_file: Path | None) -> "tuple[Approver, ReviewLink]":
    """Open a person's key file and a connection to the hub.

    Raises:
        NotFound, ConfigInvalid: the key file or the trust file is not there or not one.
        WrongPassphrase: the passphrase does not open the key file.
    """
    from deploy.authority.signing import read_trust
    from deploy.review_link import ReviewLink

    return open_key(key, passphrase_file), ReviewLink(hub, read_trust(trust).ca_pem, lambda: datetime.now(UTC))


def open_key(key: Path, passphrase_file: Path | None) -> "Approver":
    """Open a person's key file, with the passphrase from a file or asked for.

    Raises:
        NotFound, ConfigInvalid: there is no such file, or it is not one.
        WrongPassphrase: the passphrase does not open it.
    """
    from deploy.authority.people import open_approver, read_person

    return open_approver(key, _read_passphrase(read_person(key).id, passphrase_file))


def _read_passphrase(person: str, path: Path | None) -> str:
    from deploy.cli.passphrases import read_passphrases

    files = [f"{person}={path}"] if path else []
    return read_passphrases([person], files)[person]
