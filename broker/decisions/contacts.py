"""Who at an agency may have a delivery: conflicts of interest, do-not-tell parties and embargoes (FORMATS CH-15, CH-16)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from schemas.directory import Agency


@dataclass(frozen=True, slots=True)
class ContactChoice:
    """``conflict``: nobody there may see it. ``named``: a contact there is named by the embargo. ``deliver_to``: ``agency#contact``."""

    conflict: bool
    named: bool
    deliver_to: str | None


def choose_contact(
    agency: Agency | None,
    *,
    recipient: str,
    role: str,
    requested: str | None,
    conflicts: Iterable[tuple[str, str | None]],
    must_not_know: Collection[str],
    embargo_named: Collection[str] | None,
) -> ContactChoice:
    """Choose among the contacts who hold ``role``, in the directory's order, ``requested`` first.

    ``conflicts`` are (agency, contact or none for the whole agency); ``embargo_named`` is none where no embargo is active.
    """
    holders = [c.id for c in agency.contacts if role in c.roles] if agency else []
    if requested is not None and requested in holders:
        holders = [requested, *(c for c in holders if c != requested)]
    mine = [contact for agency_id, contact in conflicts if agency_id == recipient]
    barred = {contact for contact in mine if contact is not None}
    touched = bool(barred.intersection(holders)) or (bool(barred) and not holders)
    left = [c for c in holders if c not in barred]
    conflict = None in mine or recipient in must_not_know or (touched and not left)
    deliver_to = requested if requested in left else None
    if touched and left:
        deliver_to = left[0]
    named = False
    if embargo_named is not None:
        known = [c for c in left if f"{recipient}#{c}" in embargo_named]
        named = bool(known)
        deliver_to = known[0] if known else None
    return ContactChoice(conflict, named, f"{recipient}#{deliver_to}" if deliver_to else None)
