"""``safelane audit chronology``: who knew what of one child, when, across agencies."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.personal_key import Hub, KeyFile, PassphraseFile, Trust, connect

MARKS = {"full": "F", "summary": "S", "pointer": "P"}


def chronology(
    token: Annotated[
        Path,
        typer.Argument(
            help="A file with the child's token, as 'safelane gateway token' writes it; the hub cannot make it."
        ),
    ],
    *,
    key: KeyFile,
    hub: Hub,
    trust: Trust,
    passphrase_file: PassphraseFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with events, salts and proofs.")] = False,
) -> None:
    """Show who knew what of one child, when, across agencies. Two people, you among them, must have agreed ('review agree chronology')."""
    import json

    from deploy.cli.hub_retention import read_token

    text = read_token(token)
    approver, link = connect(key, hub, trust, passphrase_file)
    with link:
        found = link.read_chronology(approver, text)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for agency, lines in found["agencies"].items():
        typer.secho(agency, bold=True)
        for line in lines:
            forms = " ".join(f"{code}:{MARKS.get(form, form)}" for code, form in line["compartments"].items())
            detail = "" if line["detail"] == line["act"] else line["detail"]
            typer.echo(
                f"  {line['at'][:19].replace('T', ' ')} UTC  {line['act']:16} {line['referral_id']}  {detail} {forms} log {line['position']}"
            )
    total = sum(map(len, found["agencies"].values()))
    typer.echo(
        f"{total} events at {len(found['agencies'])} agencies; approved by {' and '.join(found['approved_by'])}."
    )
    if found["truncated"]:
        typer.secho("There is more than one answer may hold: the newest events are missing.", fg="yellow")
