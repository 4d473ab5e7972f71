"""What ``fsck`` checks of decisions: first and later ones against their events, and the commitments to what a recipient may not see."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from broker.log.fsck_messages import describe
from broker.log.fsck_reading import Note, ReadMessage, differ, digest, read_json, read_message
from broker.store.pool import Connection
from schemas.canonical import canonical_bytes

_OF_EVENT: Final = {
    "message_id": "message_id",
    "delivery_id": "delivery_id",
    "recipient": "recipient",
    "role": "role",
    "purpose": "purpose",
    "outcome": "outcome",
    "keyring_kid": "keyring_kid",
    "released": "released",
    "decided_at": "at",
}
_OF_DECISION: Final = ("delivery_id", "recipient", "role", "purpose", "outcome", "row", "reason")
_AT_ONCE: Final = 64

_ROWS: Final = """
SELECT d.event_id, d.message_id, d.delivery_id, d.recipient, d.role, d.purpose, d.contact, d.outcome, d."row", d.reason, d.released, d.keyring_kid,
  d.decided_at, d.decision, d.rest_salt, 0 AS number, '' AS cause, NULL::text AS addendum, NULL::integer AS directory_version, NULL AS addendum_kid, NULL::text[] AS added
FROM deliveries d WHERE d.event_id = ANY($1::uuid[])
UNION ALL
SELECT r.event_id, r.message_id, r.delivery_id, d.recipient, d.role, d.purpose, d.contact, r.outcome, r."row", r.reason, r.released, r.keyring_kid,
  r.decided_at, r.decision, r.rest_salt, r.number, r.cause, r.addendum, r.directory_version, a.kid, a.sections
FROM redecisions r JOIN deliveries d USING (message_id, delivery_id)
  LEFT JOIN addenda a ON a.object_digest = r.addendum AND a.message_id = r.message_id AND a.delivery_id = r.delivery_id
