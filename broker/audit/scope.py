"""Who reads, and how much of it they may: by role, and for whom. A person without a ``partnership_`` role sees what their own agency sent or received.

An agency that only received learns nothing of the rest (DESIGN, promise 3): not which rule let a part through, nor that a part stayed behind. What it
may see is named in ``RECIPIENT_SEES``; everything else of a referral is its sender's and the partnership's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from schemas.directory import Person
from schemas.errors import NotPermitted

PARTNERSHIP: Final = "partnership_"
"""Roles that begin so are for every agency; the same role without it is for the person's own."""


class Permission(StrEnum):
    """What a reader may do."""

    SEARCH = "search"
    """Search events and look at referrals."""
    EXPORT = "export"
    """Take what a search finds away as a file."""
    ACCESS_LOG = "access_log"
    """See who looked at what."""
    REGISTERS = "registers"
    """See consents, agreements, agencies, quarantine, policies and checkpoints."""
    OVERVIEW = "overview"
    """See counts: today's flow, clocks, holds, the log's state."""
    REPORTS = "reports"
    """See inspection reports and draw audit samples."""


_ALL: Final = frozenset(Permission)
ROLES: Final[Mapping[str, frozenset[Permission]]] = {
    "auditor": _ALL,
    "ig_officer": _ALL,
    "operator": frozenset({Permission.OVERVIEW, Permission.REGISTERS}),
    "inspector": frozenset({Permission.OVERVIEW, Permission.REPORTS}),
}
"""Roles that read the audit. Deciding is for other roles and other code."""

RECIPIENT_SEES: Final[Mapping[str, frozenset[str] | None]] = {
    "decided": frozenset({"delivered"}),
    "redecided": frozenset({"delivered"}),
    "receipt": None,
    "collected": None,
    "told": None,
    "escalated": None,
    "negative_receipt": None,
    "object": None,
}
"""Kinds of events about what an agency received that it may see, and in which states (none: in all). ``object`` is what it signed itself."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads. ``agency`` bounds what they see to one agency's part; none is the whole partnership."""

    person: str
    agency: str | None
    permissions: frozenset[Permission]

    def require(self, permission: Permission) -> None:
        """Refuse what the reader's roles do not give.

        Raises:
            NotPermitted: they do not.
        """
        if permission not in self.permissions:
            raise NotPermitted("your roles do not include this part of the audit")


def read_reader(person: Person) -> Reader:
    """Return a person of the directory as a reader: for the whole partnership if one of their audit roles is, else for their own agency.

    A role for the partnership gives its permissions everywhere; a person who also has a role for their own agency keeps to the wider one's.

    Raises:
        NotPermitted: none of their roles reads the audit.
    """
    wide = [ROLES[role.removeprefix(PARTNERSHIP)] for role in person.roles if _is_wide(role)]
    own = [ROLES[role] for role in person.roles if role in ROLES]
    chosen = wide or own
    if not chosen:
        raise NotPermitted(
            "only an auditor, an information-governance officer, an operator or an inspector may read the audit"
        )
    return Reader(person.id, None if wide else person.agency, frozenset().union(*chosen))


def _is_wide(role: str) -> bool:
    return role.startswith(PARTNERSHIP) and role.removeprefix(PARTNERSHIP) in ROLES
