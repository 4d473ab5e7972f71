"""``safelane verify``: check an evidence pack, a log, or two witnesses' notes, without believing whoever handed them over."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deploy.evidence.verdict import Verdict


def verify(
    source: Annotated[
        list[str], typer.Argument(help="A pack (folder or zip), a hub's URL, or with --compare witnesses' state files.")
    ],
    *,
    trust: Annotated[
        Path | None, typer.Option(help="The partnership's trust file: pins the authority, and the CA of TLS.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="The log's verifier key, as the signed directory has it (for a URL).")
    ] = None,
    timestamp_ca: Annotated[
        Path | None, typer.Option("--timestamp-ca", help="Certificates (PEM) of the authority that timestamps the log.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare what two or more witnesses saw of the log.")
    ] = False,
) -> None:
    """Say in one screen what is proved, what is not, and since when. Exit codes: 0 all proved, 1 something is left open, 4 something is false.

    Example: safelane verify evidence.zip --trust trust.json
    """
    from deploy.evidence.checking import NOT_PROVED, PackChecker
    from deploy.evidence.log_check import check_log, compare_states
    from deploy.evidence.pack import read_pack
    from schemas.errors import ConfigInvalid
    from schemas.timestamp import read_roots
    from schemas.trust import parse_trust_file

    try:
        pinned = parse_trust_file(trust.read_bytes()) if trust else None
        roots = read_roots(timestamp_ca.read_bytes()) if timestamp_ca else ()
    except OSError:
        raise ConfigInvalid("cannot be read", field="trust") from None
    never: tuple[str, ...] = ()
    if compare:
        verdict = compare_states([Path(item) for item in source])
    elif len(source) != 1:
        raise ConfigInvalid("one pack, folder or URL at a time", field="source")
    elif source[0].startswith("https://"):
        verdict = check_log(source[0], pinned.ca_pem if pinned else None, key)
    else:
        verdict = PackChecker(read_pack(Path(source[0])), pinned.authority_keys() if pinned else None, roots).check()
        never = NOT_PROVED
    _show(verdict, never)
    if verdict.exit_code:
        raise typer.Exit(verdict.exit_code)


def _show(verdict: "Verdict", never: tuple[str, ...]) -> None:
    for title, lines, colour in (
        ("FALSE", verdict.broken, "red"),
        ("Proved", verdict.proved, "green"),
        ("Not proved", verdict.open, "yellow"),
        ("No pack proves", list(never), None),
    ):
        if lines:
            typer.secho(title, fg=colour, bold=True)
            for line in lines:
                typer.echo(f"  {line}")
