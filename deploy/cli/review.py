"""``safelane review``: what policy holds waits here for a person, who releases or refuses it with their own key."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.personal_key import Hub, KeyFile, PassphraseFile, Reason, Trust, connect
from deploy.cli.review_signing import sign
from deploy.cli.verdicts import show_minute

if TYPE_CHECKING:
    from deploy.authority.people import Approver
    from deploy.review_link import ReviewLink

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Delivery = Annotated[str, typer.Argument(help="The delivery's id, as 'review list' shows it.")]
Headings = Annotated[
    list[str] | None,
    typer.Option(
        "--compartment", help="Release this heading (C12 …) only; repeat for more. Without it: all that is held."
    ),
]


app.command("sign", epilog='Example: safelane review sign --key ann.key.json \'{"action": "refuse", …}\'')(sign)


@app.callback()
def describe() -> None:
    """Review what policy holds: list, claim, release, refuse. Each step is logged; what you decide is signed with your own key."""


@app.command(
    "list",
    epilog="Example: safelane review list --key ann.key.json --hub https://hub.example.org:8443 --trust trust.json",
)
def list_reviews(
    *,
    key: KeyFile,
    hub: Hub,
    trust: Trust,
    state: Annotated[str, typer.Option(help="open, released, refused, done or all.")] = "open",
    passphrase_file: PassphraseFile = None,
) -> None:
    """Show what waits, the most urgent first."""
    approver, link = connect(key, hub, trust, passphrase_file)
    with link:
        rows = link.list_reviews(approver, state)
    for row in rows:
        mark = "OVERDUE " if row["overdue"] else ""
        typer.echo(
            f"{row['delivery_id']}  {mark}{row['review']} {row['kind']} to {row.get('recipient', '-')} until {show_minute(row['deadline_at'])}"
        )
        typer.echo(
            f"    {row['reason']}  owner {row['owner']}, {row['state']}, claimed by {row.get('claimed_by', 'nobody')}"
        )
        for code, verdict in row["held"].items():
            typer.echo(f"    {code} {verdict['row']}: {verdict['reason']}")
        for code, verdict in row["withheld"].items():
            typer.echo(
                f"    {code} {verdict['row']} cannot be released to them: {verdict['reason']} Refuse it when you have seen to it."
            )
    typer.echo(f"{len(rows)} in the queue.")


@app.command(
    epilog="Example: safelane review claim DELIVERY --key ann.key.json --hub https://hub.example.org:8443 --trust trust.json"
)
def claim(delivery: Delivery, *, key: KeyFile, hub: Hub, trust: Trust, passphrase_file: PassphraseFile = None) -> None:
    """Take a hold on yourself, so that nobody else decides it meanwhile."""
    approver, link = connect(key, hub, trust, passphrase_file)
    with link:
        row = _find(link, approver, delivery)
        link.claim(approver, row["message_id"], delivery)
    typer.echo(f"{delivery} is yours.")


@app.command(
    epilog="Example: safelane review release DELIVERY --reason-code need_to_know --compartment C12 --key ann.key.json --hub … --trust …"
)
def release(
    delivery: Delivery,
    *,
    reason_code: Reason,
    key: KeyFile,
    hub: Hub,
    trust: Trust,
    compartment: Headings = None,
    joins: Annotated[str | None, typer.Option(help="The first approval's id, where two are needed.")] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Release what is held. The sender's gateway checks your signature itself before it gives any key."""
    _decide("release", delivery, (key, hub, trust, passphrase_file), reason_code, compartments=compartment, joins=joins)


