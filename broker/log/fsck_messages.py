"""What ``fsck`` checks of messages: the row against its event, the sealed bytes, the signed manifest and header, and what the sender was told."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from broker.log.fsck_reading import (
    Note,
    ReadMessage,
    Signers,
    differ,
    digest,
    is_manifest_signed,
    read_json,
    read_message,
)
from broker.store.pool import Connection

_AT_ONCE: Final = 32
_OF_EVENT: Final = {
    "sender": "sender",
    "referral_id": "referral_id",
    "revision": "revision",
    "kind": "kind",
    "manifest_digest": "manifest_digest",
    "received_at": "at",
}
_OF_MANIFEST: Final = (
    "message_id",
    "sender",
    "referral_id",
    "revision",
    "conversation",
    "supersedes",
    "reseals",
    "issued_at",
    "expires_at",
)
_TOLD: Final = (
    "delivery_id",
    "recipient",
    "role",
    "purpose",
    "outcome",
    "row",
    "policy",
    "reason",
    "authority",
    "queue",
)
_TOLD_LATER: Final = ("alerts", "emits", "retrospective_review", "policy_digest")
_TOLD_IF_THERE: Final = ("deliver_to", "agreement")


async def check_messages(
    connection: Connection,
    found: Sequence[tuple[Any, Mapping[str, Any]]],
    signers: Signers,
    published: Sequence[Sequence[int]],
    note: Note,
) -> None:
    """Compare each ``accepted`` event with its message. ``published`` are (position, version) of the directories that the log has so far."""
    for start in range(0, len(found), _AT_ONCE):
        await _check_some(connection, found[start : start + _AT_ONCE], signers, published, note)


async def _check_some(
    connection: Connection,
    found: Sequence[tuple[Any, Mapping[str, Any]]],
    signers: Signers,
    published: Sequence[Sequence[int]],
    note: Note,
) -> None:
    ids = [UUID(event["message_id"]) for _, event in found]
    rows = await connection.fetch(
        "SELECT m.*, s.tokens, r.sender AS repeated_sender, r.referral_id AS repeated_referral, r.native_ref_digest AS repeated_ref,"
        " (r.message_id IS NOT NULL) AS repeats_something FROM messages m LEFT JOIN message_subjects s USING (message_id)"
        " LEFT JOIN messages r ON r.message_id = m.repeat_of WHERE m.message_id = ANY($1::uuid[])",
        ids,
    )
    stored = {str(row["message_id"]): row for row in rows}
    deliveries: dict[str, list[Any]] = {}
    for row in await connection.fetch(
        'SELECT message_id, delivery_id, number, recipient, outcome, "row", reason, decision FROM deliveries'
        " WHERE message_id = ANY($1::uuid[]) ORDER BY number",
        ids,
    ):
        deliveries.setdefault(str(row["message_id"]), []).append(row)
    clocks: dict[str, set[tuple[str, str | None]]] = {}
    for row in await connection.fetch(
        "SELECT message_id, clock, recipient FROM clocks WHERE message_id = ANY($1::uuid[])", ids
    ):
        clocks.setdefault(str(row["message_id"]), set()).add((row["clock"], row["recipient"]))
    for entry, event in found:
        message = stored.get(event["message_id"])
        if message is None:
            note("message-missing", f"messages {event['message_id']}")
            continue
        before = [version for position, version in published if position < entry["position"]]
        if before and message["directory_version"] != before[-1]:
            note("message-of-another-directory", f"messages {event['message_id']}")
        _check_message(entry, event, message, signers, note)
        _check_notice(event, message, deliveries.get(event["message_id"], []), note)
        if list_clocks(read_json(message["notice"])) - clocks.get(event["message_id"], set()):
            note("clock-missing", f"messages {event['message_id']}")


def _check_message(entry: Any, event: Mapping[str, Any], row: Any, signers: Signers, note: Note) -> None:
    where = f"messages {event['message_id']}"
    if row["event_id"] != entry["event_id"] or differ(row, event, _OF_EVENT) or row["outcome"] != "accepted":
        note("message-differs-from-its-event", where)
    read = _read_signed(row, event["manifest_digest"])
    if read is None or not is_manifest_signed(read, signers.get(event["sender"], ())):
        note("message-is-not-what-was-signed", where)
    elif differ(row, read.manifest, _OF_MANIFEST) or (read.entries is not None and _differs_from_header(row, read)):
        note("message-differs-from-what-was-signed", where)
    if row["repeat_of"] is not None and not _is_repeat(row):
        note("message-repeats-another", where)


def _check_notice(event: Mapping[str, Any], row: Any, deliveries: Sequence[Any], note: Note) -> None:
    where = f"messages {event['message_id']}"
    if row["notice"] is None:
        note("notice-missing", where)  # its event is there, so nobody erased it on request
    elif digest(row["notice"]) != event["notice_sha256"]:
        note("notice-is-not-what-was-logged", where)
    else:
        _check_told(read_json(row["notice"]), deliveries, note)


def _read_signed(row: Any, manifest_digest: str) -> ReadMessage | None:
    """Read a message that is the one taken in; of one whose sealed bytes were erased the signed manifest is left."""
    if (row["body"] is None) == (row["manifest"] is None):
        return None
    if row["body"] is not None and hashlib.sha256(row["body"]).digest() != row["body_sha256"]:
        return None
    read = read_message(row["body"], row["manifest"])
    return read if read is not None and read.digest == manifest_digest else None


def _differs_from_header(row: Any, read: ReadMessage) -> bool:
    said = {"kind": read.entry("case").get("kind"), "native_ref_digest": read.entry("policy").get("native_ref_digest")}
    return differ(row, said, tuple(said)) or sorted(row["tokens"] or []) != read.tokens()


def _is_repeat(row: Any) -> bool:
    """Tell whether what a message is said to repeat has its sender and native reference, and is another referral."""
    return bool(
        row["repeats_something"]
        and row["repeated_sender"] == row["sender"]
        and row["repeated_referral"] != row["referral_id"]
        and (row["repeated_ref"] == row["native_ref_digest"] or row["body"] is None)
    )


def _check_told(notice: Mapping[str, Any], deliveries: Sequence[Any], note: Note) -> None:
    """Compare what the sender was told of each delivery, in its order, with the decisions as they are stored."""
    told = list(notice.get("decisions", ()))
    for number, row in enumerate(deliveries):
        where = f"deliveries {row['delivery_id']}"
        if number >= len(told) or row["number"] != number or told[number]["delivery_id"] != row["delivery_id"]:
            note("decision-missing", where)
            continue
        decision = read_json(row["decision"])
        columns = ("recipient", "outcome", "row", "reason")
        if differ(row, told[number], columns) or describe(decision) != told[number]:
            note("decision-differs-from-what-was-told", where)
    for decision in told[len(deliveries) :]:
        note("decision-missing", f"deliveries {decision['delivery_id']}")


def describe(decision: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a notice says of a stored decision."""
    told = {name: decision.get(name, "") for name in _TOLD}
    told |= {name: decision.get(name) for name in _TOLD_LATER}
    told |= {name: decision[name] for name in _TOLD_IF_THERE if decision.get(name) is not None}
    verdicts = decision.get("compartments", {})
    names = ("result", "row", "reason")
    told["compartments"] = {c: {name: verdict.get(name) for name in names} for c, verdict in verdicts.items()}
    return told


def list_clocks(told: Mapping[str, Any]) -> set[tuple[str, str | None]]:
    """Return the clocks that a notice or event says have begun: each, and whom it binds."""
    return {(c["clock"], recipient) for c in told.get("clocks", ()) for recipient in c.get("recipients") or [None]}


async def check_begun(connection: Connection, found: Sequence[tuple[Any, Mapping[str, Any]]], note: Note) -> None:
    """Find what ``clocks_started`` and ``told`` events say has begun, and no row shows: late clocks, claim tickets."""
    for _, event in found:
        where = f"messages {event['message_id']}"
        if event["event"] == "clocks_started":
            rows = await connection.fetch(
                "SELECT clock, recipient FROM clocks WHERE message_id = $1", UUID(event["message_id"])
            )
            if list_clocks(event) - {(row["clock"], row["recipient"]) for row in rows}:
                note("clock-missing", where)
        elif event.get("code") == "CLAIM_TICKET" and not await connection.fetchval(
            "SELECT 1 FROM tickets WHERE message_id = $1 AND delivery_id = $2",
            UUID(event["message_id"]),
            event["delivery_id"],
        ):
            note("ticket-missing", where)
