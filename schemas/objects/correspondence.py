"""What agencies ask of each other about messages: recalls, and requests for information (DOMAIN section 5, D11)."""

from enum import StrEnum
from typing import Self

from pydantic import model_validator

from schemas.clear_forms import (
    AgencyId,
    Instant,
    KindCode,
    OpaqueId,
    PersonId,
    PurposeCode,
    ReasonCode,
    RoleCode,
    StatutoryTask,
)
from schemas.codes import Compartment
from schemas.errors import RuleBroken
from schemas.header import SubjectToken
from schemas.objects.model import SignedModel
from schemas.wire_types import Digest, Uuid7


class Recall(SignedModel):
    """A sender asks every recipient of a message to delete it and to confirm that by a ``control`` object."""

    recall_id: OpaqueId
    sender: AgencyId
    message_id: Uuid7
    referral_id: OpaqueId
    manifest_digest: Digest
    deliveries: tuple[OpaqueId, ...] = ()
    """The deliveries concerned; none listed: all."""
    reason_code: ReasonCode
    replaced_by: Uuid7 | None = None
    issued_at: Instant
    delete_by: Instant


class RequestStep(StrEnum):
    """A request's life."""

    ASKED = "asked"
    ANSWERED = "answered"
    REFUSED = "refused"


class Request(SignedModel):
    """One agency asks another for named compartments about a subject token, and states its statutory task; or the answer to that."""

    request_id: OpaqueId
    step: RequestStep = RequestStep.ASKED
    requester: AgencyId
    requester_role: RoleCode
    recipient: AgencyId
    person: PersonId
    """Who asks, or who answers."""
    statutory_task: StatutoryTask
    purpose: PurposeCode
    kind: KindCode | None = None
    compartments: tuple[Compartment, ...]
    subject_tokens: tuple[SubjectToken, ...]
    conversation: OpaqueId
    issued_at: Instant
    answer_due_at: Instant
    answer_message_id: Uuid7 | None = None
    reason_code: ReasonCode | None = None
    previous: Digest | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not self.compartments or not self.subject_tokens:
            raise RuleBroken("must name compartments and a subject token")
        if self.step is RequestStep.REFUSED and self.reason_code is None:
            raise RuleBroken("a refusal needs a reason code")
        if self.step is RequestStep.ANSWERED and self.answer_message_id is None:
            raise RuleBroken("an answer names the message that holds it")
        if (self.previous is None) != (self.step is RequestStep.ASKED):
            raise RuleBroken("an answer names its request")
        return self
