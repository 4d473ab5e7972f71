"""A form that was sent before the person confirmed that it is they: kept for the session, sealed, so that nothing typed is lost by the question.

Only a form that passed origin, session, role and form token is kept. It is handed back once, within a few minutes, as a form that the person sends on.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from broker.console.sealing import Sealer
from broker.store.pool import Connection
from schemas.canonical import canonical_bytes, parse_object

RESUME_PATH: Final = "/account/confirm/resume"
KEPT_FOR: Final = timedelta(minutes=10)
_MAX_KEPT: Final = 512 * 1024
"""A form of the largest size that is taken, escaped as JSON."""


@dataclass(frozen=True, slots=True)
class KeptForm:
    """Where a form goes, and what was typed."""

    path: str
    values: dict[str, list[str]]


async def keep_form(connection: Connection, sealer: Sealer, session_id: UUID, form: KeptForm, now: datetime) -> None:
    """Keep a form for this session, in place of an earlier one."""
    plain = canonical_bytes({"path": form.path, "values": form.values})
    await connection.execute(
        "INSERT INTO console_kept_forms (session_id, sealed, kept_at) VALUES ($1, $2, $3)"
        " ON CONFLICT (session_id) DO UPDATE SET sealed = excluded.sealed, kept_at = excluded.kept_at",
        session_id,
        sealer.seal(_purpose(session_id), plain),
        now,
    )


async def take_form(connection: Connection, sealer: Sealer, session_id: UUID, now: datetime) -> KeptForm | None:
    """Return the form that this session left, and forget it; none if there is none, or it is too old."""
    row = await connection.fetchrow(
        "DELETE FROM console_kept_forms WHERE session_id = $1 RETURNING sealed, kept_at", session_id
    )
    if row is None or row["kept_at"] + KEPT_FOR <= now:
        return None
    members = parse_object(sealer.open(_purpose(session_id), row["sealed"]), max_bytes=_MAX_KEPT)
    return KeptForm(members["path"], members["values"])


async def forget_old_forms(connection: Connection, now: datetime) -> None:
    """Remove forms that nobody came back for."""
    await connection.execute("DELETE FROM console_kept_forms WHERE kept_at < $1", now - KEPT_FOR)


def _purpose(session_id: UUID) -> str:
    return f"kept form {session_id}"
