"""Commands of ``safelane gateway`` about the registers: late release, consent, claims of danger, recall, deletion. They call the running gateway."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.cli import gateway_receipts, gateway_requests, gateway_token
from deploy.cli.gateway_call import call_gateway
from deploy.cli.gateway_options import DEFAULT_CONFIG, AgencyOption, ConfigFile, Person
from deploy.cli.told import describe_told
from deploy.cli.verdicts import show_minute

Reason = Annotated[str, typer.Option("--reason-code", help="Why, as a code; the words stay with your agency.")]

approvals_app = typer.Typer(
    no_args_is_help=True, help="Keys of what an approver released: see what is asked, give or refuse."
)
consent_app = typer.Typer(no_args_is_help=True, help="Record consent: give, refuse, withdraw.")


def add_commands(app: typer.Typer) -> None:
    """Add these commands to ``safelane gateway``."""
    app.add_typer(approvals_app, name="approvals")
    app.add_typer(consent_app, name="consent")
    app.add_typer(gateway_requests.app, name="request")
    app.command(
        "break-glass", epilog="Example: safelane gateway break-glass REFERRAL --person p-17 --reason-code danger_now"
    )(break_glass)
    app.command("recall", epilog="Example: safelane gateway recall REFERRAL --reason-code wrong_child")(recall)
    app.command("confirm-deletion", epilog="Example: safelane gateway confirm-deletion DELIVERY")(confirm_deletion)
    app.command(
        "receipt",
        epilog="Example: safelane gateway receipt DELIVERY --state refused --reason-code not_our_child --person p-17",
    )(gateway_receipts.receipt)
    app.command("token", epilog="Example: safelane gateway token child.token --person p-17")(gateway_token.token)
    app.command("told", epilog="Example: safelane gateway told")(told)


@approvals_app.command("list", epilog="Example: safelane gateway approvals list")
def list_approvals(config: ConfigFile = DEFAULT_CONFIG, agency: AgencyOption = None) -> None:
    """Show the hub's requests for keys, and what became of them."""
    answer = call_gateway(config, agency, "GET", "/approvals")
    for row in answer["approvals"]:
        typer.echo(
            f"{row['digest']}  {row['state']:<8} to {row['recipient']} because of {row['cause']}, asked {show_minute(row['asked_at'])}"
        )
        if "compartments" in row:
            asked = " ".join(row["compartments"])
            typer.echo(f"    {asked} of referral {row['referral_id']}, delivery {row['delivery_id']}")
    typer.echo(f"{len(answer['approvals'])} requests.")


@approvals_app.command("give", epilog="Example: safelane gateway approvals give DIGEST --person p-17")
def give(
    digest: Annotated[str, typer.Argument(help="The request, as 'approvals list' shows it.")],
    *,
    person: Person,
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
) -> None:
    """Give the keys; the approvers' own signatures are verified here once more."""
    call_gateway(config, agency, "POST", f"/approvals/{digest}", {"by": person})
    typer.echo("Given.")


@approvals_app.command(
    "refuse",
    epilog="Example: safelane gateway approvals refuse DIGEST --person p-17 --reason-code not_agreed",
)
def refuse_approval(
    digest: Annotated[str, typer.Argument(help="The request, as 'approvals list' shows it.")],
    *,
    person: Person,
    reason_code: Reason,
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
) -> None:
    """Give nothing; the hold stays in the hub's queue for its owner."""
    call_gateway(config, agency, "POST", f"/approvals/{digest}", {"by": person, "refuse_for": reason_code})
    typer.echo("Refused; nothing was given.")


Giver = Annotated[str, typer.Option(help="adult_subject, parent_pr_holder or child.")]
Referral = Annotated[str, typer.Option("--referral", help="A referral that we sent: the children it is about.")]
Purposes = Annotated[
    list[str] | None,
    typer.Option(
        "--purpose",
        help="Only for this purpose; repeat for more. Without it: every purpose that an agreement lets us record.",
    ),
]
Recipients = Annotated[list[str] | None, typer.Option("--recipient", help="Only to this agency; repeat for more.")]


