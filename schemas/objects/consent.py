"""Consent records: given, refused, withdrawn, expired or superseded; recorded by a gateway, signed and chained, so that the hub can neither invent nor hide one."""

from enum import StrEnum
from typing import Self

from pydantic import model_validator

from schemas.clear_forms import (
    AgencyId,
    EvidenceCode,
    Instant,
    MethodCode,
    OpaqueId,
    PersonId,
    ReasonCode,
    WordingVersion,
)
from schemas.codes import ConsentGiver, ConsentState
from schemas.errors import RuleBroken
from schemas.header import ConsentScope, SubjectToken
from schemas.objects.model import SignedModel
from schemas.wire_types import Digest, Uuid7


class Capacity(StrEnum):
    """Why the giver may decide (DOMAIN section 5, consent record)."""

    ADULT = "adult"
    PRESUMED_16_17 = "presumed_16_17"
    GILLICK = "gillick"
    PARENTAL_RESPONSIBILITY = "parental_responsibility"


class Consent(SignedModel):
    """One entry of a consent's chain. ``previous`` is ``digest_object`` of the entry before; withdrawal is prospective."""

    consent_id: OpaqueId
    recorded_by: AgencyId
    recorder: PersonId
    recorded_at: Instant
    subject_tokens: tuple[SubjectToken, ...]
    referral_id: OpaqueId | None = None
    message_id: Uuid7 | None = None
    state: ConsentState
    giver: ConsentGiver | None = None
    capacity: Capacity | None = None
    assessor: PersonId | None = None
    """Person who assessed Gillick competence."""
    parental_responsibility_evidence: EvidenceCode | None = None
    scope: ConsentScope = ConsentScope()
    wording_version: WordingVersion | None = None
    method: MethodCode | None = None
    interpreter: bool | None = None
    given_at: Instant | None = None
    expires_at: Instant | None = None
    withdrawn_at: Instant | None = None
    reason_code: ReasonCode | None = None
    supersedes: OpaqueId | None = None
    previous: Digest | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        answered = self.state in {ConsentState.GIVEN, ConsentState.REFUSED, ConsentState.WITHDRAWN}
        if answered and self.giver is None:
            raise RuleBroken("an answer needs its giver")
        if self.state is ConsentState.WITHDRAWN and self.withdrawn_at is None:
            raise RuleBroken("a withdrawal needs its instant")
        if self.capacity is Capacity.GILLICK and self.assessor is None:
            raise RuleBroken("Gillick competence needs its assessor")
        return self
