"""The second half of ``fsck``: events against the records that they are about, and records against events. Both directions."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from broker.store.pool import Connection
from schemas.directory import Directory
from schemas.errors import SafelaneError
from schemas.keys import VerifyingKeys, pair_verifying_keys
from schemas.objects import peek_object, verify_object

Signers = Mapping[str, Sequence[VerifyingKeys]]
Note = Callable[[str, str], None]
_BODIES_AT_ONCE: Final = 32

_COUNTED: Final = {"messages": ("accepted",), "receipts": ("receipt",)}
"""A table whose rows are as many as the events of these kinds."""

CHECKED_KINDS: Final = frozenset({"accepted", "decided", "receipt", "directory"})
"""Events that are compared with their records one by one."""

_LOOSE: Final = {
    "messages": "message_id::text",
    "deliveries": "delivery_id",
    "redecisions": "delivery_id",
    "receipts": "receipt_digest",
    "signed_objects": "object_digest",
    "quarantine": "quarantine_id::text",
}
"""Tables whose every row names its event."""


async def read_signers(connection: Connection) -> Signers:
    """Return every signing key that any stored directory version gave an agency: old receipts stay as they were signed."""
    found: dict[str, dict[str, VerifyingKeys]] = {}
    for row in await connection.fetch("SELECT body FROM directory_versions ORDER BY version"):
        directory = Directory.model_validate(peek_object(row["body"]))
        for agency in directory.agencies:
            for keys in pair_verifying_keys(agency.keys.signing):
                found.setdefault(agency.id, {})[keys.ed25519_kid] = keys
    return {agency: list(keys.values()) for agency, keys in found.items()}


async def check_records(
    connection: Connection, events: Sequence[tuple[Any, Mapping[str, Any]]], signers: Signers, note: Note
) -> None:
    """Compare each accepted, decided, receipt and directory event of a batch with its row. ``events`` are (log row, event)."""
    by_kind: dict[str, list[tuple[Any, Mapping[str, Any]]]] = {}
    for row, event in events:
        by_kind.setdefault(row["kind"], []).append((row, event))
    accepted = by_kind.get("accepted", [])
    for start in range(0, len(accepted), _BODIES_AT_ONCE):
        await _check_messages(connection, accepted[start : start + _BODIES_AT_ONCE], note)
    await _check_decisions(connection, by_kind.get("decided", []), note)
    await _check_receipts(connection, by_kind.get("receipt", []), signers, note)
    for entry, event in by_kind.get("directory", []):
        stored = await connection.fetchval(
            "SELECT body FROM directory_versions WHERE version = $1", event["version_number"]
        )
        if stored is None or _digest(stored) != event["sha256"]:
            note("directory-is-not-what-was-published", f"log_entries {entry['position']}")


async def check_loose_records(connection: Connection, counts: Mapping[str, int], note: Note) -> None:
    """Find records that no event speaks of, receipts of no delivery, and deliveries whose state no receipt bears out."""
    for table, name in _LOOSE.items():
        rows = await connection.fetch(
            f"SELECT {name} AS name FROM {table} t"  # noqa: S608 (constant names)
            " WHERE NOT EXISTS (SELECT 1 FROM log_entries e WHERE e.event_id = t.event_id) LIMIT 100"
        )
        for row in rows:
            note("record-of-no-event", f"{table} {row['name']}")
    for table, kinds in _COUNTED.items():
        rows_there = await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 (constant names)
        logged = sum(counts.get(kind, 0) for kind in kinds)
        if rows_there != logged:
            note("count-wrong", f"{table}: {rows_there} rows, {logged} events")
    for row in await connection.fetch(
        "SELECT receipt_digest FROM receipts r WHERE NOT EXISTS"
        " (SELECT 1 FROM deliveries d WHERE d.message_id = r.message_id AND d.delivery_id = r.delivery_id) LIMIT 100"
    ):
        note("receipt-of-no-delivery", f"receipts {row['receipt_digest']}")
    for row in await connection.fetch(
        "SELECT message_id, delivery_id FROM deliveries d WHERE"
        " (state IN ('accepted', 'opened', 'actioned', 'refused') OR last_receipt IS NOT NULL OR EXISTS"
        " (SELECT 1 FROM receipts r WHERE r.message_id = d.message_id AND r.delivery_id = d.delivery_id))"
        " AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.message_id = d.message_id AND r.delivery_id = d.delivery_id"
        " AND r.receipt_digest = d.last_receipt) LIMIT 100"
    ):
        note("delivery-without-its-receipt", f"deliveries {row['delivery_id']}")
    for row in await connection.fetch(
        "SELECT d.delivery_id FROM deliveries d JOIN receipts r ON r.receipt_digest = d.last_receipt"
        " WHERE d.state IN ('accepted', 'opened', 'actioned', 'refused') AND d.state <> r.state"
        " AND r.state <> 'accepted' LIMIT 100"
    ):
        note("delivery-state-wrong", f"deliveries {row['delivery_id']}")


async def _check_messages(connection: Connection, found: Sequence[tuple[Any, Mapping[str, Any]]], note: Note) -> None:
    if not found:
        return
    rows = await connection.fetch(
        "SELECT message_id, sender, referral_id, revision, kind, manifest_digest, event_id, body_sha256, body, manifest, notice"
        " FROM messages WHERE message_id = ANY($1::uuid[])",
        [UUID(event["message_id"]) for _, event in found],
    )
    stored = {str(row["message_id"]): row for row in rows}
    for entry, event in found:
        row = stored.get(event["message_id"])
        where = f"messages {event['message_id']}"
        if row is None:
            note("message-missing", where)
            continue
        same = ("sender", "referral_id", "revision", "kind", "manifest_digest")
        if row["event_id"] != entry["event_id"] or any(row[name] != event[name] for name in same):
            note("message-differs-from-its-event", where)
        if not _is_as_signed(row, event["manifest_digest"]):
            note("message-is-not-what-was-signed", where)
        if row["notice"] is None:
            note("notice-missing", where)  # its event is there, so nobody erased it on request
        elif _digest(row["notice"]) != event["notice_sha256"]:
            note("notice-is-not-what-was-logged", where)
        else:
            await _check_told(connection, row["message_id"], row["notice"], note)


async def _check_told(connection: Connection, message_id: UUID, notice: bytes, note: Note) -> None:
    """Compare what the sender was told of each delivery, which the log commits to, with the decisions as they are stored."""
    rows = await connection.fetch(
        'SELECT delivery_id, recipient, outcome, "row", reason, decision FROM deliveries WHERE message_id = $1',
        message_id,
    )
    stored = {row["delivery_id"]: row for row in rows}
    told = {decision["delivery_id"]: decision for decision in json.loads(notice)["decisions"]}
    for delivery_id in stored.keys() ^ told.keys():
        note("decision-missing", f"deliveries {delivery_id}")
    for delivery_id in stored.keys() & told.keys():
        row, said = stored[delivery_id], told[delivery_id]
        decision = json.loads(row["decision"])
        same = ("recipient", "outcome", "row", "reason")
        forms = {c: (d["result"], d["row"]) for c, d in decision.get("compartments", {}).items()}
        shown = {c: (d["result"], d["row"]) for c, d in said["compartments"].items()}
        if any(row[name] != said[name] or decision.get(name, "") != said[name] for name in same) or forms != shown:
            note("decision-differs-from-what-was-told", f"deliveries {delivery_id}")


async def _check_decisions(connection: Connection, found: Sequence[tuple[Any, Mapping[str, Any]]], note: Note) -> None:
    if not found:
        return
    rows = await connection.fetch(
        "SELECT d.event_id, d.message_id, d.delivery_id, d.recipient, d.role, d.purpose, d.outcome, d.released, d.keyring_kid"
        " FROM deliveries d JOIN unnest($1::uuid[], $2::text[]) AS w (message_id, delivery_id) USING (message_id, delivery_id)"
        " UNION ALL SELECT r.event_id, r.message_id, r.delivery_id, d.recipient, d.role, d.purpose, r.outcome, r.released, r.keyring_kid"
        " FROM redecisions r JOIN deliveries d USING (message_id, delivery_id) WHERE r.event_id = ANY($3::uuid[])",
        [UUID(event["message_id"]) for _, event in found],
        [event["delivery_id"] for _, event in found],
        [entry["event_id"] for entry, _ in found],
    )
    stored = {row["event_id"]: row for row in rows}
    for entry, event in found:
        row = stored.get(entry["event_id"])
        where = f"deliveries {event['delivery_id']}"
        if row is None:
            note("decision-missing", where)
            continue
        same = ("delivery_id", "recipient", "role", "purpose", "outcome", "keyring_kid")
        differs = any(row[name] != event[name] for name in same) or str(row["message_id"]) != event["message_id"]
        if differs or sorted(row["released"]) != sorted(event["released"]):
            note("decision-differs-from-its-event", where)


async def _check_receipts(
    connection: Connection, found: Sequence[tuple[Any, Mapping[str, Any]]], signers: Signers, note: Note
) -> None:
    if not found:
        return
    rows = await connection.fetch(
        "SELECT receipt_digest, message_id, delivery_id, state, previous, decision_leaf, event_id, body"
        " FROM receipts WHERE receipt_digest = ANY($1::text[])",
        [event["receipt_digest"] for _, event in found],
    )
    stored = {row["receipt_digest"]: row for row in rows}
    for entry, event in found:
        row = stored.get(event["receipt_digest"])
        where = f"receipts {event['receipt_digest']}"
        if row is None:
            note("receipt-missing", where)
            continue
        same = ("delivery_id", "state", "previous", "decision_leaf")
        differs = any(row[name] != event[name] for name in same) or str(row["message_id"]) != event["message_id"]
        if differs or row["event_id"] != entry["event_id"]:
            note("receipt-differs-from-its-event", where)
        if (
            row["body"] is None
            or _digest_payload(row["body"]) != event["receipt_digest"]
            or not _is_signed(row["body"], signers.get(event["recipient"], ()))
        ):
            note("receipt-is-not-what-was-signed", where)


def _is_signed(body: bytes, keys: Sequence[VerifyingKeys]) -> bool:
    try:
        verify_object("receipt", body, keys)
    except SafelaneError:
        return False
    return True


def _is_as_signed(row: Any, manifest_digest: str) -> bool:
    """Tell whether a message is the one that was taken in; of one whose sealed bytes were erased the signed manifest is left."""
    if row["body"] is None:
        return row["manifest"] is not None and _digest_payload(row["manifest"]) == manifest_digest
    if row["manifest"] is not None or hashlib.sha256(row["body"]).digest() != row["body_sha256"]:
        return False
    try:
        return _digest_text(json.loads(row["body"])["manifest"]["payload"]) == manifest_digest
    except (ValueError, KeyError, TypeError):
        return False


def _digest_payload(body: bytes) -> str | None:
    try:
        return _digest_text(json.loads(body)["payload"])
    except (ValueError, KeyError, TypeError):
        return None


def _digest_text(payload: str) -> str:
    return _digest(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def _digest(raw: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=").decode()
