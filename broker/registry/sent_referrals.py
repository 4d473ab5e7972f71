"""What a sender may ask about its own referrals: outcomes, reasons and receipts. Every query names the sender, so that nobody reads another's."""

import json
from collections.abc import Sequence
from typing import Any

import asyncpg

from broker.registry.versions import TIMEOUT_SECONDS, Connection

MAX_MESSAGES = 200

_MESSAGES = """
SELECT message_id, referral_id, revision, kind, outcome, received_at, manifest_digest
FROM messages WHERE sender = $1 AND {column} = $2 ORDER BY referral_id, revision LIMIT $3
"""
_DELIVERIES = """
SELECT message_id, delivery_id, recipient, role, purpose, contact, outcome, "row", reason, decision, state
FROM deliveries WHERE message_id = ANY($1) ORDER BY message_id, number
"""
_RECEIPTS = """
SELECT message_id, delivery_id, state, reason_code, at FROM receipts WHERE message_id = ANY($1) ORDER BY at, state
"""


async def find_by_referral(connection: Connection, sender: str, referral_id: str) -> list[dict[str, Any]]:
    """Return the messages of one of ``sender``'s referrals, by revision, with deliveries and receipts; empty if it has no such referral."""
    return await _find(connection, "referral_id", sender, referral_id)


async def find_by_native_reference(connection: Connection, sender: str, digest: str) -> list[dict[str, Any]]:
    """Return the messages of the referrals that ``sender`` gave this reference (its keyed digest)."""
    return await _find(connection, "native_ref_digest", sender, digest)


async def _find(connection: Connection, column: str, sender: str, value: str) -> list[dict[str, Any]]:
    query = _MESSAGES.format(column=column)
    messages = await connection.fetch(query, sender, value, MAX_MESSAGES, timeout=TIMEOUT_SECONDS)
    ids = [row["message_id"] for row in messages]
    deliveries = await connection.fetch(_DELIVERIES, ids, timeout=TIMEOUT_SECONDS) if ids else []
    receipts = await connection.fetch(_RECEIPTS, ids, timeout=TIMEOUT_SECONDS) if ids else []
    return [_message(row, deliveries, receipts) for row in messages]


def _message(
    row: asyncpg.Record, deliveries: Sequence[asyncpg.Record], receipts: Sequence[asyncpg.Record]
) -> dict[str, Any]:
    return {
        "message_id": str(row["message_id"]),
        "referral_id": row["referral_id"],
        "revision": row["revision"],
        "kind": row["kind"],
        "outcome": row["outcome"],
        "received_at": row["received_at"].isoformat(),
        "manifest_digest": row["manifest_digest"],
        "deliveries": [_delivery(d, receipts) for d in deliveries if d["message_id"] == row["message_id"]],
    }


def _delivery(row: asyncpg.Record, receipts: Sequence[asyncpg.Record]) -> dict[str, Any]:
    decision = json.loads(row["decision"])
    own = (row["message_id"], row["delivery_id"])
    answer = {
        "delivery_id": row["delivery_id"],
        "recipient": row["recipient"],
        "role": row["role"],
        "purpose": row["purpose"],
        "outcome": row["outcome"],
        "row": row["row"],
        "reason": row["reason"],
        "compartments": {
            compartment: {name: found.get(name, "") for name in ("result", "row", "reason")}
            for compartment, found in decision.get("compartments", {}).items()
        },
        "state": row["state"],
        "receipts": [
            {"state": r["state"], "at": r["at"].isoformat()}
            | ({"reason_code": r["reason_code"]} if r["reason_code"] else {})
            for r in receipts
            if (r["message_id"], r["delivery_id"]) == own
        ],
    }
    return answer | ({"contact": row["contact"]} if row["contact"] else {})
