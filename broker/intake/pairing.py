"""Acts that need two people: each signs with their own key an approval that names the act and the digest of what it is about; both serve once.

Nobody approves their own request alone: whoever asks is one of the two, or neither. Who may is the directory's data
(``local_policy.approver_roles.<action>``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from broker.delivery.ports import observe_nothing
from broker.intake.committing import commit_effects
from broker.intake.effects import Effects
from broker.intake.people import CLOCK_SKEW, PARTNERSHIP_ROLE, read_approval
from broker.intake.registering import register_approval
from broker.log import LogWriter, NewEvent
from broker.registry import DirectorySnapshot
from broker.store import registers as register_store
from broker.store.pool import Connection
from schemas.canonical import sha256_base64url
from schemas.directory import Directory, Person
from schemas.errors import Conflict, NotPermitted
from schemas.objects.approval import PAIRED_ACTIONS, Approval, ApprovalAction
from schemas.objects.signed import digest_object

APPROVALS_NEEDED: Final = 2
DEFAULT_ROLES: Final[Mapping[ApprovalAction, tuple[str, ...]]] = {
    ApprovalAction.CHRONOLOGY: ("partnership_auditor", "partnership_ig_officer", PARTNERSHIP_ROLE),
    ApprovalAction.ERASE: ("partnership_ig_officer", PARTNERSHIP_ROLE),
    ApprovalAction.LIFT_HOLD: ("partnership_ig_officer", PARTNERSHIP_ROLE),
}
"""Who may, where the directory's local policy names nobody."""


class TwoMustApprove(NotPermitted):
    """It needs two people, and they have not both approved it."""

    code = "two-must-approve"
    public_message = "Two people must approve this, each with their own key. An approval serves once, and expires."


@dataclass(frozen=True, slots=True)
class Pair:
    """Two approvals in force: their digests, who gave them, and why."""

    digests: tuple[str, ...]
    people: tuple[str, ...]
    reason_code: str


def name_subject(subject: str) -> str:
    """Return the digest by which an approval names what it is about: a subject's token, a referral's id, a hold's id."""
    return sha256_base64url(subject.encode())


def list_pair_roles(directory: Directory, action: ApprovalAction) -> frozenset[str]:
    """Return the roles that may take part in a paired act."""
    settings: dict[str, Any] = directory.local_policy.get("approver_roles", {})
    return frozenset(settings.get(action.value, DEFAULT_ROLES[action]))


async def approve_as_one_of_two(
    pool: asyncpg.Pool,
    connection: Connection,
    log: LogWriter,
    body: bytes,
    snapshot: DirectorySnapshot,
    *,
    person: str,
    now: datetime,
) -> str:
    """Verify one person's approval of a paired act, register and log it; return its digest.

    Raises:
        SignatureInvalid, MalformedMessage: it is not what it says, or nobody of the directory signed it.
        NotPermitted: ``person`` did not sign it, may not take part, or it is not in force.
        Conflict: the same person has approved the same already, or the approval's id was used.
        RacedByAnother: the directory moved meanwhile; read it and try again.
    """
    approval, signer = read_approval(body, snapshot)
    if approval.action not in PAIRED_ACTIONS or signer.id != person:
        raise NotPermitted("is signed by somebody else, or is about something else", field="approval.approver")
    _check_role(approval, signer, snapshot.directory)
    if not approval.issued_at - CLOCK_SKEW <= now < approval.expires_at:
        raise NotPermitted("it has expired, or is not in force yet", field="approval.expires_at")
    earlier = await _list_unused(connection, approval.action, str(approval.subject_digest))
    if any(row["approver"] == person and now < row["expires_at"] for row in earlier):
        raise Conflict("has approved it already: another person must", field="approval.approver")
    effects = Effects(now=now, lease_until=now)
    digest = digest_object(body)
    said = register_approval(approval, body, digest, effects, now)
    effects.log(NewEvent.salted("approval", said | {"subject": approval.subject_digest}))
    await commit_effects(pool, connection, log, effects, snapshot=snapshot, observe=observe_nothing)
    return digest


async def use_pair(
    connection: Connection, directory: Directory, action: ApprovalAction, subject: str, *, now: datetime
) -> Pair:
    """Find two people's approvals of this act on ``subject`` and use them up, in the caller's transaction.

    Raises:
        TwoMustApprove: fewer than two people who may have approved it, or the approvals are used or over.
    """
    rows = await _list_unused(connection, action, name_subject(subject))
    chosen: dict[str, Any] = {}
    for row in rows:
        if is_in_force(row, directory, action, now):
            chosen.setdefault(row["approver"], row)
    found = list(chosen.values())[:APPROVALS_NEEDED]
    if len(found) < APPROVALS_NEEDED:
        raise TwoMustApprove(field="approvals")
    for row in found:
        # Two who use the same approval at once wait for each other here; the second gets nothing.
        if not await register_store.insert_row(
            connection, "approval_uses", {"object_digest": row["object_digest"], "used_at": now}
        ):
            raise TwoMustApprove(field="approvals")
    return Pair(
        tuple(row["object_digest"] for row in found), tuple(row["approver"] for row in found), found[0]["reason_code"]
    )


async def _list_unused(connection: Connection, action: ApprovalAction, subject_digest: str) -> Sequence[asyncpg.Record]:
    return await connection.fetch(
        "SELECT a.object_digest, a.approver, a.approver_role, a.reason_code, a.issued_at, a.expires_at FROM approvals a"
        " WHERE a.action = $1 AND a.subject_digest = $2"
        " AND NOT EXISTS (SELECT 1 FROM approval_uses u WHERE u.object_digest = a.object_digest)"
        " ORDER BY a.received_at, a.object_digest",
        action.value,
        subject_digest,
    )


def is_in_force(row: Any, directory: Directory, action: ApprovalAction, now: datetime) -> bool:
    """Tell whether a registered approval is in force at ``now``, by a person who still may give it."""
    person = next((p for p in directory.people if p.id == row["approver"]), None)
    if person is None or row["approver_role"] not in person.roles:
        return False
    return row["approver_role"] in list_pair_roles(directory, action) and bool(now < row["expires_at"])


def _check_role(approval: Approval, person: Person, directory: Directory) -> None:
    if approval.approver_agency != person.agency or approval.approver_role not in person.roles:
        raise NotPermitted("the approver does not hold that role at that agency", field="approval.approver_role")
    if approval.approver_role not in list_pair_roles(directory, approval.action):
        raise NotPermitted("that role may not approve this", field="approval.approver_role")
