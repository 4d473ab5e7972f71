"""From a referral and its plan to sealed bytes: sections in the forms that recipients need, keyed only to whom the plan and the matrix permit.

A section is made once for each form that some delivery has or may come to have: what policy holds is sealed too, but keyed to nobody, and its key stays
here, encrypted. Where the sender wrote no summary, the pointer goes in its place (FORMATS CH-28): it says that there is something, and whom to ask.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from adapters.gateway.identity.directory_keeper import VerifiedDirectory
from adapters.gateway.outgoing.outbox_model import NewDelivery, NewSealing
from adapters.gateway.outgoing.plan_check import held_form, is_held, own_subjects, permitted_forms, refuse_wider_plan
from adapters.gateway.random_ids import new_opaque_id
from adapters.mapping.addressing import make_clear
from schemas.canonical import encode_base64url
from schemas.codes import COMPARTMENT_TITLES, Compartment, Form
from schemas.decision import Decision
from schemas.envelope import INCIDENT, EnvelopeDraft, ManifestFacts, SectionDraft, seal
from schemas.errors import Undeliverable
from schemas.header import DeliveryRequest, RoutingHeader
from schemas.keys import Jwk, SigningKeys
from schemas.referral import Part, Referral

_log = structlog.get_logger(__name__)

POINTER_NOTE = "The sender holds information under this heading. Ask the sender for it, giving your purpose."


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked and answered, kept between planning and sealing. ``subject_ids``: the record system's reference to the opaque id."""

    header: RoutingHeader
    decisions: tuple[Decision, ...]
    subject_ids: dict[str, str] = field(repr=False)
    directory_version: int

    def to_json(self) -> dict[str, Any]:
        """Return the form in which the outbox keeps it (encrypted)."""
        return {
            "header": self.header.model_dump(mode="json", exclude_none=True),
            "decisions": [decision.to_json() for decision in self.decisions],
            "subject_ids": self.subject_ids,
            "directory_version": self.directory_version,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Plan":
        """Rebuild what ``to_json`` wrote."""
        return cls(
            RoutingHeader.model_validate(value["header"]),
            tuple(Decision.model_validate(d) for d in value["decisions"]),
            dict(value["subject_ids"]),
            int(value["directory_version"]),
        )


@dataclass(frozen=True, slots=True)
class SealingFacts:
    """The message's own facts; instants by the real clock."""

    message_id: str
    referral_id: str
    conversation: str
    issued_at: datetime
    expires_at: datetime
    supersedes: str | None = None
    reseals: str | None = None


class SectionSet:
    """The sections of one message, each made when the first delivery needs it."""

    def __init__(self, referral: Referral, subject_ids: Mapping[str, str]) -> None:
        self._sender = referral.sender
        self._drafts: dict[tuple[int, Form], SectionDraft] = {}
        self._parts: dict[Compartment, list[tuple[int, Part, str]]] = {}
        for number, part in enumerate(referral.parts):
            subject = INCIDENT if part.subject_ref is None else subject_ids[part.subject_ref]
            self._parts.setdefault(part.compartment, []).append((number, part, subject))

    @property
    def drafts(self) -> list[SectionDraft]:
        """All sections made so far."""
        return list(self._drafts.values())

    def need(self, compartment: Compartment, form: Form, subjects: frozenset[str]) -> list[str]:
        """Return the ids of a compartment's sections in ``form`` about the incident and about ``subjects``, made now if they are new."""
        return [
            self._draft(number, part, subject, form).section_id
            for number, part, subject in self._parts.get(compartment, ())
            if subject == INCIDENT or subject in subjects
        ]

    def _draft(self, number: int, part: Part, subject: str, form: Form) -> SectionDraft:
        if form is Form.SUMMARY and part.summary is None:
            form = Form.POINTER
        found = self._drafts.get((number, form))
        if found is None:
            content, attachments = _write_content(part, form, self._sender)
            found = SectionDraft(
                section_id=new_opaque_id(),
                compartment=part.compartment,
                subject=subject,
                form=form,
                content=content,
                attachments=attachments,
            )
            self._drafts[number, form] = found
        return found


def seal_referral(
    referral: Referral,
    plan: Plan,
    facts: SealingFacts,
    directory: VerifiedDirectory,
    signer: SigningKeys,
    *,
    business_now: datetime,
) -> NewSealing:
    """Seal a referral for the recipients of its plan, after checking the plan against the signed matrix once more.

    Keys come from the verified directory only. A delivery whose recipient has no valid key is sealed without a keyring and marked so.

    Raises:
        PlanTooWide: the plan gives more than the signed matrix.
        TooLarge: the sealed message would be over the limit.
        MalformedMessage: the content cannot be written as canonical JSON.
    """
    refuse_wider_plan(plan.decisions, plan.header, directory.directory, now=business_now)
    requests = {request.delivery_id: request for request in plan.header.deliveries}
    sections = SectionSet(referral, plan.subject_ids)
    grants: dict[str, list[str]] = {}
    keys: dict[str, Jwk] = {}
    deliveries: list[NewDelivery] = []
    stated = {make_clear(entry.agency): entry.agency for entry in referral.circulation}
    for decision in plan.decisions:
        request = requests[decision.delivery_id]
        granted = _grant_sections(decision, request, plan.header, sections, directory, now=business_now)
        without_key = False
        if granted:
            try:
                keys[request.delivery_id] = directory.find_encryption_key(request.agency, facts.issued_at).jwk
            except Undeliverable as error:
                _log.error("recipient_without_key", delivery_id=request.delivery_id, reason=error.detail)
                granted, without_key = [], True
        grants[request.delivery_id] = granted
        deliveries.append(
            _describe_delivery(decision, request, stated.get(request.agency, request.agency), without_key=without_key)
        )
    draft = EnvelopeDraft(_write_facts(referral, facts), plan.header, sections.drafts, grants)
    sealed = seal(draft, signer, keys)
    return NewSealing(
        message_id=sealed.message_id,
        predecessor=facts.reseals,
        body=sealed.body,
        manifest_digest=sealed.manifest_digest,
        section_keys={
            section_id: {"k": encode_base64url(key), "ciphertext_sha256": sealed.ciphertext_digests[section_id]}
            for section_id, key in sealed.section_keys.items()
        },
        deliveries=deliveries,
    )


def _grant_sections(
    decision: Decision,
    request: DeliveryRequest,
    header: RoutingHeader,
    sections: SectionSet,
    directory: VerifiedDirectory,
    *,
    now: datetime,
) -> list[str]:
    """Return the section ids whose keys this delivery gets now; sections that are held for it are made too, and granted to nobody."""
    subjects = own_subjects(request, header, decision)
    granted: list[str] = []
    for compartment in header.policy.compartments:
        verdict = decision.compartments.get(compartment)
        if verdict is None:
            continue
        form = verdict.form
        if form is not None and form in permitted_forms(request, header, compartment, directory.directory, now):
            granted += sections.need(compartment, form, subjects)
        elif is_held(verdict.result):
            later = held_form(header, request.role, compartment, directory.directory)
            if later is not None:
                sections.need(compartment, later, subjects)
    return granted


def _describe_delivery(decision: Decision, request: DeliveryRequest, stated: str, *, without_key: bool) -> NewDelivery:
    planned = decision.to_json()
    if stated != request.agency:
        planned["stated_recipient"] = (
            stated  # the sender's own words, for the sender alone: the header has their digest
        )
    if without_key:
        planned["undeliverable"] = "no-encryption-key"
    return NewDelivery(request.delivery_id, request.agency, request.role, request.purpose, planned)


def _write_facts(referral: Referral, facts: SealingFacts) -> ManifestFacts:
    return ManifestFacts(
        message_id=facts.message_id,
        referral_id=facts.referral_id,
        revision=1,
        sender=referral.sender,
        issued_at=facts.issued_at,
        expires_at=facts.expires_at,
        conversation=facts.conversation,
        supersedes=facts.supersedes,
        reseals=facts.reseals,
    )


def _write_content(part: Part, form: Form, sender: str) -> tuple[dict[str, Any], Sequence[Mapping[str, Any]]]:
    title = COMPARTMENT_TITLES[part.compartment]
    if form is Form.POINTER:
        return {"heading": title, "held_by": sender, "note": POINTER_NOTE}, ()
    if form is Form.SUMMARY:
        return {"heading": title, "summary": part.summary}, ()
    content = part.model_dump(mode="json", exclude_none=True, exclude={"compartment", "subject_ref", "attachments"})
    attachments = [attachment.model_dump(mode="json", exclude_none=True) for attachment in part.attachments]
    return {"heading": title, **content}, attachments
