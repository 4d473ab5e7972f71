"""Policy packs: what is in force in the words that people are told, what a lodged pack would change, a rehearsal of it, and the approvals that it needs.

Two people approve with their own keys, and the officers' next directory takes the pack into use: nobody activates a policy by a click.
"""

import difflib
import json
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Response

from broker.console.access import Capability
from broker.console.names import read_names
from broker.console.page import Page, PageContext
from broker.console.routing import Pages
from broker.console.services import Rehearsal
from broker.console.signed_decisions import choose_role, take_signed
from broker.decisions.bundle import load_stored, write_digest
from broker.decisions.pack import PolicyPack
from broker.intake.activating import PackState, list_policy_roles, read_packs
from broker.store.policies import read_pack
from schemas.canonical import canonical_bytes
from schemas.errors import NotFound, NotPermitted
from schemas.objects.approval import ApprovalAction

REHEARSED: Final = 200
REHEARSAL_SECONDS: Final = 60.0

pages = Pages("policies", navigation=("Policies", "/policies", Capability.READ_POLICIES, 60))


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One rule that two packs have differently: added, removed or changed, with what it says now and would say."""

    id: str
    change: str
    before: str
    after: str


@pages.read("/policies", capability=Capability.READ_POLICIES, action="policies")
async def show_packs(page: Page) -> Response:
    """List the packs that are lodged, the one in force first."""
    return await page.render("list.html", packs=await _list(page))


@pages.read("/policies/{policy_digest}", capability=Capability.READ_POLICIES, action="policy_read")
async def show_pack(page: Page, policy_digest: str) -> Response:
    """Show a pack's rules and text, what it changes against the one in force, and who approved it."""
    return await _show(page, policy_digest)


@pages.act("/policies/{policy_digest}/rehearse", capability=Capability.SIMULATE_POLICIES)
async def rehearse(page: Page, policy_digest: str) -> Response:
    """Decide the last decisions again by this pack, and show what would change, for whom."""
    rehearse_with = page.context.services.rehearse
    if page.user.agency is not None:
        raise NotPermitted(
            "a rehearsal shows what was decided for every agency, so only the partnership's people make one"
        )
    if rehearse_with is None:
        raise NotFound("rehearsals are made on the hub's machine: safelane policy simulate", field="policy_digest")
    _, body = await _read(page, policy_digest)
    async with page.transaction() as connection:
        await page.context.journal.append(
            connection, "audit_read", by=str(page.user.user_id), action="policy_rehearsed", subject=policy_digest
        )
    page.extend_time(REHEARSAL_SECONDS)
    return await _show(page, policy_digest, rehearsal=await rehearse_with(body, REHEARSED))


@pages.act("/policies/{policy_digest}/hand-in", capability=Capability.CHANGE_POLICIES)
async def approve(page: Page, policy_digest: str) -> Response:
    """Take in a signed approval of this pack."""
    await _read(page, policy_digest)
    if not await take_signed(page, {ApprovalAction.ACTIVATE_POLICY}, {"policy_digest": write_digest(policy_digest)}):
        return await _show(page, policy_digest)
    return await page.redirect(f"/policies/{policy_digest}", notice="Your signed approval is registered and logged.")


async def _show(page: PageContext, policy_digest: str, *, rehearsal: Rehearsal | None = None) -> Response:
    pack, body = await _read(page, policy_digest)
    packs = await _list(page)
    state = next(found for found in packs if found.policy_digest == policy_digest)
    snapshot = await page.context.registry.current()
    current = page.context.shelf.find_pack(snapshot)
    members = {"action": "activate_policy", "policy_digest": write_digest(policy_digest), "reason_code": "reason_given"}
    role = choose_role(page, snapshot.directory, list_policy_roles(snapshot.directory))
    members |= {"approver_role": role} if role else {}
    return await page.render(
        "one.html",
        pack=pack,
        state=state,
        people=await read_names(page),
        rules=sorted(pack.policies.values(), key=lambda policy: (policy.row, policy.id)),
        changes=compare_packs(current, pack),
        difference=_write_difference(current, pack),
        files=_list_files(body),
        document=canonical_bytes(members).decode(),
        rehearsal=rehearsal,
        may_rehearse=page.user.may(Capability.SIMULATE_POLICIES) and page.user.agency is None,
        can_rehearse=page.context.services.rehearse is not None,
        may_approve=page.user.may(Capability.CHANGE_POLICIES) and not state.in_force,
        most=REHEARSED,
    )


def compare_packs(before: PolicyPack, after: PolicyPack) -> list[RuleChange]:
    """Return the rules that differ between two packs by what they tell people, in the order of their ids."""
    changes = []
    for name in sorted(set(before.policies) | set(after.policies)):
        old, new = before.policies.get(name), after.policies.get(name)
        if old == new:
            continue
        change = "Added" if old is None else "Removed" if new is None else "Changed"
        changes.append(RuleChange(name, change, old.reason if old else "", new.reason if new else ""))
    return changes


def _write_difference(before: PolicyPack, after: PolicyPack) -> str:
    lines = difflib.unified_diff(
        before.policy_text.splitlines(), after.policy_text.splitlines(), "in force", "this pack", lineterm="", n=2
    )
    return "\n".join(lines)


def _list_files(body: bytes) -> list[tuple[str, str]]:
    bundle: dict[str, Any] = json.loads(body)
    return [
        (f"{part}/{name}", text)
        for part in ("national", "local")
        for name, text in sorted((bundle[part] or {}).items())
    ]


async def _read(page: PageContext, policy_digest: str) -> tuple[PolicyPack, bytes]:
    async with page.connection() as connection:
        body = await read_pack(connection, policy_digest)
    if body is None:
        raise NotFound("there is no such policy pack", field="policy_digest")
    return load_stored(body, policy_digest), body


async def _list(page: PageContext) -> list[PackState]:
    context = page.context
    async with page.connection() as connection:
        return await read_packs(connection, await context.registry.current(), context.shelf, context.clock())