@app.command(
    epilog="Example: safelane review refuse DELIVERY --reason-code not_necessary --key ann.key.json --hub … --trust …"
)
def refuse(
    delivery: Delivery,
    *,
    reason_code: Reason,
    key: KeyFile,
    hub: Hub,
    trust: Trust,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Refuse what is held; the sender is told, with your reason."""
    _decide("refuse", delivery, (key, hub, trust, passphrase_file), reason_code)


@app.command(
    "lift-embargo",
    epilog="Example: safelane review lift-embargo DELIVERY --reason-code warrant_executed --key ann.key.json --hub … --trust …",
)
def lift_embargo(
    delivery: Delivery,
    *,
    reason_code: Reason,
    key: KeyFile,
    hub: Hub,
    trust: Trust,
    only: Annotated[
        bool, typer.Option("--only-this-recipient", help="Name this recipient; the embargo stays for others.")
    ] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """For the embargo's owner: lift it, or name one more recipient."""
    _state("lift_embargo", delivery, (key, hub, trust, passphrase_file), reason_code, recipient=only)


@app.command(
    "keep-embargo",
    epilog="Example: safelane review keep-embargo DELIVERY --reason-code still_needed --key ann.key.json --hub … --trust …",
)
def keep_embargo(
    delivery: Delivery,
    *,
    reason_code: Reason,
    key: KeyFile,
    hub: Hub,
    trust: Trust,
    passphrase_file: PassphraseFile = None,
) -> None:
    """For the embargo's owner: it was reviewed and stays. It never ends by itself."""
    _state("review_embargo", delivery, (key, hub, trust, passphrase_file), reason_code)


@app.command(
    "token",
    epilog="Example: safelane review token DELIVERY --scheme MAPPA --reason-code panel_decided --key ann.key.json --hub … --trust …",
)
def issue_token(
    delivery: Delivery,
    *,
    scheme: Annotated[str, typer.Option(help="MAPPA, CSODS or DVDS.")],
    reason_code: Reason,
    key: KeyFile,
    hub: Hub,
    trust: Trust,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign a disclosure token for this delivery's recipient; it is used once and expires."""
    _state("disclosure_token", delivery, (key, hub, trust, passphrase_file), reason_code, recipient=True, scheme=scheme)


@app.command(
    "close",
    epilog="Example: safelane review close DELIVERY --reason-code justified --key ann.key.json --hub … --trust …",
)
def close_review(
    delivery: Delivery,
    *,
    reason_code: Reason,
    key: KeyFile,
    hub: Hub,
    trust: Trust,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Close the retrospective review of broken glass; not for whoever broke it."""
    _state("review_break_glass", delivery, (key, hub, trust, passphrase_file), reason_code)


@app.command(
    "agree",
    epilog="Example: safelane review agree erase ref_3kq9x2vw --reason-code subject_request --key ann.key.json --hub … --trust …",
)
def agree(
    action: Annotated[str, typer.Argument(help="chronology, erase or lift_hold.")],
    subject: Annotated[
        str, typer.Argument(help="erase: the referral's id; lift_hold: the hold's; chronology: a file with the token.")
    ],
    *,
    reason_code: Reason,
    key: KeyFile,
    hub: Hub,
    trust: Trust,
    role: Annotated[
        str | None,
        typer.Option(help="Which of your roles approves it; default: the first that is for the whole partnership."),
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign, as one of the two people that it takes. The hub sees a digest of what it is about; each signature serves once, within a day."""
    from deploy.authority.people import sign_approval
    from deploy.cli.hub_retention import read_token
    from schemas.canonical import sha256_base64url

    about = read_token(Path(subject)) if action == "chronology" else subject
    approver, link = connect(key, hub, trust, passphrase_file)
    with link:
        approval = sign_approval(
            approver,
            now=datetime.now(UTC),
            action=action,
            subject_digest=sha256_base64url(about.encode()),
            approver_role=role,
            reason_code=reason_code,
        )
        digest = link.hand_in(approver, approval)
    typer.echo(f"{action}: registered as {digest}. Another person must do the same.")


def _state(
    action: str,
    delivery: str,
    connection: tuple[Path, str, Path, Path | None],
    reason_code: str,
    *,
    recipient: bool = False,
    scheme: str | None = None,
) -> None:
    """Sign and hand in a decision about the message that a delivery belongs to."""
    from deploy.authority.people import sign_approval

    approver, link = connect(*connection)
    with link:
        row = _find(link, approver, delivery, any_review=True)
        approval = sign_approval(
            approver,
            now=datetime.now(UTC),
            action=action,
            message_id=row["message_id"],
            manifest_digest=row["manifest_digest"],
            delivery_id=delivery if action == "disclosure_token" else None,
            recipient=row["recipient"] if recipient else None,
            scheme=scheme,
            reason_code=reason_code,
        )
        digest = link.hand_in(approver, approval)
    typer.echo(f"{action}: registered as {digest}")


def _decide(
    action: str, delivery: str, connection: tuple[Path, str, Path, Path | None], reason_code: str, **options: Any
) -> None:
    from deploy.authority.people import sign_approval

    approver, link = connect(*connection)
    with link:
        row = _find(link, approver, delivery)
        held = list(row["held"])
        chosen = options.get("compartments") or held
        approval = sign_approval(
            approver,
            now=datetime.now(UTC),
            action=action,
            message_id=row["message_id"],
            manifest_digest=row["manifest_digest"],
            delivery_id=delivery,
            recipient=row["recipient"],
            compartments=[] if _whole(row) else chosen,
            reason_code=reason_code,
            joins=options.get("joins"),
        )
        digest = link.hand_in(approver, approval)
    typer.echo(f"{action}: registered as {digest}")


def _whole(row: dict[str, Any]) -> bool:
    """Tell whether the delivery as a whole is held (all its headings by one row), not single headings of it."""
    rows = {verdict["row"] for verdict in row["held"].values()}
    return rows == {row["row"]} and row.get("outcome", "held") == "held"


def _find(link: "ReviewLink", approver: "Approver", delivery: str, *, any_review: bool = False) -> dict[str, Any]:
    from schemas.errors import NotFound

    for row in link.list_reviews(approver, "all"):
        if row.get("delivery_id") == delivery and (any_review or row["review"] == "hold"):
            return row
    raise NotFound("nothing of this delivery is held", field="delivery")
