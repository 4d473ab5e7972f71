"""The audit on a terminal: events as lines, a referral as a page, and files written whole or not at all."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typer

from schemas.codes import name_clock
from schemas.errors import ConfigInvalid

MARKS = {"full": "F", "summary": "S", "pointer": "P"}
_PERIOD = timedelta(days=30)


def print_events(page: dict[str, Any]) -> None:
    """Print a page of events, one a line, and how to go on."""
    for event in page["events"]:
        parties = " to ".join(name for name in (event.get("sender"), event.get("recipient")) if name)
        about = event.get("referral_id") or event.get("subject") or ""
        words = " ".join(
            str(event[name]) for name in ("kind", "state", "rule", "person") if event.get(name) is not None
        )
        typer.echo(f"{event['position']:>9}  {_time(event['at'])}  {event['event']:16} {words:28} {parties}  {about}")
    complete = page["complete"]
    total = f" of {page['total']}" if "total" in page else ""
    typer.echo(
        f"{len(page['events'])} events{total}. Complete up to position {complete['position']}{_say_behind(complete)}."
    )
    if "next_cursor" in page:
        typer.echo(f"More: the same with --cursor {page['next_cursor']}")


def print_referral(view: dict[str, Any]) -> None:
    """Print a referral's view."""
    if not view["whole"]:
        typer.echo("Your agency's part alone:")
    for message in view["messages"]:
        typer.secho(
            f"{message['referral_id']} revision {message['revision']}: {message['kind']} from {message['sender']}, "
            f"{_time(message['received_at'])}, log {message.get('position', '-')}",
            bold=True,
        )
        typer.echo(f"  message {message['message_id']}  manifest {message['manifest_digest']}")
        for delivery in message["deliveries"]:
            _print_delivery(delivery)
        for clock in message["clocks"]:
            whom = clock.get("recipient", "nobody by name")
            typer.echo(f"  clock {clock['clock']} of {whom}: {clock['state']}, due {_time(clock['due_at'])}")
            typer.echo(f"    {name_clock(clock['clock'])}")
        for statement in message["statements"]:
            typer.echo(
                f"  {statement['type']} {statement['action']} by {statement['by'] or 'the sender'} "
                f"({statement['reason_code'] or 'no reason code'}), {_time(statement['received_at'])}"
            )
    for entry in view["timeline"]:
        event = entry["event"]
        typer.echo(f"  {event['position']:>9}  {_time(event['at'])}  {entry['words']}")


def _print_delivery(delivery: dict[str, Any]) -> None:
    contact = f"#{delivery['contact']}" if delivery.get("contact") else ""
    typer.echo(
        f"  {delivery['delivery_id']}  {delivery['recipient']}{contact} ({delivery['role']}, {delivery['purpose']}), "
        f"now {delivery['state']}"
    )
    for decision in delivery["decisions"]:
        cause = f" after {decision['cause']}" if decision["cause"] else ""
        row = f" by {decision['row']}" if decision["row"] else ""
        typer.echo(f"    {decision['outcome']}{row}{cause}, log {decision.get('position', '-')}: {decision['reason']}")
        for cell in decision["cells"]:
            mark = MARKS.get(cell["result"], cell["result"])
            typer.echo(f"      {cell['compartment']} {mark:9} {cell['row']:4} {cell['title']}. {cell['words']}")
    for hold in delivery["holds"]:
        who = f", decided by {hold['decided_by']}" if hold.get("decided_by") else ""
        typer.echo(f"    {hold['review']} {hold['state']} (owner {hold['owner']}){who}: {hold['reason']}")
    for receipt in delivery["receipts"]:
        typer.echo(
            f"    receipt {receipt['state']} claimed {_time(receipt['claimed_at'])}, "
            f"logged {_time(receipt['logged_at'])}, log {receipt.get('position', '-')}"
        )


def print_access(report: dict[str, Any]) -> None:
    """Print everybody's counts and what is unusual."""
    for person in report["people"]:
        typer.echo(
            f"{person['person']:36} {person['reads']} reads, {person['searches']} searches, {person['exports']} exports, "
            f"{person['decisions']} decisions, {person['referrals']} referrals"
        )
    for found in report["unusual"]:
        typer.secho(f"{found['day']}  {found['person']}  {found['rule']}: {found['words']}", fg="yellow")
    typer.echo(f"{len(report['people'])} people; {len(report['unusual'])} things to ask about.")


def read_period(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """Return a period in UTC: by default the last 30 days."""
    last = _in_utc(until) if until else datetime.now(UTC)
    return (_in_utc(since) if since else last - _PERIOD), last


def write_file(path: Path, produce: Callable[[Callable[[bytes], Any]], None]) -> int:
    """Write a new file beside its place and move it there once it is whole; return its lines.

    Raises:
        ConfigInvalid: the file exists.
    """
    if path.exists():
        raise ConfigInvalid("exists; choose another name", field="FILE")
    part = path.with_name(f"{path.name}.part")
    lines = 0
    try:
        with part.open("xb") as file:
            part.chmod(0o600)  # who looked at what is not for everybody on this machine

            def write(piece: bytes) -> None:
                nonlocal lines
                lines += piece.count(b"\n")
                file.write(piece)

            produce(write)
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    return lines


def _in_utc(instant: datetime) -> datetime:
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _time(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC"


def _say_behind(complete: dict[str, Any]) -> str:
    return f"; {complete['behind']} newer events are not searchable yet" if complete["behind"] else ""
