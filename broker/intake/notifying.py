"""Word to an agency about what concerns it, with a code; logged, with the notice's digest in the event, so that the hub can deny nothing."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from broker.delivery.notices import build_notice
from broker.intake.effects import Effects
from broker.log import NewEvent
from schemas.canonical import canonical_bytes, sha256_base64url


def tell(  # noqa: PLR0917 - whom, what, about what
    effects: Effects,
    agency: str,
    code: str,
    message_id: UUID | None,
    delivery_id: str | None,
    now: datetime,
    *,
    statement: bytes | None = None,
) -> None:
    """Tell an agency something with a code, and the signed statement that it rests on, if there is one. Logged, with the notice's digest."""
    notice = build_notice(
        "told",
        at=now,
        message_id=str(message_id) if message_id else "",
        code=code,
        delivery_id=delivery_id or "",
    )
    stored = notice.base if statement is None else add_statement(notice.base, statement)
    members: dict[str, Any] = {
        "at": now.isoformat(),
        "message_id": str(message_id) if message_id else None,
        "delivery_id": delivery_id,
        "agency": agency,
        "code": code,
        "notice_sha256": sha256_base64url(stored),
    }
    event = effects.log(NewEvent.salted("told", members))
    effects.post("notice", agency, event, stored=stored)


def add_statement(base: bytes, statement: bytes) -> bytes:
    """Return a notice with a signed object in it, canonical."""
    return canonical_bytes({**orjson.loads(base), "statement": orjson.loads(statement)})


def tell_of(effects: Effects, agency: str, kind: str, members: Mapping[str, Any]) -> None:
    """Log an event of ``kind`` that holds ``members``, and send them to an agency as a notice of that outcome, with the proof."""
    base = canonical_bytes({"notice": 1, "outcome": kind, "message_id": "", "decisions": [], "error": None, **members})
    event = effects.log(NewEvent.salted(kind, {**members, "notice_sha256": sha256_base64url(base)}))
    effects.post("notice", agency, event, stored=base)
