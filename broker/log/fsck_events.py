"""What ``fsck`` checks of events that no row names by their id, but by what they say: decided quarantine, used approvals, ended consents, warnings."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from broker.log.fsck_reading import Note, differ, is_same, read_json
from broker.store.pool import Connection

_KINDS: Final = (
    "quarantine_decided",
    "chronology",
    "erased",
    "legal_hold",
    "consent_expired",
    "agreement",
    "key",
    "directory",
    "policy",
)
Events = Mapping[str, Sequence[tuple[int, Mapping[str, Any]]]]


async def read_rare_events(connection: Connection) -> Events:
    """Return the events of the rare kinds that are compared here, oldest first: kind to (position, event)."""
    rows = await connection.fetch(
        "SELECT e.position, e.kind, p.event FROM log_entries e JOIN log_payloads p USING (event_id)"
        " WHERE e.kind = ANY($1::text[]) ORDER BY e.position",
        list(_KINDS),
    )
    found: dict[str, list[tuple[int, Mapping[str, Any]]]] = {kind: [] for kind in _KINDS}
    for row in rows:
        found[row["kind"]].append((row["position"], read_json(row["event"])))
    return found


async def check_rare_events(connection: Connection, note: Note) -> None:
    """Compare these events with their rows, and the rows with the events."""
    events = await read_rare_events(connection)
    await _check_quarantine(connection, events["quarantine_decided"], note)
    await _check_uses(connection, events, note)
    await _check_notes(connection, "consent_expiries", "object_digest", events["consent_expired"], note)
    await _check_expired(connection, events["consent_expired"], note)
    await _check_warnings(connection, events["agreement"], note)
    await _check_registry(connection, events, note)


_QUARANTINE_STATES: Final[Mapping[str, set[str]]] = {
    "replayed": {"replaying", "replayed"},
    "rejected": {"rejected"},
    "superseded": {"rejected"},
}


async def _check_quarantine(
    connection: Connection, events: Sequence[tuple[int, Mapping[str, Any]]], note: Note
) -> None:
    """The last decision is the row's, unless the same bytes came again after it."""
    last = {event.get("quarantine_id"): event for _, event in events}
    for row in await connection.fetch("SELECT * FROM quarantine"):
        where, event = f"quarantine {row['quarantine_id']}", last.pop(str(row["quarantine_id"]), None)
        if event is None:
            wrong = row["state"] != "open" or row["decided_by"] is not None or row["decided_at"] is not None
        else:
            states = _QUARANTINE_STATES.get(str(event.get("action")), set())
            again = row["state"] == "open" and row["seen"] > 1
            wrong = not (row["state"] in states or again) or differ(
                row, event, {"decided_by": "by", "decided_at": "at"}
            )
        if wrong:
            note("quarantine-differs-from-its-decision", where)
    for quarantine_id in last:
        note("event-without-its-record", f"quarantine {quarantine_id}")


_ACTS: Final = {"chronology": "chronology", "erased": "erase", "legal_hold": "lift_hold"}


async def _check_uses(connection: Connection, events: Events, note: Note) -> None:
    """Each act for two used an approval of each of its two people, and no approval was used without its act."""
    acts = {
        (action, approver, event.get("at"))  # erasing a matter is one act, with an event for each message
        for kind, action in _ACTS.items()
        for _, event in events[kind]
        for approver in event.get("approvers", ())
    }
    done = Counter((action, approver) for action, approver, _ in acts)
    used = Counter(
        (row["action"], row["approver"])
        for row in await connection.fetch(
            "SELECT a.action, a.approver FROM approval_uses u JOIN approvals a USING (object_digest)"
        )
    )
    for action, approver in (used - done).elements():
        note("approval-used-for-nothing", f"approval_uses {action} by {approver}")
    for action, approver in (done - used).elements():
        note("act-without-its-approval", f"approval_uses {action} by {approver}")


