"""What becomes of a message that is not taken in: kept for a person, logged, and its sender told. Nothing is silently dropped."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from broker.amqp.consumer import Incoming
from broker.delivery.notices import build_notice
from broker.delivery.queues import QueueNames
from broker.intake.effects import Effects
from broker.intake.refusals import SECURITY_CODES, NotUnderstood
from broker.log import NewEvent
from broker.log.events import new_event_id
from broker.store.reviews import QuarantineRow
from schemas.canonical import encode_base64url, parse_object
from schemas.envelope.model import MAX_ENVELOPE_BYTES
from schemas.errors import SafelaneError
from schemas.jose.jws import peek_payload

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_DETAIL = 200


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message with the error for which it is not taken in."""

    incoming: Incoming = field(repr=False)
    error: SafelaneError

    @property
    def body_sha256(self) -> bytes:
        """SHA-256 of the bytes: the same bytes of the same user are refused once and counted after that."""
        return sha256(self.incoming.body).digest()

    @property
    def key(self) -> tuple[str | None, bytes]:
        """What identifies it in quarantine."""
        return self.incoming.user_id, self.body_sha256


def build_refusal(refusal: Refusal, queues: QueueNames, effects: Effects, now: datetime) -> None:
    """Add a refusal to ``effects``: an event, a row of the quarantine, and a notice to the user whom RabbitMQ validated."""
    incoming, error = refusal.incoming, refusal.error
    message_id, referral_id = claimed_ids(incoming)
    outcome = "quarantined" if isinstance(error, NotUnderstood) else "rejected"
    security = error.code in SECURITY_CODES
    notice = build_notice(outcome, at=now, message_id=message_id, referral_id=referral_id, error=error)
    event = effects.log(
        NewEvent.salted(
            "security" if security else outcome,
            {
                "at": now.isoformat(),
                "claimed_id": message_id,
                "sender": incoming.user_id,
                "body_sha256": encode_base64url(refusal.body_sha256),
                "code": error.code,
                "notice_sha256": notice.sha256,
            },
        )
    )
    effects.quarantine.append(
        QuarantineRow(
            quarantine_id=new_event_id(),
            user_id=incoming.user_id,
            claimed_id=message_id,
            type=_safe(incoming.type or ""),
            queue=incoming.queue,
            body_sha256=refusal.body_sha256,
            body=incoming.body,
            code=error.code,
            detail=error.detail[:_MOST_DETAIL],
            field_path=error.field,
            security=security,
            at=now,
            event_id=effects.events[event].event_id,
        )
    )
    if incoming.user_id is not None and queues.find(incoming.user_id) is not None:
        effects.send("notice", incoming.user_id, event, notice.base, stored=notice.base)


def claimed_ids(incoming: Incoming) -> tuple[str, str | None]:
    """Return the message id and referral id that a message claims, for its sender's use only; unreadable ones are empty."""
    try:
        jws = parse_object(incoming.body, max_bytes=MAX_ENVELOPE_BYTES)
        payload = parse_object(peek_payload(jws.get("manifest", jws)), max_bytes=MAX_ENVELOPE_BYTES)
    except (SafelaneError, AttributeError):
        payload = {}
    referral_id = payload.get("referral_id")
    return (
        _safe(payload.get("message_id")) or _safe(incoming.delivery_id),
        _safe(referral_id) or None,
    )


def _safe(text: object) -> str:
    return text if isinstance(text, str) and _ID.fullmatch(text) else ""
