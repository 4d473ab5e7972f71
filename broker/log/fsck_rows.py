"""What ``fsck`` checks of the other tables: rows that events or signed statements bear out, and events that rows must bear out. Both directions.

Each rule is one query whose rows are compared here; what an event says is read by hand, and an event that was erased says nothing.
"""

# ruff: noqa: S608 (constant names)

from collections.abc import Callable, Mapping
from typing import Any, Final

from broker.log.fsck_reading import Note, differ, digest, encode, read_json, read_message, read_payload
from broker.log.fsck_work import WORK_RULES, Rule
from broker.store.pool import Connection

_AT_ONCE: Final = 500

_ROWS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "accepted": ("messages.event_id",),
    "decided": ("deliveries.event_id", "redecisions.event_id"),
    "receipt": ("receipts.event_id",),
    "object": ("signed_objects.event_id",),
    "rejected": ("quarantine.event_id",),
    "quarantined": ("quarantine.event_id",),
    "security": ("quarantine.event_id",),
    "legal_hold": ("legal_holds.event_id", "legal_holds.lifted_event"),
    "erased": ("erasures.event_id",),
}
"""A kind of event, and the columns of which one must name each such event."""

_NAMES: Final = {
    "messages": "message_id::text",
    "deliveries": "delivery_id",
    "redecisions": "delivery_id",
    "receipts": "receipt_digest",
    "signed_objects": "object_digest",
    "quarantine": "quarantine_id::text",
    "legal_holds": "hold_id::text",
    "erasures": "subject_id::text",
}
_BELONGS: Final = (
    ("receipts", "receipt_digest", "deliveries", ("message_id", "delivery_id")),
    ("deliveries", "delivery_id", "messages", ("message_id",)),
    ("redecisions", "delivery_id", "deliveries", ("message_id", "delivery_id")),
    ("addenda", "object_digest", "signed_objects", ("object_digest",)),
    ("approvals", "object_digest", "signed_objects", ("object_digest",)),
    ("consents", "object_digest", "signed_objects", ("object_digest",)),
    ("break_glass_claims", "object_digest", "signed_objects", ("object_digest",)),
    ("recalls", "object_digest", "signed_objects", ("object_digest",)),
    ("deletions", "object_digest", "signed_objects", ("object_digest",)),
    ("requests", "object_digest", "signed_objects", ("object_digest",)),
    ("holds", "delivery_id", "deliveries", ("message_id", "delivery_id")),
    ("tickets", "delivery_id", "deliveries", ("message_id", "delivery_id")),
    ("message_subjects", "message_id", "messages", ("message_id",)),
    ("used_tokens", "message_id", "messages", ("message_id",)),
    ("retrospective_reviews", "message_id", "messages", ("message_id",)),
    ("clocks", "message_id", "messages", ("message_id",)),
    ("approval_uses", "object_digest", "approvals", ("object_digest",)),
)
"""(table, name, what each of its rows belongs to, by which columns)."""


def _write_links() -> str:
    """Return the one query that finds records of no event, events without their records, and rows that belong to nothing."""
    parts = []
    for table, name in _NAMES.items():
        kinds = [kind for kind, columns in _ROWS_OF.items() if any(c.startswith(f"{table}.") for c in columns)]
        wanted = ", ".join(f"'{kind}'" for kind in kinds)
        parts.append(
            f"SELECT 'record-of-no-event', '{table} ' || {name} FROM {table} t WHERE NOT EXISTS"
            f" (SELECT 1 FROM log_entries e WHERE e.event_id = t.event_id AND e.kind IN ({wanted}))"
        )
    for kind, columns in _ROWS_OF.items():
        named = " AND ".join(
            f"NOT EXISTS (SELECT 1 FROM {table} t WHERE t.{column} = e.event_id)"
            for table, _, column in (name.partition(".") for name in columns)
        )
        parts.append(
            f"SELECT 'event-without-its-record', 'log_entries ' || position FROM log_entries e WHERE kind = '{kind}' AND {named}"
        )
    for table, name, owner, columns in _BELONGS:
        same = " AND ".join(f"o.{column} = t.{column}" for column in columns)
        code = "receipt-of-no-delivery" if table == "receipts" else "record-of-nothing"
        parts.append(
            f"SELECT '{code}', '{table} ' || {name}::text FROM {table} t WHERE NOT EXISTS (SELECT 1 FROM {owner} o WHERE {same})"
        )
    return " UNION ALL ".join(f"({part} LIMIT 100)" for part in parts)


_LINKS: Final = _write_links()


async def check_links(connection: Connection, note: Note) -> None:
    """Find records of no event, events without their records, and rows that belong to nothing."""
    for code, where in await connection.fetch(_LINKS):
        note(code, where)