@consent_app.command(
    "give",
    epilog="Example: safelane gateway consent give --referral REF --person p-17 --giver child --capacity gillick --assessor p-20",
)
def give_consent(
    *,
    referral: Referral,
    person: Person,
    giver: Giver,
    capacity: Annotated[
        str | None, typer.Option(help="adult, presumed_16_17, gillick or parental_responsibility.")
    ] = None,
    assessor: Annotated[str | None, typer.Option(help="Who assessed Gillick competence (an id).")] = None,
    purpose: Purposes = None,
    recipient: Recipients = None,
    method: Annotated[str | None, typer.Option(help="How it was given, as a code.")] = None,
    wording: Annotated[str | None, typer.Option(help="Version of the wording that was used.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="It ends after so many days.")] = None,
    evidence: Annotated[
        str | None, typer.Option(help="What shows parental responsibility, as a code (birth_certificate …).")
    ] = None,
    interpreter: Annotated[
        bool | None, typer.Option("--interpreter/--no-interpreter", help="Whether an interpreter was used.")
    ] = None,
    supersedes: Annotated[
        str | None, typer.Option(help="The consent (its id) by the same giver that this one replaces.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
) -> None:
    """Record that consent was given."""
    expires_at = (datetime.now(UTC) + timedelta(days=days)).isoformat() if days else None
    entry = {
        "state": "given",
        "referral_id": referral,
        "recorder": person,
        "giver": giver,
        "capacity": capacity,
        "assessor": assessor,
        "method": method,
        "wording_version": wording,
        "expires_at": expires_at,
        "parental_responsibility_evidence": evidence,
        "interpreter": interpreter,
        "supersedes": supersedes,
        "scope": {name: value for name, value in (("purposes", purpose), ("recipients", recipient)) if value} or None,
    }
    _record(config, agency, entry)


@consent_app.command(
    "refuse",
    epilog="Example: safelane gateway consent refuse --referral REF --person p-17 --giver parent_pr_holder --reason-code does_not_want",
)
def refuse_consent(
    *,
    referral: Referral,
    person: Person,
    giver: Giver,
    reason_code: Reason,
    capacity: Annotated[
        str | None, typer.Option(help="adult, presumed_16_17, gillick or parental_responsibility.")
    ] = None,
    assessor: Annotated[str | None, typer.Option(help="Who assessed Gillick competence (an id).")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
) -> None:
    """Record that consent was refused."""
    entry = {
        "state": "refused",
        "referral_id": referral,
        "recorder": person,
        "giver": giver,
        "capacity": capacity,
        "assessor": assessor,
        "reason_code": reason_code,
    }
    _record(config, agency, entry)


@consent_app.command(
    "withdraw", epilog="Example: safelane gateway consent withdraw CONSENT --person p-17 --reason-code changed_mind"
)
def withdraw_consent(
    consent: Annotated[str, typer.Argument(help="The consent's id, as 'consent give' printed it.")],
    *,
    person: Person,
    reason_code: Reason,
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
) -> None:
    """Record that consent was withdrawn: what is queued and not collected stops; what was collected is not recalled."""
    _record(
        config, agency, {"state": "withdrawn", "consent_id": consent, "recorder": person, "reason_code": reason_code}
    )


def _record(config: Path, agency: str | None, entry: dict[str, Any]) -> None:
    answer = call_gateway(config, agency, "POST", "/consents", {k: v for k, v in entry.items() if v is not None})
    typer.echo(f"consent {answer['subject']}: {entry['state']}, recorded as {answer['digest']}")


def break_glass(
    referral: Annotated[str, typer.Argument(help="A referral that we sent, or the id of a message that we received.")],
    *,
    person: Person,
    reason_code: Reason,
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
) -> None:
    """Claim immediate danger: delivery happens at once, within the matrix; a retrospective review opens with a deadline."""
    answer = call_gateway(
        config, agency, "POST", f"/messages/{referral}/break-glass", {"person": person, "reason_code": reason_code}
    )
    typer.echo(f"Claimed as {answer['digest']}. A review is open: somebody else looks at it.")


def recall(
    referral: Annotated[str, typer.Argument(help="A referral that we sent.")],
    *,
    reason_code: Reason,
    days: Annotated[int, typer.Option(min=1, max=90, help="Delete within so many days.")] = 5,
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
) -> None:
    """Ask every recipient to delete it; each confirms by a signed object."""
    delete_by = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    body = {"reason_code": reason_code, "delete_by": delete_by}
    answer = call_gateway(config, agency, "POST", f"/referrals/{referral}/recall", body)
    typer.echo(f"Recalled as {answer['digest']}.")


def confirm_deletion(
    delivery: Annotated[str, typer.Argument(help="The recalled delivery.")],
    *,
    exception: Annotated[str | None, typer.Option(help="Why it must be kept (legal_hold …), as a code.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    agency: AgencyOption = None,
) -> None:
    """Erase a recalled delivery here and sign that it is deleted. Delete it in your case system first."""
    body = {"exceptions_code": exception} if exception else {}
    answer = call_gateway(config, agency, "POST", f"/inbox/{delivery}/deletion", body)
    if exception is None:
        typer.echo(f"Confirmed as {answer['digest']}.")
        return
    typer.echo(f"Nothing is erased; signed as {answer['digest']}.")
    typer.echo(f"When it need not be kept any more: safelane gateway confirm-deletion {delivery}")


def told(config: ConfigFile = DEFAULT_CONFIG, agency: AgencyOption = None) -> None:
    """Show what the hub told us, newest first, and what to do: withdrawn consents, recalls, requests, what is overdue."""
    answer = call_gateway(config, agency, "GET", "/told")
    for row in answer["told"]:
        for line in describe_told(row):
            typer.echo(line)
    for row in answer["tickets"]:
        typer.echo(f"ticket {row['delivery_id']}: {row['state']} {row['code'] or ''}")
    typer.echo(f"{len(answer['told'])} told, {len(answer['tickets'])} tickets, {len(answer['recalled'])} recalled.")
