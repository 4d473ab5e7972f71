"""Policy packs in PostgreSQL: by digest, added and never changed; who approved which, and which directory version took which into use."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from broker.store.pool import Connection
from schemas.objects.approval import ApprovalAction


async def read_pack(connection: Connection, policy_digest: str) -> bytes | None:
    """Return a bundled pack, or none."""
    body: bytes | None = await connection.fetchval(
        "SELECT body FROM policy_packs WHERE policy_digest = $1", policy_digest
    )
    return body


async def insert_pack(  # noqa: PLR0917 - the columns of the table
    connection: Connection, policy_digest: str, pack_id: str, title: str, body: bytes, at: datetime, by: str | None
) -> bool:
    """Add a pack; return whether it is new. ``by`` none: a program was installed with it."""
    done = await connection.execute(
        "INSERT INTO policy_packs (policy_digest, pack_id, title, body, added_at, added_by) VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT DO NOTHING",
        policy_digest,
        pack_id,
        title,
        body,
        at,
        by,
    )
    return bool(done == "INSERT 0 1")


async def list_packs(connection: Connection) -> Sequence[asyncpg.Record]:
    """Return every pack without its text, the newest first, and when a directory last took it into use."""
    return await connection.fetch(
        "SELECT p.policy_digest, p.pack_id, p.title, p.added_at, p.added_by, max(a.activated_at) AS activated_at,"
        " max(a.directory_version) AS directory_version"
        " FROM policy_packs p LEFT JOIN policy_activations a USING (policy_digest)"
        " GROUP BY p.policy_digest ORDER BY p.added_at DESC, p.policy_digest"
    )


async def list_activation_approvals(
    connection: Connection, signed_digest: str | None = None
) -> Sequence[asyncpg.Record]:
    """Return the approvals to activate a pack (none named: any) that no activation has used, oldest first."""
    return await connection.fetch(
        "SELECT a.object_digest, a.approver, a.approver_agency, a.approver_role, a.reason_code, a.policy_digest, a.issued_at,"
        " a.expires_at, a.received_at FROM approvals a WHERE a.action = $1 AND ($2::text IS NULL OR a.policy_digest = $2)"
        " AND a.policy_digest IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM policy_activations v WHERE a.object_digest = ANY(v.approvals))"
        " ORDER BY a.received_at, a.object_digest",
        ApprovalAction.ACTIVATE_POLICY.value,
        signed_digest,
    )


async def insert_activation(
    connection: Connection, directory_version: int, policy_digest: str, approvals: Sequence[str], at: datetime
) -> None:
    """Note that a directory version takes a pack into use, on the strength of these approvals."""
    await connection.execute(
        "INSERT INTO policy_activations (directory_version, policy_digest, approvals, activated_at) VALUES ($1, $2, $3, $4)",
        directory_version,
        policy_digest,
        list(approvals),
        at,
    )
