"""What the registers say of one referral: approvals, consents, embargo decisions, used tokens (DESIGN, Decisions; issue: the means of release).

Everything here was signed by a person or an agency and verified before it was registered; the hub can neither invent nor hide it.
A decision sees a frozen view, and ``version`` moves whenever anything in it does.
"""

from dataclasses import dataclass
from datetime import datetime

from schemas.header import BreakGlassClaim, ConsentFacts, DetrimentDecision, DisclosureToken


@dataclass(frozen=True, slots=True)
class Approval:
    """A named approver's release. ``compartment`` none: the whole delivery to ``recipient`` (a body outside section 16LA).

    ``recipient`` or ``role`` none: for whichever the review concerned. An approval without a person or a reason is no approval, nor is one
    by the person who asked for it.
    """

    by: str
    reason_given: bool
    recipient: str | None = None
    role: str | None = None
    compartment: str | None = None
    requested_by: str | None = None
    approved_at: datetime | None = None
    expires_at: datetime | None = None

    def counts(self, recipient: str, role: str, compartment: str | None, now: datetime) -> bool:
        """Return whether this approval releases ``compartment`` (or the delivery) to that recipient and role at ``now``."""
        return (
            bool(self.by.strip())
            and self.reason_given
            and self.by != self.requested_by
            and self.compartment == compartment
            and self.recipient in {None, recipient}
            and self.role in {None, role}
            and (self.approved_at is None or self.approved_at <= now)
            and (self.expires_at is None or now < self.expires_at)
        )


@dataclass(frozen=True, slots=True)
class Registers:
    """A view of the registers for one referral. An empty one adds nothing to what the header says."""

    version: int = 0
    approvals: tuple[Approval, ...] = ()
    consents: tuple[ConsentFacts, ...] = ()
    """Consents recorded after the header's, oldest first, of the same subjects."""
    break_glass: BreakGlassClaim | None = None
    detriment: DetrimentDecision | None = None
    tokens: tuple[DisclosureToken, ...] = ()
    used_tokens: frozenset[tuple[str, str]] = frozenset()
    """(scheme, ref) of tokens that another referral has used."""
    embargo_lifted_at: datetime | None = None
    embargo_reviewed_at: datetime | None = None
    embargo_named: tuple[str, ...] = ()
    """``agency#contact`` that the embargo's owner added."""


NO_REGISTERS = Registers()
