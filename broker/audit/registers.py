"""What the hub keeps besides referrals, for people: consents, quarantine, agencies and when they were last heard, checkpoints and cosignatures.

What the directory says (agreements, keys, people) is read from its signed snapshot; here is what only the hub's own tables know.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from broker.registry import DirectorySnapshot
from broker.store.pool import Connection
from schemas.canonical import encode_base64url
from schemas.errors import MalformedMessage, NotFound
from schemas.signed_directory import is_active

MAX_LISTED: Final = 100
_HEARD_EVENTS: Final = ("accepted", "receipt", "key", "object", "collected")


@dataclass(frozen=True, slots=True)
class ConsentLine:
    """The newest entry of one consent, as it was recorded: codes and ids."""

    consent_id: str
    recorded_by: str
    state: str
    received_at: datetime
    entries: int
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class QuarantineLine:
    """A message that could not be handled. ``security`` marks those that contradict who sent them."""

    quarantine_id: UUID
    user_id: str | None
    claimed_id: str
    type: str
    code: str
    detail: str
    field: str | None
    security: bool
    seen: int
    first_at: datetime
    last_at: datetime
    body_sha256: str
    state: str
    decided_by: str | None
    decided_at: datetime | None
    decision_reason: str | None


@dataclass(frozen=True, slots=True)
class AgencyLine:
    """An agency: its state in the directory, its keys, its queue, when the hub last heard of it, and how far it has witnessed the log."""

    agency: str
    name: str
    kind: str
    roles: tuple[str, ...]
    state: str
    encryption_keys: int
    key_ends_at: datetime | None
    queue: bool
    last_heard_at: datetime | None
    witness: bool
    cosigned_size: int | None
    cosigned_at: datetime | None


@dataclass(frozen=True, slots=True)
class CheckpointLine:
    """A signed head of the log and who cosigned it."""

    size: int
    epoch: int
    root: str
    note: str
    at: datetime
    cosigned_by: tuple[str, ...]


async def list_consents(
    connection: Connection,
    *,
    agency: str | None,
    state: str | None = None,
    before: datetime | None = None,
    most: int = MAX_LISTED,
) -> list[ConsentLine]:
    """Return the newest entry of each consent, the latest first, before an instant; of one recording agency if ``agency`` is given."""
    rows = await connection.fetch(
        "SELECT c.consent_id, c.recorded_by, c.state, c.received_at, c.record,"
        " (SELECT count(*) FROM consents e WHERE e.consent_id = c.consent_id)::int AS entries FROM consents c"
        " WHERE NOT EXISTS (SELECT 1 FROM consents later WHERE later.consent_id = c.consent_id AND later.previous = c.object_digest)"
        " AND ($1::text IS NULL OR c.recorded_by = $1) AND ($2::text IS NULL OR c.state = $2)"
        " AND ($3::timestamptz IS NULL OR c.received_at < $3) ORDER BY c.received_at DESC, c.consent_id LIMIT $4",
        agency,
        state,
        before,
        _bound(most),
    )
    return [ConsentLine(**{**dict(row), "record": json.loads(row["record"])}) for row in rows]


async def list_consent_entries(connection: Connection, consent_id: str, *, agency: str | None) -> list[ConsentLine]:
    """Return a consent's entries, oldest first.

    Raises:
        NotFound: there is none, or another agency recorded it.
    """
    rows = await connection.fetch(
        "SELECT consent_id, recorded_by, state, received_at, record, count(*) OVER ()::int AS entries FROM consents"
        " WHERE consent_id = $1 AND ($2::text IS NULL OR recorded_by = $2) ORDER BY received_at LIMIT $3",
        consent_id,
        agency,
        MAX_LISTED,
    )
    if not rows:
        raise NotFound("there is no such consent", field="consent_id")
    return [ConsentLine(**{**dict(row), "record": json.loads(row["record"])}) for row in rows]


async def list_quarantine(
    connection: Connection,
    *,
    agency: str | None,
    state: str | None = "open",
    before: datetime | None = None,
    most: int = MAX_LISTED,
) -> list[QuarantineLine]:
    """Return what is in quarantine, the latest first, before an instant; what came in one agency's name if ``agency`` is given."""
    rows = await connection.fetch(
        "SELECT quarantine_id, user_id, claimed_id, type, code, detail, field, security, seen, first_at, last_at, body_sha256, state,"
        " decided_by, decided_at, decision_reason FROM quarantine WHERE ($1::text IS NULL OR user_id = $1)"
        " AND ($2::text IS NULL OR state = $2) AND ($3::timestamptz IS NULL OR last_at < $3) ORDER BY last_at DESC, quarantine_id LIMIT $4",
        agency,
        state,
        before,
        _bound(most),
    )
    return [QuarantineLine(**{**dict(row), "body_sha256": encode_base64url(row["body_sha256"])}) for row in rows]


