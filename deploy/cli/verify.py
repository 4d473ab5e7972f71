"""``safelane verify``: check an evidence pack, a log, or two witnesses' notes, without believing whoever handed them over."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from deploy.evidence.directory_copy import DirectoryCopy
    from deploy.evidence.verdict import Verdict
    from schemas.trust import TrustFile

_Never = tuple[str, tuple[str, ...]]
"""A title, and what no such thing proves."""


def verify(
    source: Annotated[
        list[str],
        typer.Argument(
            help="A pack (folder or zip), proofs of events (.json), a hub's URL, or with --compare witnesses' state files."
        ),
    ],
    *,
    trust: Annotated[
        Path | None, typer.Option(help="The partnership's trust file: pins the authority, and the CA of TLS.")
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(help="For a URL, the signed directory: the authority's file, or a gateway's directory.json."),
    ] = None,
    person: Annotated[
        Path | None,
        typer.Option("--as", help="For a URL, your own key file: fetches the signed directory from the hub instead."),
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", help="With --as, your passphrase; else it is asked for.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="For a URL without a directory, the log's verifier key as the directory has it.")
    ] = None,
    seen: Annotated[
        list[Path] | None,
        typer.Option(help="For a URL, a witness's log-state.json: the log must still be the one it saw. Repeatable."),
    ] = None,
    remember: Annotated[
        Path | None, typer.Option(help="For a URL, a file to keep its heads in: each time, it must have only grown.")
    ] = None,
    timestamp_ca: Annotated[
        Path | None, typer.Option("--timestamp-ca", help="Certificates (PEM) of the authority that timestamps the log.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare what two or more witnesses saw of the log.")
    ] = False,
) -> None:
    """Say in one screen what is proved, what is not, and since when.

    Exit codes: 0 all proved, 1 something is left open or cannot be read, 2 wrong usage, 3 the hub is unavailable, 4 something is false.

    Example: safelane verify evidence.zip --trust trust.json
    Example: safelane verify https://hub.example.org:8443 --trust trust.json --directory directory.json --remember hub.log-state.json
    """
    from schemas.timestamp import read_roots
    from schemas.trust import parse_trust_file

    pinned = parse_trust_file(_read(trust, "trust")) if trust else None
    roots = read_roots(_read(timestamp_ca, "timestamp_ca")) if timestamp_ca else ()
    known = _Known(pinned, roots, directory, (person, passphrase_file), key, tuple(seen or ()), remember)
    verdict, never = _compare(source) if compare else _check(source, known)
    _show(verdict, never)
    if verdict.exit_code:
        raise typer.Exit(verdict.exit_code)


@dataclass(frozen=True, slots=True)
class _Known:
    """What was given beside the thing to verify; the last five are for a URL alone."""

    pinned: "TrustFile | None"
    roots: "Sequence[Certificate]"
    directory: Path | None
    person: tuple[Path | None, Path | None]
    key: str | None
    seen: tuple[Path, ...]
    remember: Path | None


def _compare(source: list[str]) -> "tuple[Verdict, _Never]":
    from deploy.evidence.state_compare import compare_states

    return compare_states([Path(item) for item in source]), ("", ())


def _check(source: list[str], known: _Known) -> "tuple[Verdict, _Never]":
    """Check a log, proofs of events or a pack; return the verdict, and what nothing of that sort could prove."""
    from deploy.evidence import checking, event_checking, log_check
    from deploy.evidence.pack import read_pack
    from schemas.errors import ConfigInvalid
    from schemas.event_proofs import split_proofs

    if len(source) != 1:
        raise ConfigInvalid("one pack, folder, file or URL at a time", field="source")
    (what,) = source
    authority = known.pinned.authority_keys() if known.pinned else None
    if what.startswith("https://"):
        copy = _find_directory(what, known.pinned, known.directory, known.person)
        return _check_url(what, known, copy), ("No log proves", log_check.NOT_PROVED)
    if what.endswith(".json"):
        proofs = split_proofs(_read(Path(what), "source"))
        return event_checking.ProofsChecker(proofs, authority).check(), (
            "No proof shows",
            event_checking.EVENTS_NOT_PROVED,
        )
    verdict = checking.PackChecker(read_pack(Path(what)), authority, known.roots).check()
    return verdict, ("No pack proves", checking.NOT_PROVED)


def _find_directory(
    url: str, pinned: "TrustFile | None", file: Path | None, person: tuple[Path | None, Path | None]
) -> "DirectoryCopy | None":
    """Return the signed directory from a file, or from the hub for a person with a key; none where neither is given."""
    from datetime import UTC, datetime

    from deploy.authority.hub_link import HubLink
    from deploy.cli.personal_key import open_key
    from deploy.evidence.directory_copy import read_directory_copy
    from schemas.errors import ConfigInvalid, IntegrityBroken, SignatureInvalid

    key, passphrase_file = person
    if pinned is None:
        if file is None and key is None:
            return None
        raise ConfigInvalid(
            "is needed: a directory is believed by the pinned authority's signature alone", field="--trust"
        )
    if file is not None:
        return read_directory_copy(_read(file, "directory"), pinned.authority_keys())
    if key is None:
        return None
    with HubLink(url.rstrip("/").removesuffix("/log"), pinned.ca_pem, lambda: datetime.now(UTC)) as link:
        served = link.fetch_directory(open_key(key, passphrase_file))
    try:
        return read_directory_copy(served, pinned.authority_keys())
    except SignatureInvalid:
        raise IntegrityBroken("the hub serves one that the pinned authority did not sign", field="directory") from None


def _check_url(url: str, given: _Known, copy: "DirectoryCopy | None") -> "Verdict":
    from datetime import UTC, datetime

    from deploy.evidence.log_check import Known, check_log
    from deploy.evidence.remembering import read_remembered, write_remembered
    from deploy.evidence.state_compare import read_states
    from schemas.errors import ConfigInvalid

    remember = given.remember
    if remember and not (copy or given.key):
        raise ConfigInvalid(
            "needs --directory, --as or --key: the hub's own word is nothing to remember", field="--remember"
        )
    states = read_states(list(given.seen))
    own = read_remembered(remember) if remember else None
    ca_pem = given.pinned.ca_pem if given.pinned else None
    known = Known(datetime.now(UTC), ca_pem, given.key, copy, [*states, *([own] if own else [])])
    verdict, note = check_log(url, known)
    if remember and not verdict.broken:
        write_remembered(remember, own, note, copy.directory.hub.log_verifier if copy else str(given.key))
    return verdict


def _read(path: Path, field: str) -> bytes:
    from schemas.errors import ConfigInvalid

    try:
        return path.read_bytes()
    except OSError:
        raise ConfigInvalid("cannot be read", field=field) from None


def _show(verdict: "Verdict", never: _Never) -> None:
    for title, lines, colour in (
        ("FALSE", verdict.broken, "red"),
        ("Proved", verdict.proved, "green"),
        ("Not proved", verdict.open, "yellow"),
        (never[0], list(never[1]), None),
    ):
        if lines:
            typer.secho(title, fg=colour, bold=True)
            for line in lines:
                typer.echo(f"  {line}")
