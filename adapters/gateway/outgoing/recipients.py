"""Recipients that a person of this agency has confirmed: the first sealing to a newly enrolled agency asks (DESIGN, step 2).

A directory entry is the authority's word that an agency exists; whether this agency expected it is for its own staff to say, once.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import structlog

from adapters.gateway.outgoing.outbox_model import write_instant
from adapters.gateway.store import GatewayStore
from schemas.errors import Withheld

_log = structlog.get_logger(__name__)


class RecipientUnconfirmed(Withheld):
    """A recipient has not been confirmed by a person yet."""

    code = "recipient-unconfirmed"
    public_message = "A recipient is new to this gateway. Confirm it, and the referral goes on."


class RecipientBook:
    """The confirmed recipients of one agency. The outbox's migrations make its table."""

    def __init__(self, store: GatewayStore, *, must_confirm: bool) -> None:
        self._store = store
        self._must_confirm = must_confirm

    def require_confirmed(self, agencies: Iterable[str], now: datetime) -> None:
        """Check that each of ``agencies`` was confirmed, and ask for those that were not.

        Raises:
            RecipientUnconfirmed: naming them by id.
        """
        if not self._must_confirm:
            return
        asked = sorted(set(agencies))
        with self._store.transaction() as db:
            for agency in asked:
                db.execute(
                    "INSERT OR IGNORE INTO recipient (agency, asked_at) VALUES (?, ?)", (agency, write_instant(now))
                )
            rows = db.execute("SELECT agency FROM recipient WHERE confirmed_at IS NULL").fetchall()
        waiting = sorted({row["agency"] for row in rows} & set(asked))
        if waiting:
            raise RecipientUnconfirmed(f"confirm these recipients first: {', '.join(waiting)}", field="recipient")

    def confirm(self, agency: str, by: str, now: datetime) -> list[str]:
        """Confirm one recipient; return the ids of referrals that were held for a confirmation and go on."""
        moment = write_instant(now)
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO recipient (agency, asked_at, confirmed_at, confirmed_by) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (agency) DO UPDATE SET confirmed_at = excluded.confirmed_at,"
                " confirmed_by = excluded.confirmed_by",
                (agency, moment, moment, by),
            )
            rows = db.execute(
                "UPDATE referral SET state = 'received', plan = NULL, reason = NULL, alarm = NULL, alarm_at = NULL,"
                " next_attempt_at = ?, changed_at = ? WHERE state = 'held' AND alarm = ? RETURNING referral_id",
                (moment, moment, RecipientUnconfirmed.code),
            ).fetchall()
        _log.info("recipient_confirmed", recipient=agency, by=by, released=len(rows))
        return [row["referral_id"] for row in rows]

    def list_recipients(self) -> list[dict[str, Any]]:
        """Return every recipient that was asked for, with when and by whom it was confirmed."""
        rows = self._store.query("SELECT * FROM recipient ORDER BY agency")
        return [dict(row) for row in rows]
