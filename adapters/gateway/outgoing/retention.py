"""Erasing what is no longer needed: this gateway is not a record system (DOMAIN section 6: transit).

After a referral is done and its time is over, its content, sealed bytes, section keys and plan go; state, decisions' outcomes and receipts stay as
evidence of what was sent to whom. Refused documents go after their own time. SQLite overwrites what is deleted (``secure_delete``).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from adapters.gateway.outgoing.outbox_model import write_instant
from adapters.gateway.store import GatewayStore

_log = structlog.get_logger(__name__)

BATCH = 200


@dataclass(frozen=True, slots=True)
class RetentionTimes:
    """How long finished referrals keep their content, and refused documents are kept at all."""

    done: timedelta
    refused: timedelta


def erase_what_is_over(store: GatewayStore, times: RetentionTimes, now: datetime) -> int:
    """Erase at most one batch of each sort; return how many referrals and documents were erased. The real clock rules."""
    erased = _erase_referrals(store, write_instant(now - times.done))
    erased += _erase_documents(store, write_instant(now - times.refused))
    if erased:
        _log.info("erased", count=erased)
    return erased


def _erase_referrals(store: GatewayStore, before: str) -> int:
    with store.transaction() as db:
        rows = db.execute(
            "SELECT referral_id, document_id FROM referral WHERE state = 'done' AND changed_at < ? AND content <> x'' LIMIT ?",
            (before, BATCH),
        ).fetchall()
        for row in rows:
            db.execute("UPDATE referral SET content = x'', plan = NULL WHERE referral_id = ?", (row["referral_id"],))
            db.execute("UPDATE sealing SET body = x'', section_keys = x'' WHERE referral_id = ?", (row["referral_id"],))
            db.execute(
                "UPDATE document SET body = x'' WHERE document_id = ? AND NOT EXISTS"
                " (SELECT 1 FROM referral r WHERE r.document_id = document.document_id AND r.content <> x'')",
                (row["document_id"],),
            )
    return len(rows)


def _erase_documents(store: GatewayStore, before: str) -> int:
    with store.transaction() as db:
        rows = db.execute(
            "DELETE FROM document WHERE document_id IN (SELECT d.document_id FROM document d"
            " LEFT JOIN referral r ON r.document_id = d.document_id WHERE r.referral_id IS NULL AND d.stored_at < ? LIMIT ?)"
            " RETURNING document_id",
            (before, BATCH),
        ).fetchall()
    return len(rows)