async def _check_notes(
    connection: Connection, table: str, column: str, events: Sequence[tuple[int, Mapping[str, Any]]], note: Note
) -> None:
    told = {(event.get(column), event.get("at")) for _, event in events}
    rows = await connection.fetch(f"SELECT {column} AS name, noted_at FROM {table}")  # noqa: S608 (constant names)
    for row in rows:
        if not any(name == row["name"] and is_same(row["noted_at"], at) for name, at in told):
            note("record-of-no-event", f"{table} {row['name']}")
    for name in {name for name, _ in told} - {row["name"] for row in rows}:
        note("event-without-its-record", f"{table} {name}")


async def _check_expired(connection: Connection, events: Sequence[tuple[int, Mapping[str, Any]]], note: Note) -> None:
    rows = await connection.fetch("SELECT object_digest, consent_id, recorded_by, expires_at FROM consents")
    stored = {row["object_digest"]: row for row in rows}
    for _, event in events:
        row = stored.get(str(event.get("object_digest")))
        if row is None or differ(row, event, ("consent_id", "recorded_by", "expires_at")):
            note("consent-differs-from-its-event", f"consents {event.get('object_digest')}")


async def _check_warnings(connection: Connection, events: Sequence[tuple[int, Mapping[str, Any]]], note: Note) -> None:
    told = {(e.get("agreement"), e.get("code"), e.get("due_on")): e.get("at") for _, e in events}
    rows = await connection.fetch("SELECT agreement, code, due_on::text AS due_on, noted_at FROM agreement_warnings")
    stored = {(row["agreement"], row["code"], row["due_on"]): row["noted_at"] for row in rows}
    for key in stored.keys() - {k for k, at in told.items() if k in stored and is_same(stored[k], at)}:
        note("record-of-no-event", f"agreement_warnings {key[0]}")
    for key in told.keys() - stored.keys():
        note("event-without-its-record", f"agreement_warnings {key[0]}")


async def _check_registry(connection: Connection, events: Events, note: Note) -> None:
    """Keys and directories that were logged are there, and none newer than the first that was logged is there without its event."""
    keys = {(row["agency"], row["kid"]): row for row in await connection.fetch("SELECT * FROM key_announcements")}
    logged = {(str(e.get("agency")), str(e.get("kid"))): e for _, e in events["key"]}
    for name, event in logged.items():
        row = keys.get(name)
        if row is None or differ(row, event, ("not_before", "not_after")):
            note("key-differs-from-its-event", f"key_announcements {name[1]}")
    # Keys that were there before the first that was logged are a test's or an old version's; none may come after it without its event.
    arrivals = sorted(keys[name]["received_at"] for name in logged if name in keys)
    for name, row in keys.items():
        if arrivals and row["received_at"] >= arrivals[0] and name not in logged:
            note("record-of-no-event", f"key_announcements {name[1]}")
    versions = {row["version"] for row in await connection.fetch("SELECT version FROM directory_versions")}
    said = {int(event.get("version_number", 0)) for _, event in events["directory"]}
    for version in said - versions:
        note("event-without-its-record", f"directory_versions {version}")
    for version in {v for v in versions if said and v >= min(said)} - said:
        note("record-of-no-event", f"directory_versions {version}")
    activated = await connection.fetch("SELECT policy_digest, approvals, activated_at FROM policy_activations")
    policies = [event for _, event in events["policy"]]
    for row in activated:
        if not any(list(row["approvals"]) == list(e.get("approvals", ())) for e in policies):
            note("record-of-no-event", f"policy_activations {row['policy_digest']}")
    for event in policies:
        # A partnership's first pack is the founders' choice, in its first directory: nobody activated it.
        if event.get("approvals") and not any(
            list(row["approvals"]) == list(event.get("approvals", ())) for row in activated
        ):
            note("event-without-its-record", f"policy_activations {event.get('policy_digest')}")
