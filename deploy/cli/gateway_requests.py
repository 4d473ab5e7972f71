"""``safelane gateway request``: ask another agency for information about a child, see what was asked, answer, or refuse with a reason (D11)."""

from typing import Annotated, Any

import typer

from deploy.cli.gateway_call import call_gateway
from deploy.cli.gateway_options import DEFAULT_CONFIG, AgencyOption, ConfigFile, Person
from deploy.cli.prompts import ask_hidden

app = typer.Typer(no_args_is_help=True, help="Requests for information: ask, list, answer, refuse.")

Digest = Annotated[str, typer.Argument(help="The request, as 'request list' shows it.")]
AskNumber = Annotated[
    bool, typer.Option("--nhs-number", help="Ask for the child's NHS number here; it leaves as a token only.")
]


@app.command(
    epilog="Example: safelane gateway request ask --to health.marchshire-ft --referral REF --compartment C07"
    " --task 'CA 1989 s.47' --purpose promote_welfare --person p-17"
)
def ask(
    *,
    to: Annotated[str, typer.Option(help="The agency that is asked.")],
    compartment: Annotated[list[str], typer.Option(help="What is asked for (C07 …); repeat for more.")],
    task: Annotated[str, typer.Option(help="The provision that makes it your task, for example 'CA 1989 s.47'.")],
    purpose: Annotated[str, typer.Option(help="The purpose: one that an agreement between the two lists.")],
    person: Person,
    referral: Annotated[
        str | None, typer.Option(help="A referral that we sent or received: the children it is about.")
    ] = None,
    nhs_number: AskNumber = False,
    role: Annotated[str | None, typer.Option(help="The role in which we ask; default: our first.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
) -> None:
    """Ask. It is due when local policy says (request_answer); both sides are told when it is overdue."""
    body: dict[str, Any] = {
        "recipient": to,
        "person": person,
        "statutory_task": task,
        "purpose": purpose,
        "compartments": compartment,
        "referral_id": referral,
        "role": role,
        "identifiers": [{"scheme": "nhs", "value": _ask_number()}] if nhs_number else [],
    }
    answer = call_gateway(config, agency, "POST", "/requests", {k: v for k, v in body.items() if v is not None})
    typer.echo(f"Asked as {answer['digest']}.")


@app.command("list", epilog="Example: safelane gateway request list")
def list_requests(config: ConfigFile = DEFAULT_CONFIG, agency: AgencyOption = None) -> None:
    """Show what we asked and what was asked of us, newest first."""
    rows = call_gateway(config, agency, "GET", "/requests")["requests"]
    for row in rows:
        other = f"to {row['recipient']}" if row["ours"] else f"from {row['requester']} ({row['requester_role']})"
        mark = "OVERDUE " if row["overdue"] else ""
        typer.echo(f"{row['digest']}  {mark}{row['state']} {other}, answer due {row['answer_due_at']}")
        typer.echo(
            f"    {' '.join(row['compartments'])} about {row['subjects']} for {row['purpose']}, task {row['statutory_task']}"
        )
        if row["state"] == "answered":
            typer.echo(f"    answered by {row['answered_by']} in message {row['answer_message_id']}")
        if row["state"] == "refused":
            typer.echo(f"    refused by {row['answered_by']}: {row['reason_code']}")
        if row["code"]:
            typer.echo(f"    the hub did not pass it on: {row['code']}")
    typer.echo(f"{len(rows)} requests.")


@app.command(epilog="Example: safelane gateway request check DIGEST")
def check(digest: Digest, config: ConfigFile = DEFAULT_CONFIG, agency: AgencyOption = None) -> None:
    """Ask for an NHS number, and say whether the request is about that child. Exit code 1 if not."""
    number = _ask_number()
    body = {"identifiers": [{"scheme": scheme, "value": number} for scheme in ("nhs", "nhs_unverified")]}
    found = call_gateway(config, agency, "POST", f"/requests/{digest}/check", body)["concerns"]
    typer.echo("It is about this child." if found else "It is not about this child.")
    if not found:
        raise typer.Exit(1)


@app.command(epilog="Example: safelane gateway request answer DIGEST --referral REF --person p-31")
def answer(
    digest: Digest,
    *,
    referral: Annotated[str, typer.Option(help="The referral that we sent as the answer.")],
    person: Person,
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
) -> None:
    """Say which message holds the answer: what goes in it is decided like any referral."""
    body = {"person": person, "referral_id": referral}
    typer.echo(f"Answered as {call_gateway(config, agency, 'POST', f'/requests/{digest}/reply', body)['digest']}.")


@app.command(
    epilog="Example: safelane gateway request refuse DIGEST --reason-code more_detrimental --person p-31",
)
def refuse(
    digest: Digest,
    *,
    reason_code: Annotated[str, typer.Option("--reason-code", help="Why, as a code; the asker is told.")],
    person: Person,
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
) -> None:
    """Refuse, with a reason."""
    body = {"person": person, "reason_code": reason_code}
    typer.echo(f"Refused as {call_gateway(config, agency, 'POST', f'/requests/{digest}/reply', body)['digest']}.")


def _ask_number() -> str:
    """Ask for an NHS number without showing it: a number on the command line would stay in the shell's history."""
    return ask_hidden("NHS number")
