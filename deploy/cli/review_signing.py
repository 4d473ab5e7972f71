"""``safelane review sign``: sign on one's own machine what the console prepared, to be handed in there. Needs no connection to the hub."""

import json
from typing import Annotated

import typer

from deploy.cli.personal_key import KeyFile, PassphraseFile, open_key

PREPARED = frozenset(
    {
        "action",
        "message_id",
        "manifest_digest",
        "delivery_id",
        "reason_code",
        "compartments",
        "joins",
        "policy_digest",
        "subject_digest",
        "approver_role",
    }
)
"""What the console may prepare; who signs, and until when it counts, is not its business."""


def sign(
    document: Annotated[str, typer.Argument(metavar="DOCUMENT", help="What the console shows, in quotes.")],
    *,
    key: KeyFile,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Show what the console prepared, sign it with your own key, and print what you paste back there."""
    from datetime import UTC, datetime

    from deploy.authority.people import sign_approval
    from schemas.canonical import parse_object
    from schemas.errors import MalformedMessage

    members = parse_object(document.encode(), max_bytes=16_384, field="document")
    unknown = sorted(set(members) - PREPARED)
    if unknown or "action" not in members:
        raise MalformedMessage("is not what the console prepares", field="document")
    for name, value in members.items():
        typer.echo(
            f"{name:16} {', '.join(value) or 'all that is held' if isinstance(value, list) else value}", err=True
        )
    approver = open_key(key, passphrase_file)
    signed = sign_approval(approver, now=datetime.now(UTC), **members)
    typer.echo(f"Signed as {approver.id}. Paste the next line into the console.", err=True)
    typer.echo(json.dumps(json.loads(signed), separators=(",", ":")))
