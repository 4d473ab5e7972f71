"""Taking a policy pack into use: lodged by digest, approved by two people with their own keys, named by the next directory that the officers sign.

A lodged pack decides nothing. The hub takes a directory that names another pack than the last one only with the approvals of two people that are in
force and were not used before; from the next message on every worker and API process decides by it, because the directory is what they follow.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from broker.decisions import PolicyPack, load_bundle
from broker.decisions.bundle import write_digest
from broker.delivery.ports import observe_nothing
from broker.intake.committing import commit_effects
from broker.intake.effects import Effects
from broker.intake.people import CLOCK_SKEW, read_approval
from broker.intake.registering import register_approval
from broker.log import LogWriter, NewEvent
from broker.registry import DirectorySnapshot, versions
from broker.registry.packs import PackShelf
from broker.store import policies as policy_store
from broker.store.pool import Connection
from schemas.directory import Directory, Person
from schemas.errors import Conflict, NotFound, NotPermitted
from schemas.objects.approval import Approval, ApprovalAction
from schemas.objects.signed import digest_object

APPROVALS_NEEDED = 2
DEFAULT_ROLES = ("policy_approver", "authority_officer")
"""Who may lodge and approve packs, where ``local_policy.approver_roles.activate_policy`` names nobody."""


class PackNotHeld(Conflict):
    """A directory names a policy pack that was not lodged with this hub."""

    code = "policy-pack-not-held"
    public_message = "The hub does not have the policy pack that this directory names. Lodge it first."


class PackNotApproved(Conflict):
    """A directory would take a pack into use that two people have not approved."""

    code = "policy-pack-not-approved"
    public_message = "Two people must approve a policy pack before a directory takes it into use."


class MatrixDiffers(Conflict):
    """A directory's matrix is not that of the pack that it names."""

    code = "matrix-differs"
    public_message = "The directory's need-to-know matrix is not that of the policy pack that it names."


@dataclass(frozen=True, slots=True)
class PackState:
    """A lodged pack as people see it: whether it is in force, and who approved it since it was last taken into use."""

    policy_digest: str
    pack_id: str
    title: str
    in_force: bool
    added_at: datetime
    added_by: str | None
    activated_at: datetime | None
    approvals: tuple[dict[str, Any], ...]

    @property
    def is_approved(self) -> bool:
        """Whether enough different people have approved it."""
        return len({a["approver"] for a in self.approvals}) >= APPROVALS_NEEDED


def list_policy_roles(directory: Directory) -> frozenset[str]:
    """Return the roles that may lodge and approve policy packs."""
    return frozenset(directory.local_policy.get("approver_roles", {}).get("activate_policy", DEFAULT_ROLES))


def require_policy_role(person: Person | None, directory: Directory) -> Person:
    """Return the person if they may lodge and approve policy packs.

    Raises:
        NotPermitted: they may not.
    """
    if person is None or list_policy_roles(directory).isdisjoint(person.roles):
        raise NotPermitted("only a person with a role for policies may do this", field="person.roles")
    return person


async def lodge_pack(  # noqa: PLR0917 - one step with everything in view
    connection: Connection, log: LogWriter, body: bytes, person: Person, snapshot: DirectorySnapshot, now: datetime
) -> tuple[PolicyPack, bool]:
    """Validate a bundled pack, store it by its digest and log that; return it, and whether it is new. Call it inside a transaction.

    Raises:
        ConfigInvalid: the pack is not valid, or its local part does more than it may.
        NotPermitted: the person has no role for policies.
    """
    require_policy_role(person, snapshot.directory)
    pack = load_bundle(body)
    added = await policy_store.insert_pack(connection, pack.digest, pack.id, pack.title, body, now, person.id)
    if added:
        # Whoever looks at the registry loads it again: a directory may name this pack already.
        await versions.count_change(connection)
        members = {"policy_digest": pack.digest, "pack_id": pack.id, "at": now.isoformat()}
        await log.append(connection, [NewEvent.clear("policy_pack", members)], at=now)
    return pack, added


async def read_packs(
    connection: Connection, snapshot: DirectorySnapshot, shelf: PackShelf, now: datetime
) -> list[PackState]:
    """Return every lodged pack, the one in force first."""
    in_force = shelf.find_digest(snapshot.directory)
    approvals = await policy_store.list_activation_approvals(connection)
    found = []
    for row in await policy_store.list_packs(connection):
        digest = row["policy_digest"]
        mine = [a for a in approvals if a["policy_digest"] == write_digest(digest)]
        counting = tuple(dict(a) for a in mine if _counts(a, snapshot.directory, now))
        found.append(
            PackState(
                policy_digest=digest,
                pack_id=row["pack_id"],
                title=row["title"],
                in_force=digest == in_force,
                added_at=row["added_at"],
                added_by=row["added_by"],
                activated_at=row["activated_at"],
                approvals=counting,
            )
        )
    return sorted(found, key=lambda state: not state.in_force)


