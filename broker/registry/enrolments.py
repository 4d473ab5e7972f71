"""Enrolment as the hub sees it: one-time invitations, requests that wait for an officer, and the authority's welcome. The hub decides nothing here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any

import asyncpg

from broker.registry.versions import TIMEOUT_SECONDS, Connection
from broker.store.pool import translate_errors
from schemas.canonical import canonical_bytes, sha256_base64url
from schemas.enrolment import EnrolmentRequest, Welcome, request_digest, verify_enrolment
from schemas.errors import Conflict, NotFound
from schemas.keys import pair_verifying_keys
from schemas.signed_directory import read_key_announcement

DEFAULT_VALIDITY = timedelta(hours=72)
MAX_VALIDITY = timedelta(days=14)
MAX_PENDING = 500
PENDING, REFUSED, ENROLLED = "pending", "refused", "enrolled"


class InvitationRefused(NotFound):
    """The invitation is unknown, over, used, or another agency's; the error never says which."""

    code = "invitation-refused"
    public_message = "The invitation is not valid. Ask the hub's operator for a new one."


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One request to join and what became of it."""

    enrolment_id: str
    agency: str
    state: str
    fingerprint: str
    request: dict[str, Any]
    created_at: datetime
    welcome: dict[str, Any] | None = None

    def verified_request(self) -> EnrolmentRequest:
        """Return the request, its signatures verified again."""
        return verify_enrolment(self.request)


async def create_invitation(
    connection: Connection, agency_id: str, *, now: datetime, validity: timedelta = DEFAULT_VALIDITY
) -> tuple[str, datetime]:
    """Make a one-time invitation for an agency; return its secret, which is stored only as a digest, and when it ends.

    Raises:
        Conflict: it would be valid for too long.
    """
    if not timedelta(0) < validity <= MAX_VALIDITY:
        raise Conflict(f"must be valid for at most {MAX_VALIDITY.days} days", field="validity")
    secret = token_urlsafe(32)
    expires_at = now + validity
    with translate_errors():
        await connection.execute(
            "INSERT INTO invitations (secret_sha256, agency, created_at, expires_at) VALUES ($1, $2, $3, $4)",
            sha256(secret.encode()).digest(),
            agency_id,
            now,
            expires_at,
            timeout=TIMEOUT_SECONDS,
        )
    return secret, expires_at


def check_request(secret: str, body: Mapping[str, Any]) -> EnrolmentRequest:
    """Verify a request by its own new keys and check that it fits the invitation and announces an encryption key of its own.

    Raises:
        SignatureInvalid, MalformedMessage: the request does not prove possession of its keys, or is not of the form.
        InvitationRefused: it was made for another invitation.
    """
    request = verify_enrolment(body)
    if request.invitation_sha256 != sha256_base64url(secret.encode()):
        raise InvitationRefused
    read_key_announcement(canonical_bytes(request.encryption_key), request.agency, pair_verifying_keys(request.signing))
    return request


async def accept_request(
    connection: Connection, secret: str, body: Mapping[str, Any], request: EnrolmentRequest, *, now: datetime
) -> tuple[Enrolment, bool]:
    """Use up the invitation and store a checked request as pending; return it and whether it is new. Call it inside a transaction.

    The same bytes again give the same enrolment.

    Raises:
        InvitationRefused: the invitation is unknown, over, another agency's, or was used for another request.
    """
    row = await connection.fetchrow(
        "SELECT agency, expires_at, enrolment_id FROM invitations WHERE secret_sha256 = $1 FOR UPDATE",
        sha256(secret.encode()).digest(),
        timeout=TIMEOUT_SECONDS,
    )
    if row is None or row["agency"] != request.agency:
        raise InvitationRefused
    if row["enrolment_id"] is not None:
        found = await find_enrolment(connection, row["enrolment_id"])
        if found is None or request_digest(found.request) != request_digest(body):
            raise InvitationRefused
        return found, False
    if now >= row["expires_at"]:
        raise InvitationRefused
    enrolment = Enrolment(f"enr_{token_urlsafe(12)}", request.agency, PENDING, request.fingerprint(), dict(body), now)
    await connection.execute(
        "INSERT INTO enrolments (enrolment_id, agency, state, fingerprint, request, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        enrolment.enrolment_id,
        enrolment.agency,
        PENDING,
        enrolment.fingerprint,
        canonical_bytes(enrolment.request),
        now,
        timeout=TIMEOUT_SECONDS,
    )
    await connection.execute(
        "UPDATE invitations SET used_at = $2, enrolment_id = $3 WHERE secret_sha256 = $1",
        sha256(secret.encode()).digest(),
        now,
        enrolment.enrolment_id,
        timeout=TIMEOUT_SECONDS,
    )
    return enrolment, True


async def find_enrolment(connection: Connection, enrolment_id: str) -> Enrolment | None:
    """Return an enrolment by id, or none."""
    row = await connection.fetchrow(
        "SELECT * FROM enrolments WHERE enrolment_id = $1", enrolment_id, timeout=TIMEOUT_SECONDS
    )
    return _read_row(row) if row else None


async def list_pending(connection: Connection) -> list[Enrolment]:
    """Return the requests that wait for an officer, oldest first, at most 500."""
    rows = await connection.fetch(
        "SELECT * FROM enrolments WHERE state = $1 ORDER BY created_at LIMIT $2",
        PENDING,
        MAX_PENDING,
        timeout=TIMEOUT_SECONDS,
    )
    return [_read_row(row) for row in rows]


async def refuse_enrolment(connection: Connection, enrolment_id: str, *, now: datetime) -> None:
    """Record an officer's refusal. Repeating it changes nothing; an enrolled agency is not refused by it.

    Raises:
        NotFound: there is no such enrolment.
        Conflict: it is complete.
    """
    found = await find_enrolment(connection, enrolment_id)
    if found is None:
        raise NotFound
    if found.state == ENROLLED:
        raise Conflict("is complete: revoke the agency instead", field="state")
    await connection.execute(
        "UPDATE enrolments SET state = $2, decided_at = coalesce(decided_at, $3) WHERE enrolment_id = $1",
        enrolment_id,
        REFUSED,
        now,
        timeout=TIMEOUT_SECONDS,
    )


async def complete_enrolment(
    connection: Connection,
    enrolment_id: str,
    welcome_jws: Mapping[str, Any],
    welcome: Welcome,
    *,
    now: datetime,
) -> bool:
    """Store the authority's verified welcome; return False if it is stored already. Call it inside a transaction.

    Raises:
        NotFound: there is no such enrolment.
        Conflict: the welcome is for another request, or another welcome is stored.
    """
    row = await connection.fetchrow(
        "SELECT * FROM enrolments WHERE enrolment_id = $1 FOR UPDATE", enrolment_id, timeout=TIMEOUT_SECONDS
    )
    if row is None:
        raise NotFound
    found = _read_row(row)
    named = (welcome.enrolment_id, welcome.agency, welcome.request_sha256)
    if named != (found.enrolment_id, found.agency, request_digest(found.request)):
        raise Conflict("the welcome is for another request", field="welcome")
    if found.welcome is not None:
        if canonical_bytes(found.welcome) != canonical_bytes(dict(welcome_jws)):
            raise Conflict("another welcome is stored", field="welcome")
        return False
    await connection.execute(
        "UPDATE enrolments SET state = $2, welcome = $3, decided_at = $4 WHERE enrolment_id = $1",
        enrolment_id,
        ENROLLED,
        canonical_bytes(dict(welcome_jws)),
        now,
        timeout=TIMEOUT_SECONDS,
    )
    return True


def _read_row(row: asyncpg.Record) -> Enrolment:
    return Enrolment(
        enrolment_id=row["enrolment_id"],
        agency=row["agency"],
        state=row["state"],
        fingerprint=row["fingerprint"],
        request=json.loads(row["request"]),
        created_at=row["created_at"],
        welcome=json.loads(row["welcome"]) if row["welcome"] is not None else None,
    )
