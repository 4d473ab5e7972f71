"""What ends by itself is said aloud: a consent, a decision about what is queued or held, an agreement.

Nothing here decides. A message that comes after the end is decided by the end, whether this has run or not, and so is a collection; but sender, recipient
and whoever recorded the consent should hear of it when it happens, and what is queued should not wait for its recipient to find out.
"""

import json
from datetime import datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from broker.intake.effects import Effects
from broker.intake.notifying import tell
from broker.intake.register_view import covers_line
from broker.log import NewEvent
from broker.registry import DirectorySnapshot
from broker.store import expiries as expiry_store
from broker.store import registers as register_store
from broker.store.pool import Connection
from broker.store.registers import insert_row
from schemas.agreement_warnings import list_due_warnings
from schemas.objects.consent import Consent

CONSENT_EXPIRED = "CONSENT_EXPIRED"


async def take_expiries(
    connection: Connection, effects: Effects, snapshot: DirectorySnapshot, now: datetime, most: int
) -> int:
    """Add what ended by ``now`` (business time) to ``effects``, at most ``most`` of each sort; return how much that was."""
    consents = await expiry_store.list_expired_consents(connection, now, most)
    for row in consents:
        await _expire_consent(connection, row, effects, now)
    decisions = await expiry_store.list_expired_decisions(connection, now, most)
    for row in decisions:
        _expire_decision(row, effects, now)
    warned = await _warn_of_agreements(connection, effects, snapshot, now)
    return len(consents) + len(decisions) + warned


async def _expire_consent(connection: Connection, row: Any, effects: Effects, now: datetime) -> None:
    """Log the end of a consent, tell who recorded it, and have decided again what is queued or held about that child."""
    consent = Consent.model_validate(json.loads(row["record"]) if isinstance(row["record"], str) else row["record"])
    members = {
        "at": now.isoformat(),
        "object_digest": row["object_digest"],
        "consent_id": row["consent_id"],
        "recorded_by": row["recorded_by"],
        "expires_at": row["expires_at"].isoformat(),
    }
    effects.log(NewEvent.salted("consent_expired", members))
    tell(effects, row["recorded_by"], CONSENT_EXPIRED, None, None, now)
    for line in await register_store.list_touched(connection, row["tokens"]):
        _decide_again(effects, line, "consent_expired", row["object_digest"])
        if covers_line(consent.scope, line):
            for agency in dict.fromkeys((line["sender"], line["recipient"])):
                tell(effects, agency, CONSENT_EXPIRED, line["message_id"], line["delivery_id"], now)
    values = {"object_digest": row["object_digest"], "noted_at": now}
    effects.writes.append(lambda writer: insert_row(writer, "consent_expiries", values))


def _expire_decision(row: Any, effects: Effects, now: datetime) -> None:
    """Have a delivery decided again whose decision held until now: a consent in its header, a token, an approval or an agreement has ended."""
    _decide_again(effects, row, "time_passed", row["valid_until"].isoformat())
    values = {
        "message_id": row["message_id"],
        "delivery_id": row["delivery_id"],
        "valid_until": row["valid_until"],
        "noted_at": now,
    }
    effects.writes.append(lambda writer: insert_row(writer, "decision_expiries", values))


async def _warn_of_agreements(
    connection: Connection, effects: Effects, snapshot: DirectorySnapshot, now: datetime
) -> int:
    """Log each agreement that ends in 60 or 30 days, has ended, or is overdue for review: once each.

    Its owner sees it at its own gateway, which has the directory too.
    """
    directory = snapshot.directory
    due = list_due_warnings(directory.agreements, now.astimezone(ZoneInfo(directory.partnership.timezone)).date())
    given = await expiry_store.list_warnings(connection)
    fresh = [w for w in due if (w.agreement, w.code, w.due_on.isoformat()) not in given]
    for warning in fresh:
        members = {
            "at": now.isoformat(),
            "agreement": warning.agreement,
            "code": warning.code,
            "due_on": warning.due_on.isoformat(),
            "owner": warning.owner,
        }
        effects.log(NewEvent.clear("agreement", members))
        values = {"agreement": warning.agreement, "code": warning.code, "due_on": warning.due_on, "noted_at": now}
        effects.writes.append(partial(insert_row, table="agreement_warnings", values=values))
    return len(fresh)


def _decide_again(effects: Effects, line: Any, cause: str, basis: str) -> None:
    message_id, delivery_id, due_at = line["message_id"], line["delivery_id"], effects.now
    effects.writes.append(
        lambda connection: register_store.enqueue_decision(connection, message_id, delivery_id, cause, basis, due_at)
    )
