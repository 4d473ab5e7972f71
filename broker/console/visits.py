"""Somebody who has not signed in yet: a sealed cookie carries what belongs to the steps of a sign-in, so that strangers fill no table.

It holds a random id (to which form tokens are bound), its time, and what earlier steps proved. It is good for a quarter of an hour. A visit that led
to a session is used up: its id is kept until it would have expired, so that a copied cookie opens nothing.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from secrets import token_urlsafe
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from broker.console.sealing import Sealer
from broker.store.pool import Connection
from schemas.canonical import canonical_bytes, parse_object
from schemas.errors import SafelaneError

VISIT_COOKIE: Final = "__Host-safelane-visit"
SESSION_COOKIE: Final = "__Host-safelane-session"
VISIT_LIFE: Final = timedelta(minutes=15)
_MAX_COOKIE: Final = 3800


@dataclass(frozen=True, slots=True)
class Visit:
    """One visitor's cookie. ``proven`` is what the steps so far have shown or chosen."""

    visit_id: str
    began_at: datetime
    proven: dict[str, Any] = field(default_factory=dict)

    def with_proven(self, **members: Any) -> "Visit":
        """Return the visit with more proven; a member that is none is taken away."""
        changed = {name: value for name, value in {**self.proven, **members}.items() if value is not None}
        return replace(self, proven=changed)


def new_visit(now: datetime) -> Visit:
    """Return the visit of a stranger."""
    return Visit(token_urlsafe(24), now)


def read_visit(request: Request, sealer: Sealer, now: datetime) -> Visit | None:
    """Return the visit that the request's cookie holds, or none: there is no cookie, it is too old, or it is not ours."""
    text = request.cookies.get(VISIT_COOKIE)
    if not text or len(text) > _MAX_COOKIE:
        return None
    try:
        plain = sealer.open("visit", base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        members = parse_object(plain, max_bytes=_MAX_COOKIE)
    except (SafelaneError, binascii.Error, ValueError):
        return None
    began_at = datetime.fromisoformat(members["began_at"])
    if not now - VISIT_LIFE < began_at <= now:
        return None
    return Visit(members["visit_id"], began_at, members["proven"])


def write_visit(response: Response, visit: Visit, sealer: Sealer) -> None:
    """Set the visit's cookie. ``Lax``, because an identity provider's answer comes from another site."""
    plain = canonical_bytes(
        {"visit_id": visit.visit_id, "began_at": visit.began_at.isoformat(), "proven": visit.proven}
    )
    text = base64.urlsafe_b64encode(sealer.seal("visit", plain)).decode().rstrip("=")
    response.set_cookie(
        VISIT_COOKIE,
        text,
        max_age=int(VISIT_LIFE.total_seconds()),
        path="/",
        secure=True,
        httponly=True,
        samesite="lax",
    )


def write_session(response: Response, secret: str) -> None:
    """Set the session's cookie: never sent from another site, never readable by a script, gone with the browser."""
    response.set_cookie(SESSION_COOKIE, secret, path="/", secure=True, httponly=True, samesite="strict")


def remove_cookie(response: Response, name: str) -> None:
    """Take a cookie away."""
    response.set_cookie(name, "", max_age=0, path="/", secure=True, httponly=True, samesite="strict")


async def use_up(connection: Connection, spent: str, now: datetime) -> bool:
    """Mark what works once (a visit's id, a challenge) as used; return whether it was not before."""
    done = await connection.execute(
        "INSERT INTO console_used_visits (visit_sha256, used_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        hashlib.sha256(spent.encode()).digest(),
        now,
    )
    return bool(done == "INSERT 0 1")
