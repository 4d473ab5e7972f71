"""What people and their systems may see of the outbox: states, reasons, decisions, receipts; never content."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from sqlite3 import Row
from typing import Any

from adapters.gateway.outgoing.clock_book import ClockBook
from adapters.gateway.outgoing.outbox_model import NOT_DELIVERED, TO_SEND, OutboxReferral, OutboxState, read_instant
from adapters.gateway.store import GatewayStore
from schemas.errors import NotFound

_UNPROVEN = (*TO_SEND, OutboxState.PUBLISHED)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Referrals that are not proven in the hub's log yet, by state, and since when the oldest waits; held ones wait for a person and count apart."""

    by_state: dict[str, int]
    oldest_at: datetime | None


class OutboxView:
    """The reading side of one agency's outbox."""

    def __init__(self, store: GatewayStore) -> None:
        self._store = store
        self._clocks = ClockBook(store)

    def list_referrals(self, states: Iterable[OutboxState] = (), limit: int = 200) -> list[OutboxReferral]:
        """Return referrals in these states (none given: in any), newest first."""
        wanted = [state.value for state in states] or [state.value for state in OutboxState]
        marks = ", ".join("?" * len(wanted))
        rows = self._store.query(
            f"SELECT * FROM referral WHERE state IN ({marks}) ORDER BY stored_at DESC LIMIT ?",  # noqa: S608 - only question marks
            (*wanted, limit),
        )
        undelivered = {
            row["referral_id"]: f"{NOT_DELIVERED}{row['recipient']}"
            for row in self._store.query("SELECT referral_id, min(recipient) AS recipient FROM undelivered GROUP BY 1")
        }
        found = (read_row(row) for row in rows)
        return [replace(r, alarm=undelivered.get(r.referral_id, r.alarm)) for r in found]

    def count_backlog(self) -> Backlog:
        """Return how many referrals wait in each state, and when the oldest that needs nobody's decision was taken in."""
        states = [state.value for state in (*_UNPROVEN, OutboxState.HELD)]
        rows = self._store.query(
            f"SELECT state, count(*) AS number, min(stored_at) AS oldest FROM referral WHERE state IN ({', '.join('?' * len(states))})"  # noqa: S608 - only question marks
            " GROUP BY state",
            tuple(states),
        )
        oldest = [read_instant(row["oldest"]) for row in rows if row["state"] in _UNPROVEN]
        counts = {row["state"]: row["number"] for row in rows}
        return Backlog({state: counts.get(state, 0) for state in states}, min(oldest, default=None))

    def list_alarms(self, limit: int = 200) -> list[dict[str, Any]]:
        """Return the alarms of referrals, newest first: id, state, alarm and when it was raised. A referral may have several."""
        rows = self._store.query(
            "SELECT referral_id, state, alarm, alarm_at FROM referral WHERE alarm IS NOT NULL"
            " UNION ALL SELECT r.referral_id, r.state, ? || u.recipient, u.alarm_at"
            " FROM undelivered u JOIN referral r USING (referral_id) ORDER BY alarm_at DESC LIMIT ?",
            (NOT_DELIVERED, limit),
        )
        return [dict(row) for row in rows]

    def describe(self, referral_id: str) -> dict[str, Any]:
        """Return what the sender may know of a referral: state, reason, alarms (the gravest also by itself), clocks, and each delivery's decision and receipts.

        Raises:
            NotFound: there is none of that id.
        """
        rows = self._store.query("SELECT * FROM referral WHERE referral_id = ?", (referral_id,))
        if not rows:
            raise NotFound("there is no such referral", field="referral_id")
        row = rows[0]
        reason = row["reason"]
        alarms = self._list_alarms_of(row)
        deliveries = self._store.query(
            "SELECT * FROM delivery WHERE message_id = ? ORDER BY rowid", (row["message_id"] or "",)
        )
        return {
            "referral_id": referral_id,
            "state": row["state"],
            "kind": row["kind"],
            "urgent": bool(row["urgent"]),
            "received_at": row["received_at"],
            "changed_at": row["changed_at"],
            "message_id": row["message_id"],
            "reason": None
            if reason is None
            else json.loads(self._store.open(f"referral.reason:{referral_id}", reason)),
            "alarm": alarms[0]["code"] if alarms else None,
            "alarm_at": alarms[0]["at"] if alarms else None,
            "alarms": alarms,
            "deliveries": [self._describe_delivery(delivery) for delivery in deliveries],
            "clocks": self._clocks.list_clocks(row["message_id"] or ""),
        }

    def _list_alarms_of(self, row: Row) -> list[dict[str, str]]:
        """Return a referral's alarms: first who does not get it at all, then what waits too long or was refused."""
        undelivered = self._store.query(
            "SELECT recipient, alarm_at FROM undelivered WHERE referral_id = ? ORDER BY recipient",
            (row["referral_id"],),
        )
        alarms = [{"code": f"{NOT_DELIVERED}{u['recipient']}", "at": u["alarm_at"]} for u in undelivered]
        return alarms if row["alarm"] is None else [*alarms, {"code": row["alarm"], "at": row["alarm_at"]}]

    def _describe_delivery(self, row: Row) -> dict[str, Any]:
        delivery_id = row["delivery_id"]
        decision = json.loads(self._store.open(f"delivery.decision:{delivery_id}", row["decision"]))
        recipient = decision.pop("stated_recipient", row["recipient"])
        if "recipient" in decision:
            decision["recipient"] = recipient
        return {
            "delivery_id": delivery_id,
            "recipient": recipient,
            "role": row["role"],
            "purpose": row["purpose"],
            "outcome": row["outcome"],
            "decision": decision,
            "receipt": None
            if row["receipt_state"] is None
            else {"state": row["receipt_state"], "at": row["receipt_at"]},
        }


def read_row(row: Row) -> OutboxReferral:
    """Return a row of the table ``referral`` without its content."""
    return OutboxReferral(
        referral_id=row["referral_id"],
        state=OutboxState(row["state"]),
        urgent=bool(row["urgent"]),
        kind=row["kind"],
        received_at=read_instant(row["received_at"]),
        stored_at=read_instant(row["stored_at"]),
        attempts=row["attempts"],
        reseals=row["reseals"],
        message_id=row["message_id"],
        conversation=row["conversation"],
        alarm=row["alarm"],
    )
