"""The review queue: what policy holds, who has it, until when. A decision is signed with the approver's own key on their own machine, and handed in here.

The console never has that key: it prepares what is to be signed, and takes in what ``safelane review sign`` made of it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from fastapi import Response

from broker.console.access import Capability
from broker.console.names import read_names
from broker.console.page import Page, PageContext
from broker.console.routing import Pages
from broker.console.signed_decisions import choose_role, require_person, take_signed
from broker.intake.approving import read_members
from broker.intake.people import find_roles
from broker.registry.packs import PackShelf
from broker.store import reviewing
from schemas.canonical import canonical_bytes
from schemas.codes import Compartment
from schemas.errors import Conflict, NotFound

STATES: Final = ("open", "released", "refused", "done", "all")
REASONS: Final[Mapping[str, Mapping[str, str]]] = {
    "release": {
        "need_to_know": "They need to know it",
        "panel_decided": "A panel decided",
        "court_order": "A court ordered it",
        "reason_given": "Another reason, which my agency has recorded",
    },
    "refuse": {
        "not_necessary": "It is not necessary",
        "not_agreed": "It was not agreed",
        "source_at_risk": "It would put the source at risk",
        "reason_given": "Another reason, which my agency has recorded",
    },
    "review_break_glass": {
        "justified": "Breaking the glass was justified",
        "not_justified": "Breaking the glass was not justified",
    },
}
"""What may be decided, and the reasons that may be given for it, by code (``schemas.clear_codes.Reason``)."""

pages = Pages("reviews", navigation=("Reviews", "/reviews", Capability.READ_REVIEWS, 30))


@pages.read("/reviews", capability=Capability.READ_REVIEWS, action="reviews")
async def show_queue(page: Page) -> Response:
    """Show what waits, the most urgent first."""
    asked = page.request.query_params.get("state", "open")
    state = asked if asked in STATES else "open"
    async with page.connection() as connection:
        rows = await reviewing.list_queue(connection, owner=page.user.agency, state=None if state == "all" else state)
    return await page.render(
        "queue.html",
        rows=[dict(row) | {"why": tell_why(dict(row), page.context.shelf)} for row in rows],
        agencies=await page.context.agency_names(),
        people=await read_names(page),
        state=state,
        states=STATES,
        now_at=page.context.business_clock(),
    )


@pages.read("/reviews/{message_id}/{delivery_id}", capability=Capability.READ_REVIEWS, action="review_read")
async def show_review(page: Page, message_id: UUID, delivery_id: str) -> Response:
    """Show one hold: what is held and by which rule, who approved what so far, and what the viewer can do."""
    return await _show(page, message_id, delivery_id)


@pages.act("/reviews/{message_id}/{delivery_id}/claim", capability=Capability.DECIDE_REVIEWS)
async def claim(page: Page, message_id: UUID, delivery_id: str) -> Response:
    """Take a hold on oneself.

    Raises:
        NotPermitted: the account is no person of the directory.
        Conflict: it is decided, or somebody else has it.
    """
    person = require_person(page)
    now = page.context.business_clock()
    async with page.transaction() as connection:
        if not await reviewing.claim_hold(
            connection, message_id, delivery_id, owner=page.user.agency, by=person, at=now
        ):
            raise Conflict("it is decided, or somebody else has claimed it", field="delivery_id")
        await page.context.journal.append(
            connection,
            "review",
            message_id=str(message_id),
            delivery_id=delivery_id,
            action="claimed",
            by=person,
        )
    return await page.redirect(
        f"/reviews/{message_id}/{delivery_id}", notice="It is yours. Nobody else decides it now."
    )


@pages.act("/reviews/{message_id}/{delivery_id}/prepare", capability=Capability.DECIDE_REVIEWS)
async def prepare(page: Page, message_id: UUID, delivery_id: str) -> Response:
    """Prepare what the approver is to sign, and show how."""
    person = require_person(page)
    form = page.form
    row, approvals = await _read(page, message_id, delivery_id)
    action = next(iter(form.choices("action", REASONS, required="Choose what you decide")), "")
    reason = next(
        iter(form.choices("reason_code", REASONS.get(action, {}), required="Choose a reason that fits your decision")),
        "",
    )
    chosen = form.choices("compartments", list(Compartment))
    if form.errors:
        return await _show(page, message_id, delivery_id)
    members: dict[str, Any] = {
        "action": action,
        "message_id": str(message_id),
        "manifest_digest": row["manifest_digest"],
        "delivery_id": delivery_id,
        "reason_code": reason,
    }
    if action == "release":
        members["compartments"] = choose_compartments(row, chosen)
        if has_approved(approvals, person, members["compartments"], page.now):
            form.fail("action", "You have approved this already: a colleague must, too")
            return await _show(page, message_id, delivery_id)
        others = (a for a in approvals if a["action"] == "release" and a["approver"] != person)
        first = next((a["approval_id"] for a in others if a["expires_at"] > page.now), None)
        members |= {"joins": first} if first else {}
    directory = (await page.context.registry.current()).directory
    role = choose_role(page, directory, find_roles(directory, action, members.get("compartments", ())))
    members |= {"approver_role": role} if role else {}
    return await page.render(
        "sign.html", row=row, members=members, document=canonical_bytes(members).decode(), reasons=REASONS
    )


@pages.act("/reviews/{message_id}/{delivery_id}/hand-in", capability=Capability.DECIDE_REVIEWS)
async def hand_in(page: Page, message_id: UUID, delivery_id: str) -> Response:
    """Take in a signed approval: it is verified, registered, logged, and the delivery decided again."""
    await _read(page, message_id, delivery_id)
    about = {"message_id": str(message_id), "delivery_id": delivery_id}
    if not await take_signed(page, REASONS, about):
        return await _show(page, message_id, delivery_id)
    return await page.redirect(
        f"/reviews/{message_id}/{delivery_id}", notice="Your signed decision is registered and logged."
    )


def choose_compartments(row: Mapping[str, Any], chosen: list[str]) -> list[str]:
    """Return what a release names: nothing where the delivery as a whole waits, otherwise what was chosen of the held headings, or all of them."""
    held = _list_unsent(row, {"held"})
    whole = bool(held) and {verdict["row"] for verdict in held.values()} == {row["row"]}
    return [] if whole else chosen or sorted(held)


def list_actions(row: Mapping[str, Any]) -> list[str]:
    """Return what may be decided of a line. Nothing is released where nothing is held, but what could not be handed over."""
    if row["review"] != "hold":
        return ["review_break_glass"]
    releasable = row["delivery_state"] == "undeliverable" or _list_unsent(row, {"held"})
    return ["release", "refuse"] if releasable else ["refuse"]


def tell_why(row: Mapping[str, Any], shelf: PackShelf) -> str:
    """Return why a line waits: where a delivery went and a part of it stayed, it is the part's rule, not the one by which the rest went."""
    decision = read_members(row["decision"]) if row["decision"] else {}
    pack = shelf.find_loaded(decision.get("policy_digest", ""))
    held = _list_unsent(row, {"held"}).values()
    looked_at = [
        verdict
        for verdict in _list_unsent(row, {"withheld"}).values()
        if pack is not None and pack.wants_a_person(verdict["policy"])
    ]
    parts = list(held) or looked_at
    if row["review"] != "hold" or decision.get("outcome") != "delivered" or not parts:
        parts = [row]
    whys = dict.fromkeys(f"{part['reason']} Rule {part['row']}." if part["row"] else part["reason"] for part in parts)
    cannot = " It cannot be released to them: refuse it when you have seen to it." if parts is looked_at else ""
    return " ".join(whys) + cannot


