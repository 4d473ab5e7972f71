"""Approvals: what a named person in the registry decided, signed with their own key. A gateway releases a held section on nothing less."""

from enum import StrEnum
from typing import Self

from pydantic import model_validator

from schemas.clear_forms import AgencyId, DisclosureSchemeCode, Instant, OpaqueId, PersonId, ReasonCode, RoleCode
from schemas.codes import Compartment
from schemas.errors import RuleBroken
from schemas.objects.model import SignedModel
from schemas.wire_types import Digest, Uuid7


class ApprovalAction(StrEnum):
    """What is decided."""

    RELEASE = "release"
    REFUSE = "refuse"
    DISCLOSURE_TOKEN = "disclosure_token"  # noqa: S105  the name of an action, not a secret
    LIFT_EMBARGO = "lift_embargo"
    REVIEW_EMBARGO = "review_embargo"
    REVIEW_BREAK_GLASS = "review_break_glass"
    ACTIVATE_POLICY = "activate_policy"
    CHRONOLOGY = "chronology"
    ERASE = "erase"
    LIFT_HOLD = "lift_hold"


PAIRED_ACTIONS = frozenset({ApprovalAction.CHRONOLOGY, ApprovalAction.ERASE, ApprovalAction.LIFT_HOLD})
"""Acts on something that is no message, each for two people together: who knew what of one child, erasing a referral, lifting a legal hold."""


class Approval(SignedModel):
    """A decision on a hold, a token or a review. Scoped, expiring, and used once where ``single_use``."""

    approval_id: OpaqueId
    action: ApprovalAction
    approver: PersonId
    """Person id in the directory."""
    approver_agency: AgencyId
    approver_role: RoleCode
    requester: PersonId | None = None
    """Person who asked; never the approver."""
    message_id: Uuid7 | None = None
    manifest_digest: Digest | None = None
    delivery_id: OpaqueId | None = None
    recipient: AgencyId | None = None
    compartments: tuple[Compartment, ...] = ()
    sections: tuple[OpaqueId, ...] = ()
    scheme: DisclosureSchemeCode | None = None
    """MAPPA, CSODS or DVDS for a disclosure token."""
    policy_digest: Digest | None = None
    subject_digest: Digest | None = None
    """SHA-256 of what a paired act is about: a subject's token, a referral's id, a hold's id."""
    reason_code: ReasonCode
    reason_digest: Digest | None = None
    """Salted digest of the words, which stay with the approver's agency."""
    issued_at: Instant
    expires_at: Instant
    single_use: bool = True
    joins: OpaqueId | None = None
    """The first approval that this one joins, where two are needed."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.expires_at <= self.issued_at:
            raise RuleBroken("must expire after it is issued")
        if self.requester == self.approver:
            raise RuleBroken("nobody approves their own request")
        on_message = self.action in {ApprovalAction.RELEASE, ApprovalAction.REFUSE}
        if on_message and (self.manifest_digest is None or self.delivery_id is None):
            raise RuleBroken("must name the manifest and the delivery")
        if self.action is ApprovalAction.DISCLOSURE_TOKEN and (self.scheme is None or self.recipient is None):
            raise RuleBroken("must name the scheme and the recipient")
        if self.action is ApprovalAction.ACTIVATE_POLICY and self.policy_digest is None:
            raise RuleBroken("must name the policy pack's digest")
        if (self.action in PAIRED_ACTIONS) != (self.subject_digest is not None):
            raise RuleBroken("must name what it is about by its digest, and only a paired act does")
        return self
