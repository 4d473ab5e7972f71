"""The clocks of what we sent, as the hub's notices tell of them: started when a referral was accepted, then met, paused, resumed or breached.

The hub keeps the clocks, on logged time; this is what the sender's people see of them. A notice counts with its proof only, and one that comes twice
changes nothing. What was told is stored encrypted, beside the decisions.
"""

import json
from collections.abc import Mapping, Sequence
from sqlite3 import Connection
from typing import Any

from adapters.gateway.store import GatewayStore
from schemas.canonical import canonical_bytes

RUNNING = "running"
_ENDED = frozenset({"met", "breached"})

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
)
_SHOWN = ("clock", "starts_at", "due_at", "extendable_to", "recipients", "assumption", "state", "changed_at")


class ClockBook:
    """The clocks of one agency's own referrals."""

    def __init__(self, store: GatewayStore) -> None:
        store.migrate("clocks", CLOCK_MIGRATIONS)
        self._store = store

    def record_started(self, db: Connection, message_id: str, clocks: Sequence[Mapping[str, Any]]) -> None:
        """Keep the clocks that a proven notice of acceptance names; what is known already stays as it is."""
        for number, clock in enumerate(clocks):
            body = {name: clock[name] for name in _SHOWN if clock.get(name) is not None}
            recipients = clock.get("recipients") or []
            db.execute(
                "INSERT OR IGNORE INTO clock (message_id, number, clock, recipient, state, body) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    message_id,
                    number,
                    str(clock.get("clock")),
                    str(recipients[0]) if len(recipients) == 1 else "",
                    RUNNING,
                    self._store.seal(_place(message_id, number), canonical_bytes({**body, "state": RUNNING})),
                ),
            )

    def list_clocks(self, message_id: str) -> list[dict[str, Any]]:
        """Return a message's clocks with their states, in the order in which the hub named them."""
        rows = self._store.query("SELECT number, body FROM clock WHERE message_id = ? ORDER BY number", (message_id,))
        return [json.loads(self._store.open(_place(message_id, row["number"]), row["body"])) for row in rows]


def _place(message_id: str, number: int) -> str:
    return f"clock.body:{message_id}:{number}"