WHERE r.event_id = ANY($1::uuid[])
"""


async def check_decisions(
    connection: Connection,
    found: Sequence[tuple[Any, Mapping[str, Any]]],
    published: Sequence[Sequence[int]],
    note: Note,
) -> None:
    """Compare each ``decided`` event with its delivery or later decision."""
    for start in range(0, len(found), _AT_ONCE):
        some = found[start : start + _AT_ONCE]
        rows = await connection.fetch(_ROWS, [entry["event_id"] for entry, _ in some])
        stored = {row["event_id"]: row for row in rows}
        messages = await _read_messages(connection, [UUID(event["message_id"]) for _, event in some])
        for entry, event in some:
            row = stored.get(entry["event_id"])
            if row is None:
                note("decision-missing", f"deliveries {event['delivery_id']}")
                continue
            _check_decision(event, row, messages.get(event["message_id"]), note)
            before = [version for position, version in published if position < entry["position"]]
            if row["number"] and before and row["directory_version"] != before[-1]:
                note("decision-of-another-directory", f"redecisions {event['delivery_id']}")


async def _read_messages(connection: Connection, ids: Sequence[UUID]) -> dict[str, ReadMessage]:
    """Return message to what it says of itself, of those that still have their bytes."""
    rows = await connection.fetch(
        "SELECT message_id, body FROM messages WHERE message_id = ANY($1::uuid[]) AND body IS NOT NULL", ids
    )
    found = {str(row["message_id"]): read_message(row["body"], None) for row in rows}
    return {message_id: read for message_id, read in found.items() if read is not None}


def _check_decision(event: Mapping[str, Any], row: Any, message: ReadMessage | None, note: Note) -> None:
    where = f"deliveries {event['delivery_id']}"
    decision = read_json(row["decision"])
    contact = event["contact"] if row["number"] == 0 else row["contact"]
    if differ(row, event, _OF_EVENT) or row["contact"] != contact:
        note("decision-differs-from-its-event", where)
    if differ(row, decision, _OF_DECISION) or _differs_from_grounds(decision, event):
        note("decision-is-not-what-was-logged", where)
    salt = bytes(row["rest_salt"])
    if event["inputs_digest"] != digest(salt + b"inputs" + str(decision.get("inputs_digest")).encode()):
        note("decision-inputs-wrong", where)
    if message is not None and event["rest"] != _commit(decision, message.sections() - set(row["released"]), salt):
        note("decision-rest-wrong", where)
    if not _is_keyed(row, message):
        note("decision-of-another-addendum", where)


def _is_keyed(row: Any, message: ReadMessage | None) -> bool:
    """Tell whether what was released could be opened: by the sender's addendum that the decision names, else by the message's own keyring."""
    if row["addendum"] is not None:
        there = row["addendum_kid"] is not None and row["addendum_kid"] == row["keyring_kid"]
        return there and set(row["released"]) <= set(row["added"])
    return message is None or set(row["released"]) <= message.granted(row["delivery_id"])


def _differs_from_grounds(decision: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    told = decision.get("told")
    said = {
        "row": "" if told else decision.get("row"),
        "reason": told or decision.get("reason"),
        "authority": "" if told else decision.get("authority", ""),
        "agreement": decision.get("agreement"),
        "policy_digest": decision.get("policy_digest"),
    }
    return any(event[name] != value for name, value in said.items())


def _commit(decision: Mapping[str, Any], stays: frozenset[str], salt: bytes) -> str:
    rest = {
        c: f"{verdict.get('result')} {verdict.get('row')}" for c, verdict in decision.get("compartments", {}).items()
    }
    rest["decision"] = f"{decision.get('outcome')} {decision.get('row')} {decision.get('policy', '')}"
    rest |= {f"section:{section_id}": "stays" for section_id in stays}
    return digest(salt + canonical_bytes(rest))


async def check_told_again(connection: Connection, found: Sequence[tuple[Any, Mapping[str, Any]]], note: Note) -> None:
    """Build anew what the sender was told of each later decision and compare its digest: the notice itself is not kept once it has been sent."""
    if not found:
        return
    rows = await connection.fetch(
        "SELECT w.position AS told_at, l.* FROM unnest($1::bigint[], $2::uuid[], $3::text[]) AS w (position, message_id, delivery_id)"
        " CROSS JOIN LATERAL (SELECT r.decision, r.cause, r.outcome, m.referral_id, m.revision, m.manifest_digest FROM redecisions r"
        " JOIN messages m USING (message_id) JOIN log_entries d ON d.event_id = r.event_id WHERE r.message_id = w.message_id"
        " AND r.delivery_id = w.delivery_id AND d.position < w.position ORDER BY d.position DESC LIMIT 1) l",
        [entry["position"] for entry, _ in found],
        [UUID(event["message_id"]) for _, event in found],
        [event["delivery_id"] for _, event in found],
    )
    stored = {row["told_at"]: row for row in rows}
    for entry, event in found:
        row = stored.get(entry["position"])
        if (
            row is None
            or differ(row, event, ("cause", "outcome"))
            or _digest_notice(row, event) != event["notice_sha256"]
        ):
            note("decision-differs-from-what-was-told", f"redecisions {event['delivery_id']}")


async def check_collected(connection: Connection, found: Sequence[tuple[Any, Mapping[str, Any]]], note: Note) -> None:
    """Compare what was decided at a collection with its event: no sender is told of it, so the event has its digest (none in logs of before)."""
    if not found:
        return
    rows = await connection.fetch(
        "SELECT event_id::text, message_id::text, delivery_id, cause, decision FROM redecisions WHERE event_id = ANY($1::uuid[])",
        [UUID(event["decided"]) for _, event in found],
    )
    stored = {row["event_id"]: row for row in rows}
    for _, event in found:
        row = stored.get(event["decided"])
        if (
            row is None
            or row["cause"] != "collect"
            or differ(row, event, ("message_id", "delivery_id"))
            or event.get("decision_sha256") not in {None, _digest_decision(row)}
        ):
            note("decision-differs-from-what-was-collected", f"redecisions {event['delivery_id']}")


def _digest_decision(row: Any) -> str:
    return digest(canonical_bytes(describe(read_json(row["decision"]))))


def _digest_notice(row: Any, event: Mapping[str, Any]) -> str:
    members = {
        "notice": 1,
        "at": event["at"],
        "message_id": event["message_id"],
        "referral_id": row["referral_id"],
        "revision": row["revision"],
        "outcome": "decided",
        "retryable": False,
        "error": None,
        "manifest_digest": row["manifest_digest"],
        "decisions": [describe(read_json(row["decision"]))],
        "cause": row["cause"],
    }
    return digest(canonical_bytes(members))