def has_approved(
    approvals: Sequence[Mapping[str, Any]], person: str, compartments: Sequence[str], now: datetime
) -> bool:
    """Tell whether a person's own release, in force, covers these compartments; none named means the whole delivery."""
    return any(
        not a["compartments"] or (compartments and set(compartments) <= set(a["compartments"]))
        for a in approvals
        if a["action"] == "release" and a["approver"] == person and a["expires_at"] > now
    )


def _list_unsent(row: Mapping[str, Any], results: set[str]) -> dict[str, Any]:
    """Return the verdict of each compartment that the last decision did not send, for one of these results."""
    decision = read_members(row["decision"]) if row["decision"] else {}
    return {code: verdict for code, verdict in decision.get("compartments", {}).items() if verdict["result"] in results}


async def _show(page: PageContext, message_id: UUID, delivery_id: str) -> Response:
    row, approvals = await _read(page, message_id, delivery_id)
    held = _list_unsent(row, {"held", "withheld"})
    may_decide = page.user.may(Capability.DECIDE_REVIEWS) and row["state"] == "open"
    return await page.render(
        "one.html",
        row=row,
        why=tell_why(row, page.context.shelf),
        held=held,
        agencies=await page.context.agency_names(),
        approvals=approvals,
        people=await read_names(page),
        actions=list_actions(row),
        reasons=REASONS,
        may_decide=may_decide,
        now_at=page.context.business_clock(),
    )


async def _read(
    page: PageContext, message_id: UUID, delivery_id: str
) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """Return a hold or review and the approvals that it has; what is another agency's is not here for this viewer."""
    async with page.connection() as connection:
        row = await reviewing.find_review(connection, message_id, delivery_id, owner=page.user.agency)
        if row is None:
            raise NotFound("there is no such review", field="delivery_id")
        approvals = await reviewing.list_decisions(connection, message_id, delivery_id)
    return dict(row), [dict(approval) for approval in approvals]
