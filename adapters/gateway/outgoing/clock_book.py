"""The clocks of what we sent, as the hub's notices tell of them: started when a referral was accepted, then met, paused, resumed or breached.

The hub keeps the clocks, on logged time; this is what this agency's people see of them. A notice counts with its proof only, and one that comes twice
or out of order changes nothing. Of what others sent us, we hear of a clock only when it binds us and has run out.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from sqlite3 import Connection
from typing import Any

from adapters.gateway.store import GatewayStore
from schemas.canonical import canonical_bytes

RUNNING = "running"
BREACHED = "breached"
CLOCK_MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE clock (
        message_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        clock TEXT NOT NULL,
        recipient TEXT NOT NULL,
        state TEXT NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (message_id, number)
    );
    """,
    """
    CREATE TABLE clock_change (
        message_id TEXT NOT NULL,
        clock TEXT NOT NULL,
        recipient TEXT NOT NULL,
        at TEXT NOT NULL,
        state TEXT NOT NULL,
        due_at TEXT NOT NULL,
        PRIMARY KEY (message_id, clock, recipient, at, state)
    );
    CREATE TABLE clock_escalation (
        delivery_id TEXT NOT NULL,
        clock TEXT NOT NULL,
        message_id TEXT NOT NULL,
        due_at TEXT NOT NULL,
        at TEXT NOT NULL,
        roles TEXT NOT NULL,
        PRIMARY KEY (delivery_id, clock, due_at)
    );
    """,
)
_SHOWN = ("clock", "starts_at", "due_at", "extendable_to", "recipients", "assumption")
_STATES = ("running", "paused", "met", "breached", "met_late")
"""In this order where two changes have one instant."""
_GRAVEST = ("breached", "met_late", "running", "paused", "met")


class ClockBook:
    """The clocks of one agency's own referrals, and those of others' that ran out here."""

    def __init__(self, store: GatewayStore) -> None:
        store.migrate("clocks", CLOCK_MIGRATIONS)
        self._store = store

    def record_started(self, db: Connection, message_id: str, clocks: Sequence[Mapping[str, Any]]) -> None:
        """Keep the clocks that a proven notice says have begun; what is known already stays as it is."""
        for clock in clocks:
            parties = ",".join(str(party) for party in clock.get("recipients") or ())
            (number,) = db.execute("SELECT count(*) FROM clock WHERE message_id = ?", (message_id,)).fetchone()
            known = "SELECT 1 FROM clock WHERE message_id = ? AND clock = ? AND recipient = ?"
            if db.execute(known, (message_id, str(clock.get("clock")), parties)).fetchone():
                continue
            body = {name: clock[name] for name in _SHOWN if clock.get(name) is not None}
            db.execute(
                "INSERT INTO clock (message_id, number, clock, recipient, state, body) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    message_id,
                    number,
                    str(clock.get("clock")),
                    parties,
                    RUNNING,
                    self._store.seal(_place(message_id, number), canonical_bytes(body)),
                ),
            )

    def record_changes(self, db: Connection, message_id: str, changes: Iterable[Mapping[str, Any]]) -> dict[str, bool]:
        """Keep what a proven notice says happened to clocks; return those that moved, and whether each now stands as breached."""
        moved = set()
        for change in changes:
            key = (str(change.get("clock")), str(change.get("recipient") or ""), str(change.get("at")))
            state = str(change.get("state"))
            new = db.execute(
                "INSERT OR IGNORE INTO clock_change (message_id, clock, recipient, at, state, due_at) VALUES (?, ?, ?, ?, ?, ?)",
                (message_id, *key, state, str(change.get("due_at"))),
            ).rowcount
            if new:
                moved.add(key[0])
        return {clock: BREACHED in self._read_states(message_id).get(clock, {}).values() for clock in sorted(moved)}

    def record_escalation(self, told: Mapping[str, Any]) -> None:
        """Keep the proven word that a clock which binds this agency ran out."""
        with self._store.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO clock_escalation (delivery_id, clock, message_id, due_at, at, roles) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    *(str(told.get(name)) for name in ("delivery_id", "clock", "message_id", "due_at", "at")),
                    json.dumps(told.get("roles") or []),
                ),
            )

    def list_escalations(self) -> list[dict[str, Any]]:
        """Return what ran out here, newest first: delivery, clock, when it was due, and the roles that should act."""
        rows = self._store.query("SELECT * FROM clock_escalation ORDER BY at DESC, delivery_id LIMIT 1000")
        return [{**dict(row), "roles": json.loads(row["roles"])} for row in rows]

    def list_clocks(self, message_id: str) -> list[dict[str, Any]]:
        """Return a message's clocks in the order in which the hub named them.

        ``state`` is the gravest of its recipients'; where there are several, ``states`` has each. ``due_at`` is the latest that counts.
        """
        latest = self._read_changes(message_id)
        rows = self._store.query("SELECT number, body FROM clock WHERE message_id = ? ORDER BY number", (message_id,))
        clocks = [json.loads(self._store.open(_place(message_id, row["number"]), row["body"])) for row in rows]
        return [_add_states(clock, latest.get(clock["clock"], {})) for clock in clocks]

    def _read_changes(self, message_id: str) -> dict[str, dict[str, Any]]:
        """Return each clock's latest change by recipient."""
        latest: dict[str, dict[str, Any]] = {}
        changes = self._store.query("SELECT * FROM clock_change WHERE message_id = ?", (message_id,))
        for row in sorted(changes, key=lambda r: (r["at"], _rank(r["state"], _STATES))):
            latest.setdefault(row["clock"], {})[row["recipient"]] = row
        return latest

    def _read_states(self, message_id: str) -> dict[str, dict[str, str]]:
        return {
            clock: {party: row["state"] for party, row in rows.items()}
            for clock, rows in self._read_changes(message_id).items()
        }


def _add_states(clock: dict[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    parties = clock.get("recipients") or [""]
    states = {party: changed[party]["state"] if party in changed else RUNNING for party in parties}
    due = [changed[party]["due_at"] for party in parties if party in changed]
    told = clock | {"state": min(states.values(), key=lambda state: _rank(state, _GRAVEST))}
    if due:
        told["due_at"] = max(due)
    if len(states) > 1:
        told["states"] = states
    return told


def _rank(state: str, order: Sequence[str]) -> int:
    return order.index(state) if state in order else len(order)


def _place(message_id: str, number: int) -> str:
    return f"clock.body:{message_id}:{number}"