_OF_ITS_EVENT: Final = "JOIN log_entries e ON e.event_id = t.event_id JOIN log_payloads p ON p.event_id = t.event_id AND p.event IS NOT NULL"


def _is_quarantined(row: Any) -> bool:
    members = {"claimed_id": "claimed_id", "user_id": "sender", "body_sha256": "body_sha256", "first_at": "at"}
    event = read_json(row["event"])
    whole = row["body"] is None or digest(row["body"]) == encode(row["body_sha256"])
    latest = row["seen"] > 1 or (row["code"] == event.get("code") and row["last_at"] == row["first_at"])
    return (
        not differ(row, event, members) and whole and latest and row["security"] == (event.get("event") == "security")
    )


def _is_legal_hold(row: Any) -> bool:
    placed = read_json(row["event"])
    subject = row["subject"] if row["scope"] == "referral" else digest(row["subject"].encode())
    members = {
        "hold_id": "hold_id",
        "scope": "scope",
        "reason_code": "reason_code",
        "placed_by": "by",
        "placed_at": "at",
    }
    if differ(row, placed, members) or placed.get("subject") != subject or placed.get("action") != "placed":
        return False
    if row["lifted_at"] is None:
        return True
    lifted = read_json(row["lifting"])
    return lifted.get("action") == "lifted" and not differ(row, lifted, {"hold_id": "hold_id", "lifted_at": "at"})


def _is_used_token(row: Any) -> bool:
    read = read_message(row["body"], row["manifest"])
    if read is None or read.entries is None:
        return True  # ``fsck_messages`` says what is wrong with it
    stated = {(t.get("scheme"), t.get("ref")) for t in read.entry("policy").get("tokens", ())}
    same = row["sender"] == row["message_sender"] and row["conversation"] == row["message_conversation"]
    return same and (row["scheme"], row["ref"]) in stated and row["used_at"] == row["received_at"]


def _is_key(row: Any) -> bool:
    read = read_payload(row["body"])
    if read is None or digest(row["body"]) != encode(row["sha256"]):
        return False
    said = {**read[1], "kid": row["kid"]}
    return (
        not differ(row, said, ("agency", "not_before", "not_after"))
        and read[1].get("jwk", {}).get("kid", row["kid"]) == row["kid"]
    )


def _is_directory(row: Any) -> bool:
    read = read_payload(row["body"])
    return (
        read is not None
        and digest(row["body"]) == encode(row["sha256"])
        and not differ(row, read[1], ("version", "issued_at", "expires_at"))
    )


_RULES: Final = (
    Rule(
        "quarantine-differs-from-its-event",
        "quarantine",
        f"SELECT t.quarantine_id::text AS name, t.*, p.event FROM quarantine t {_OF_ITS_EVENT}",
        _is_quarantined,
    ),
    Rule(
        "legal-hold-differs-from-its-event",
        "legal_holds",
        f"SELECT t.hold_id::text AS name, t.*, p.event, l.event AS lifting FROM legal_holds t {_OF_ITS_EVENT}"
        " LEFT JOIN log_payloads l ON l.event_id = t.lifted_event",
        _is_legal_hold,
    ),
    Rule(
        "token-used-by-another",
        "used_tokens",
        "SELECT t.ref AS name, t.*, m.sender AS message_sender, m.received_at, m.conversation AS message_conversation, m.body, m.manifest"
        " FROM used_tokens t JOIN messages m USING (message_id)",
        _is_used_token,
    ),
    Rule(
        "key-is-not-what-was-announced",
        "key_announcements",
        "SELECT t.kid AS name, t.* FROM key_announcements t",
        _is_key,
    ),
    Rule(
        "directory-is-not-what-was-signed",
        "directory_versions",
        "SELECT t.version::text AS name, t.* FROM directory_versions t",
        _is_directory,
    ),
    Rule(
        "addendum-is-not-what-was-signed",
        "addenda",
        "SELECT t.object_digest AS name, t.body, o.body AS signed FROM addenda t JOIN signed_objects o USING (object_digest)",
        lambda row: bool(row["body"] == row["signed"]),
    ),
    *WORK_RULES,
)


async def check_rows(connection: Connection, note: Note) -> None:
    """Compare the rows of every other table with the events and signed statements that bear them out."""
    async with connection.transaction():  # a cursor needs one
        for rule in _RULES:
            async for row in connection.cursor(rule.query, prefetch=_AT_ONCE):
                if not _safely(rule.is_right, row):
                    note(rule.code, f"{rule.table} {row['name']}")


def _safely(is_right: Callable[[Any], bool], row: Any) -> bool:
    try:
        return is_right(row)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return False  # what cannot be read is not what was written