async def approve_pack(
    pool: asyncpg.Pool,
    connection: Connection,
    log: LogWriter,
    body: bytes,
    snapshot: DirectorySnapshot,
    *,
    person: str,
    now: datetime,
) -> str:
    """Verify one person's signed approval to activate a pack, register and log it; return its digest.

    Raises:
        SignatureInvalid, MalformedMessage: it is not what it says, or nobody of the directory signed it.
        NotPermitted: ``person`` did not sign it, has no role for policies, or it is not in force.
        NotFound: the pack is not lodged.
        Conflict: the same person has approved it already, or the approval's id was used.
        RacedByAnother: the directory moved meanwhile; read it and try again.
    """
    approval, signer = read_approval(body, snapshot)
    if approval.action is not ApprovalAction.ACTIVATE_POLICY or signer.id != person:
        raise NotPermitted("is signed by somebody else, or is about something else", field="approval.approver")
    _check_policy_approver(approval, signer, snapshot.directory, now)
    packs = {write_digest(row["policy_digest"]) for row in await policy_store.list_packs(connection)}
    if approval.policy_digest not in packs:
        raise NotFound("there is no such policy pack here: lodge it first", field="approval.policy_digest")
    earlier = await policy_store.list_activation_approvals(connection, approval.policy_digest)
    if any(row["approver"] == person and row["expires_at"] > now for row in earlier):
        raise Conflict("has approved it already: another person must", field="approval.approver")
    effects = Effects(now=now, lease_until=now)
    digest = digest_object(body)
    said = register_approval(approval, body, digest, effects, now)
    effects.log(NewEvent.salted("review", said | {"delivery_id": None, "policy_digest": approval.policy_digest}))
    await commit_effects(pool, connection, log, effects, snapshot=snapshot, observe=observe_nothing)
    return digest


async def check_activation(
    connection: Connection, directory: Directory, earlier: Directory | None, shelf: PackShelf, now: datetime
) -> tuple[str, ...] | None:
    """Return the approvals on which ``directory`` takes another pack into use; none where it changes nothing.

    A partnership's first directory is its founding: the pack is what the operator installed.

    Raises:
        PackNotHeld: the pack that it names is not here.
        MatrixDiffers: its matrix is not that pack's.
        PackNotApproved: fewer than two different people have approved the pack.
    """
    digest = shelf.find_digest(directory)
    pack = shelf.find_loaded(digest)
    if pack is None:
        body = await policy_store.read_pack(connection, digest)
        if body is None:
            raise PackNotHeld(field="directory.policy_digest")
        pack = shelf.keep(digest, body)
    if directory.matrix and directory.matrix != pack.matrix.to_directory_rows():
        raise MatrixDiffers(field="directory.matrix")
    if earlier is None or shelf.find_digest(earlier) == digest:
        return None
    rows = await policy_store.list_activation_approvals(connection, write_digest(digest))
    counting = [row for row in rows if _counts(row, earlier, now)]
    if len({row["approver"] for row in counting}) < APPROVALS_NEEDED:
        raise PackNotApproved(field="directory.policy_digest")
    return tuple(row["object_digest"] for row in counting)


def _counts(row: Any, directory: Directory, now: datetime) -> bool:
    """Tell whether a registered approval is in force, by a person who still has the role."""
    person = next((p for p in directory.people if p.id == row["approver"]), None)
    if person is None or row["approver_role"] not in person.roles:
        return False
    return row["approver_role"] in list_policy_roles(directory) and bool(now < row["expires_at"])


def _check_policy_approver(approval: Approval, person: Person, directory: Directory, now: datetime) -> None:
    if approval.approver_agency != person.agency or approval.approver_role not in person.roles:
        raise NotPermitted("the approver does not hold that role at that agency", field="approval.approver_role")
    if approval.approver_role not in list_policy_roles(directory):
        raise NotPermitted("that role may not approve this", field="approval.approver_role")
    if not approval.issued_at - CLOCK_SKEW <= now < approval.expires_at:
        raise NotPermitted("it has expired, or is not in force yet", field="approval.expires_at")
