"""Taking a policy pack into use from the authority's machine: lodged, approved by people, then named by a directory that two officers sign."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from broker.decisions import PolicyPack, bundle_pack, load_bundle
from broker.decisions.bundle import write_digest
from deploy.authority.founding import OFFICERS
from deploy.authority.officers import OFFICER_ROLE, open_officer
from deploy.authority.people import Approver, sign_approval
from deploy.authority.policies import name_pack
from deploy.authority.signing import SignedVersion, sign_next_version
from deploy.authority.state import load_state
from deploy.review_link import ReviewLink
from schemas.errors import Conflict, NotFound
from schemas.objects.approval import ApprovalAction


def approve_activation(
    link: ReviewLink, approver: Approver, policy_digest: str, *, reason_code: str, role: str, now: datetime
) -> str:
    """Sign and hand in one person's approval to take a lodged pack into use; return its digest in the register.

    Raises:
        HubRefused: the hub would not take it (no role, approved already, not lodged).
    """
    approval = sign_approval(
        approver,
        now=now,
        action=ApprovalAction.ACTIVATE_POLICY,
        approver_role=role,
        policy_digest=write_digest(policy_digest),
        reason_code=reason_code,
    )
    return link.hand_in(approver, approval)


def find_pack(packs: Sequence[Mapping[str, Any]], wanted: str) -> dict[str, Any]:
    """Return the lodged pack whose digest is, or begins with, ``wanted``.

    Raises:
        NotFound: there is none, or more than one begins so.
    """
    found = [dict(pack) for pack in packs if pack["policy_digest"].startswith(wanted)]
    if len(found) != 1 or len(wanted) < 8:
        raise NotFound("names no lodged pack, or more than one: give at least 8 characters", field="policy_digest")
    return found[0]


def activate_pack(
    folder: Path,
    link: ReviewLink,
    passphrases: Mapping[str, str],
    *,
    pack_folder: Path,
    local: Path | None,
    reason_code: str,
    now: datetime,
) -> tuple[PolicyPack, SignedVersion]:
    """Have two officers take a pack into use: lodge it, add their approvals where two people have not approved it yet, sign and publish.

    Nothing is signed before the hub says that it has the pack and two people's approvals, so that no directory waits on a pack that is not here.

    Raises:
        ConfigInvalid: the pack is not valid, or these are not two officers of this authority.
        WrongPassphrase: a passphrase is wrong.
        HubRefused: the hub would not take it.
        Conflict: the pack is in force already.
    """
    body = bundle_pack(pack_folder, local)
    pack = load_bundle(body)
    officers = [_open(folder, name, passphrase) for name, passphrase in passphrases.items()]
    link.lodge_pack(officers[0], body)
    state = find_pack(link.list_packs(officers[0]), pack.digest)
    if state["in_force"]:
        raise Conflict("is in force already", field="policy_digest")
    approved = {approval["approver"] for approval in state["approvals"]}
    for officer in officers:
        if officer.id not in approved and not state["is_approved"]:
            approve_activation(link, officer, pack.digest, reason_code=reason_code, role=OFFICER_ROLE, now=now)
    if not find_pack(link.list_packs(officers[0]), pack.digest)["is_approved"]:
        raise Conflict("two different people must approve it first", field="policy_digest")
    signed = sign_next_version(folder, passphrases, now=now, changed=name_pack(load_state(folder), pack))
    link.publish(signed)
    return pack, signed


def _open(folder: Path, name: str, passphrase: str) -> Approver:
    officer = open_officer(folder / OFFICERS, name, passphrase)
    return Approver(officer.id, officer.agency, (OFFICER_ROLE,), officer.signer, officer.api_jwk)
