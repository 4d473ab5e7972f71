"""``safelane gateway receipt``: say what was done with a delivery, where no case system says it (a school that reads the folder of PDFs)."""

from typing import Annotated

import typer

from deploy.cli.gateway_call import call_gateway
from deploy.cli.gateway_options import DEFAULT_CONFIG, AgencyOption, ConfigFile, Person
from deploy.cli.verdicts import show_minute


def receipt(
    delivery: Annotated[str, typer.Argument(help="The delivery, as the PDF's foot and its folder's name say.")],
    *,
    state: Annotated[str, typer.Option(help="actioned, or refused; opened, where it was read and nothing else.")],
    person: Person,
    reason_code: Annotated[
        str | None, typer.Option(help="Why it is refused (not_our_child, wrong_service …), or what was done.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
) -> None:
    """Sign what was done with a delivery; its sender is told. A named contact's delivery takes that contact's key, over the local API."""
    body = {"state": state, "person": person} | ({"reason_code": reason_code} if reason_code else {})
    answer = call_gateway(config, agency, "POST", f"/inbox/{delivery}/receipts", body)
    for each in answer["receipts"]:
        why = f" ({each['reason_code']})" if each["reason_code"] else ""
        typer.echo(f"{each['state']}{why} {show_minute(each['at'])}")
