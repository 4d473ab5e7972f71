"""The third part of ``fsck``: what is missing against the events that say it was erased, and the reverse. Absence alone excuses nothing.

An ``erased`` event is committed to like any other, and its own payload is never erased: who takes a payload away without one is found, and so is a
backup that brought erased bytes back.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from broker.log.events import CATALOGUE
from broker.log.fsck_reading import differ
from broker.store.pool import Connection

Note = Callable[[str, str], None]

_EVENTS = """
SELECT r.subject_id, r.scope, r.erased_at, p.event, e.position FROM erasures r LEFT JOIN log_entries e ON e.event_id = r.event_id AND e.kind = 'erased'
LEFT JOIN log_payloads p ON p.event_id = r.event_id
"""
_UNSAID = """
SELECT e.position, e.kind FROM log_entries e LEFT JOIN erasures r USING (event_id) WHERE e.kind = 'erased' AND r.event_id IS NULL
"""
# A table, what must be there, by which erasures it may be gone, and by which it must be.
_BOTH = ("ciphertext", "everything")
_GONE = (
    ("messages", "message_id", "body", _BOTH, _BOTH),
    ("messages", "message_id", "notice", ("everything",), ("everything",)),
    ("addenda", "message_id", "body", _BOTH, _BOTH),
    ("receipts", "message_id", "body", ("everything",), ("everything",)),
    ("receipts", "message_id", "notice", ("everything",), ("everything",)),
    ("signed_objects", "message_id", "body", _BOTH, ("everything",)),
    ("signed_objects", "message_id", "notice", ("everything",), ("everything",)),
    ("quarantine", "quarantine_id", "body", ("quarantine",), ()),  # the same bytes may have come again
)


async def count_emptied(connection: Connection, positions: Sequence[int], note: Note) -> int:
    """Return how many of these entries, whose events are absent, have an emptied payload; note those that have none, or are clear."""
    rows = await connection.fetch(
        "SELECT e.position, e.kind FROM log_entries e JOIN log_payloads p USING (event_id)"
        " WHERE e.position = ANY($1::bigint[]) AND p.event IS NULL AND p.salt IS NULL",
        positions,
    )
    emptied = {row["position"] for row in rows if row["kind"] in CATALOGUE and not CATALOGUE[row["kind"]].clear}
    for position in sorted(set(positions) - emptied):
        note("payload-missing", f"log_entries {position}")
    return len(emptied)


async def check_erasures(connection: Connection, note: Note) -> None:
    """Compare what is missing with what the log says was erased."""
    named: set[int] = set()
    for row in await connection.fetch(_EVENTS):
        where = f"erasures {row['subject_id']}"
        event = _read(row["event"]) if row["position"] is not None else None
        if event is None or not _names(event, row):
            note("erasure-of-no-event", where)
            continue
        named.update(event.get("entries", ()))
    for row in await connection.fetch(_UNSAID):
        note("erasure-missing", f"log_entries {row['position']}")
    missing = await connection.fetch(
        "SELECT e.position FROM log_entries e JOIN log_payloads p USING (event_id) WHERE p.event IS NULL"
    )
    gone = {row["position"] for row in missing}
    for position in sorted(gone - named):
        note("payload-missing", f"log_entries {position}")
    for position in sorted(named - gone):
        note("erased-and-there-again", f"log_entries {position}")
    await _check_tables(connection, note)


async def _check_tables(connection: Connection, note: Note) -> None:
    for table, key, column, may, must in _GONE:
        said = f"SELECT 1 FROM erasures r WHERE r.subject_id = t.{key} AND r.scope = ANY($1::text[])"  # noqa: S608 (constant names)
        rules = [("missing-and-not-erased", f"t.{column} IS NULL AND NOT EXISTS ({said})", may)]
        if must:
            later = f"t.{column} IS NOT NULL AND EXISTS ({said} AND r.erased_at >= t.received_at)"
            rules.append(("erased-and-there-again", later, must))
        for code, rule, scopes in rules:
            query = f"SELECT t.{key} AS key FROM {table} t WHERE {rule} LIMIT 100"  # noqa: S608 (constant names)
            for row in await connection.fetch(query, list(scopes)):
                note(code, f"{table}.{column} {row['key']}")


def _names(event: dict[str, Any], row: Any) -> bool:
    name = "quarantine_id" if row["scope"] == "quarantine" else "message_id"
    return not differ(row, event, {"scope": "scope", "subject_id": name, "erased_at": "at"})


def _read(event: bytes | None) -> dict[str, Any] | None:
    if event is None:
        return None
    try:
        found = json.loads(event)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
