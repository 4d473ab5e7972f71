"""``safelane gateway token``: the pseudonym by which the hub knows a child, as a file for a chronology, a legal hold or an erasure."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.gateway_call import call_gateway
from deploy.cli.gateway_options import DEFAULT_CONFIG, AgencyOption, ConfigFile
from deploy.cli.prompts import ask_hidden
from schemas.clear_codes import TokenScheme
from schemas.errors import ConfigInvalid

ASKED = {
    TokenScheme.NHS.value: "NHS number",
    TokenScheme.NHS_UNVERIFIED.value: "NHS number, not traced",
    TokenScheme.UPN.value: "Unique pupil number",
}
"""What a person can type; a name and date of birth are no safe way to find one child."""


def token(
    out: Annotated[Path, typer.Argument(help="The file to write; only you can read it.")],
    *,
    person: Annotated[str, typer.Option("--person", help="Your id; never your name. It is logged that you asked.")],
    scheme: Annotated[
        str,
        typer.Option(help="nhs (traced), nhs_unverified (as a school or a first report has it), or upn."),
    ] = TokenScheme.NHS.value,
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
) -> None:
    """Ask for a child's number here, and write the token that it makes. The number goes no further than the gateway on this machine."""
    from deploy.authority.key_file import write_private

    if scheme not in ASKED:
        raise ConfigInvalid(f"must be one of {', '.join(ASKED)}", field="scheme")
    value = ask_hidden(ASKED[scheme])
    body = {"person": person, "identifiers": [{"scheme": scheme, "value": value}]}
    answer = call_gateway(config, agency, "POST", "/subject-tokens", body)
    write_private(out, answer["tokens"][0]["token"].encode())
    typer.echo(f"Written to {out}. Delete it when you have asked: whoever has it can ask for the same child.")