async def list_agencies(
    connection: Connection, snapshot: DirectorySnapshot, *, agency: str | None, now: datetime
) -> list[AgencyLine]:
    """Return the directory's agencies with what the hub knows of them: all, or one."""
    shown = [a for a in snapshot.directory.agencies if agency is None or a.id == agency]
    ids = [a.id for a in shown]
    heard = await _read_last_heard(connection, ids)
    queues = {
        row["agency"]
        for row in await connection.fetch(
            "SELECT agency FROM agency_queues WHERE provisioned_at IS NOT NULL AND removed_at IS NULL"
        )
    }
    cosigned = await _read_cosigned(connection, snapshot.directory.witnesses.agencies)
    lines = []
    for found in shown:
        usable = [k for k in snapshot.encryption_keys.get(found.id, ()) if k.not_before <= now < k.not_after]
        last = cosigned.get(found.id)
        lines.append(
            AgencyLine(
                agency=found.id,
                name=found.name,
                kind=found.kind,
                roles=found.roles,
                state="revoked" if found.revoked_at else "enrolled" if is_active(found) else "known",
                encryption_keys=len(usable),
                key_ends_at=max((k.not_after for k in usable), default=None),
                queue=found.id in queues,
                last_heard_at=max(
                    (at for at in (heard.get(found.id), last["received_at"] if last else None) if at), default=None
                ),
                witness=found.id in snapshot.directory.witnesses.agencies,
                cosigned_size=last["size"] if last else None,
                cosigned_at=last["received_at"] if last else None,
            )
        )
    return lines


async def list_checkpoints(
    connection: Connection, *, below: int | None = None, most: int = MAX_LISTED
) -> list[CheckpointLine]:
    """Return checkpoints, the largest first, below a size."""
    rows = await connection.fetch(
        "SELECT c.size, c.epoch, c.root, c.note, c.at,"
        " ARRAY(SELECT w.witness FROM log_cosignatures w WHERE w.size = c.size ORDER BY w.witness) AS cosigned_by"
        " FROM log_checkpoints c WHERE $1::bigint IS NULL OR c.size < $1 ORDER BY c.size DESC LIMIT $2",
        below,
        _bound(most),
    )
    return [
        CheckpointLine(**{**dict(row), "root": encode_base64url(row["root"]), "cosigned_by": tuple(row["cosigned_by"])})
        for row in rows
    ]


async def _read_last_heard(connection: Connection, agencies: Sequence[str]) -> dict[str, datetime]:
    """Return when each agency's own act was last logged: it sent, or it acknowledged what it received."""
    rows = await connection.fetch(
        "SELECT s.agency, max(e.at) AS at FROM (SELECT stream, CASE WHEN kind IN ('accepted', 'key') THEN sender ELSE recipient END AS agency"
        "  FROM audit_streams WHERE kind = ANY($1::text[])) s"
        " CROSS JOIN LATERAL (SELECT a.at FROM audit_events a WHERE a.stream = s.stream ORDER BY a.at DESC, a.position DESC LIMIT 1) e"
        " WHERE s.agency = ANY($2::text[]) GROUP BY s.agency",
        list(_HEARD_EVENTS),
        list(agencies),
    )
    return {row["agency"]: row["at"] for row in rows}


async def _read_cosigned(connection: Connection, agencies: Sequence[str]) -> dict[str, Any]:
    # Asked for witnesses alone: for one that never cosigned, a walk through everybody's may look cheap to the planner.
    rows = await connection.fetch(
        "SELECT a.agency, c.size, c.received_at FROM unnest($1::text[]) AS a (agency) CROSS JOIN LATERAL"
        " (SELECT size, received_at FROM log_cosignatures WHERE witness = a.agency ORDER BY size DESC LIMIT 1) c",
        list(agencies),
    )
    return {row["agency"]: row for row in rows}


def _bound(most: int) -> int:
    if not 0 < most <= MAX_LISTED:
        raise MalformedMessage(f"must be 1 to {MAX_LISTED}", field="limit")
    return most
