"""What ``fsck`` checks of receipts and other signed objects: signature, chain and event, and the registers' rows, which repeat what was signed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from broker.log.fsck_reading import Note, Signers, differ, digest, encode, is_same, is_signed, read_json, read_payload
from broker.store.pool import Connection
from schemas.canonical import canonical_bytes

_RECEIPT_EVENT: Final = {
    "message_id": "message_id",
    "delivery_id": "delivery_id",
    "state": "state",
    "previous": "previous",
    "decision_leaf": "decision_leaf",
    "receipt_digest": "receipt_digest",
    "received_at": "at",
}
_RECEIPT_SIGNED: Final = ("message_id", "delivery_id", "state", "reason_code", "previous", "decision_leaf", "at")
_OBJECT_EVENT: Final = {
    "type": "type",
    "sender": "sender",
    "object_digest": "object_digest",
    "message_id": "message_id",
    "received_at": "at",
}


async def check_receipts(
    connection: Connection, found: Sequence[tuple[Any, Mapping[str, Any]]], signers: Signers, note: Note
) -> None:
    """Compare each ``receipt`` event with its receipt, and that with its signature."""
    if not found:
        return
    rows = await connection.fetch(
        "SELECT r.*, d.recipient, m.referral_id, m.manifest_digest, m.sender FROM receipts r LEFT JOIN deliveries d USING (message_id, delivery_id)"
        " LEFT JOIN messages m USING (message_id) WHERE receipt_digest = ANY($1::text[])",
        [event["receipt_digest"] for _, event in found],
    )
    stored = {row["receipt_digest"]: row for row in rows}
    decisions = await _read_decisions(connection, {row["message_id"] for row in rows})
    for entry, event in found:
        row = stored.get(event["receipt_digest"])
        where = f"receipts {event['receipt_digest']}"
        if row is None:
            note("receipt-missing", where)
            continue
        if row["event_id"] != entry["event_id"] or differ(row, event, _RECEIPT_EVENT):
            note("receipt-differs-from-its-event", where)
        if event["recipient"] != row["recipient"] or event["sender"] != row["sender"]:
            note("receipt-of-another-delivery", where)
        read = read_payload(row["body"])
        if (
            read is None
            or read[0] != event["receipt_digest"]
            or not is_signed("receipt", row["body"], signers.get(event["recipient"], ()))
        ):
            note("receipt-is-not-what-was-signed", where)
        elif differ(row, read[1], _RECEIPT_SIGNED):
            note("receipt-differs-from-what-was-signed", where)
        elif not _is_of_decision(read[1], row, entry["position"], decisions):
            note("receipt-of-no-decision", where)
        if row["notice"] != _write_notice(row, event):
            note("notice-is-not-what-was-logged", where)


async def _read_decisions(connection: Connection, messages: Iterable[UUID]) -> dict[tuple[str, str, str], Any]:
    """Return message, delivery and leaf to each decision, first or later: its place in the log, and what it released."""
    rows = await connection.fetch(
        "SELECT l.message_id::text, l.delivery_id, l.released, e.position, sha256(e.entry) AS leaf"
        " FROM (SELECT event_id, message_id, delivery_id, released FROM deliveries WHERE message_id = ANY($1::uuid[])"
        " UNION ALL SELECT event_id, message_id, delivery_id, released FROM redecisions WHERE message_id = ANY($1::uuid[])) l"
        " JOIN log_entries e USING (event_id)",
        list(messages),
    )
    return {(row["message_id"], row["delivery_id"], encode(row["leaf"])): row for row in rows}


def _is_of_decision(signed: Mapping[str, Any], row: Any, position: int, decisions: Mapping[Any, Any]) -> bool:
    """Tell whether a receipt is for a decision of its delivery that the log held before it, and for all that this released."""
    decided = decisions.get((signed["message_id"], signed["delivery_id"], signed["decision_leaf"]))
    return (
        decided is not None
        and decided["position"] < position
        and sorted(decided["released"]) == signed["sections"]
        and not differ(row, signed, ("manifest_digest", "referral_id"))
    )


def _write_notice(row: Any, event: Mapping[str, Any]) -> bytes:
    """Return the word to its signer that a receipt is recorded: no event holds its digest, so it is written anew."""
    nothing: dict[str, Any] = {
        "revision": None,
        "retryable": False,
        "error": None,
        "manifest_digest": None,
        "decisions": [],
    }
    said = {"notice": 1, "outcome": "recorded", "at": event["at"], "referral_id": row["referral_id"]}
    return canonical_bytes(
        nothing | said | {name: event[name] for name in ("message_id", "delivery_id", "receipt_digest")}
    )


async def check_objects(
    connection: Connection, found: Sequence[tuple[Any, Mapping[str, Any]]], signers: Signers, note: Note
) -> None:
    """Compare each ``object`` event with its signed object, and that with its signature and the register that repeats it."""
    if not found:
        return
    rows = await connection.fetch(
        "SELECT * FROM signed_objects WHERE event_id = ANY($1::uuid[])", [entry["event_id"] for entry, _ in found]
    )
    stored = {row["event_id"]: row for row in rows}
    read: dict[str, Mapping[str, Any]] = {}
    for entry, event in found:
        row = stored.get(entry["event_id"])
        where = f"signed_objects {event['object_digest']}"
        if row is None:
            note("object-missing", where)
            continue
        if differ(row, event, _OBJECT_EVENT):
            note("object-differs-from-its-event", where)
        if row["notice"] is not None and digest(row["notice"]) != event["notice_sha256"]:
            note("notice-is-not-what-was-logged", where)
        if row["body"] is None:
            continue  # ``fsck_erasures`` asks whether it was erased
        payload = read_payload(row["body"])
        if (
            payload is None
            or payload[0] != event["object_digest"]
            or not is_signed(row["type"], row["body"], _find_keys(payload[1], row, signers))
        ):
            note("object-is-not-what-was-signed", where)
        else:
            read[event["object_digest"]] = {**payload[1], "received_at": event["at"], "type": event["type"]}
    await _check_registers(connection, read, note)


def _find_keys(payload: Mapping[str, Any], row: Any, signers: Signers) -> Sequence[Any]:
    if row["type"] != "approval":
        return signers.get(row["sender"], ())
    return signers.get(f"person:{payload.get('approver')}", ())


_REGISTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "approvals": (
        *(
            "approval_id",
            "action",
            "approver",
            "approver_agency",
            "approver_role",
            "requester",
            "message_id",
            "delivery_id",
        ),
        *("recipient", "compartments", "sections", "scheme", "reason_code", "issued_at", "expires_at", "single_use"),
        *("policy_digest", "subject_digest"),
    ),
    "consents": ("consent_id", "recorded_by", "state", "previous"),
    "addenda": ("message_id", "delivery_id", "sections"),
    "break_glass_claims": ("message_id", "agency", "person", "reason_code", "claimed_at"),
    "recalls": ("recall_id", "message_id", "deliveries", "reason_code", "delete_by"),
    "deletions": ("recall_id", "delivery_id", "agency", "deleted_at", "exceptions_code"),
    "requests": ("request_id", "step", "requester", "recipient", "answer_due_at", "previous"),
}
"""Registers whose rows repeat the members of one signed object."""


def _find_register(signed: Mapping[str, Any]) -> str | None:
    control = {"break_glass": "break_glass_claims", "deletion_confirmed": "deletions"}
    by_type = {
        "approval": "approvals",
        "consent": "consents",
        "keyring_addendum": "addenda",
        "recall": "recalls",
        "request": "requests",
        "control": control.get(str(signed.get("control"))),
    }
    return by_type.get(str(signed["type"]))


async def _check_registers(connection: Connection, signed: Mapping[str, Mapping[str, Any]], note: Note) -> None:
    wanted: dict[str, list[str]] = {}
    for object_digest, members in signed.items():
        if register := _find_register(members):
            wanted.setdefault(register, []).append(object_digest)
    for register, digests in wanted.items():
        rows = await connection.fetch(f"SELECT * FROM {register} WHERE object_digest = ANY($1::text[])", digests)  # noqa: S608 (constant names)
        stored = {row["object_digest"]: row for row in rows}
        for object_digest in digests:
            row = stored.get(object_digest)
            where = f"{register} {object_digest}"
            if row is None:
                note("register-entry-missing", where)
            elif differ(row, signed[object_digest], (*_REGISTERS[register], "received_at")) or not _repeats(
                register, row, signed[object_digest]
            ):
                note("register-differs-from-what-was-signed", where)


def _repeats(register: str, row: Any, signed: Mapping[str, Any]) -> bool:
    """Tell whether the columns that no member gives as it is are right too."""
    if register == "consents":
        tokens = sorted({f"{t['scheme']}|{t['pepper_id']}|{t['value']}" for t in signed["subject_tokens"]})
        ends = signed["expires_at"] if signed["state"] == "given" else None
        record = {name: value for name, value in signed.items() if name not in {"received_at", "type"}}
        return list(row["tokens"]) == tokens and is_same(row["expires_at"], ends) and read_json(row["record"]) == record
    return register != "addenda" or row["kid"] == signed["keyring_descriptor"]["kid"]
