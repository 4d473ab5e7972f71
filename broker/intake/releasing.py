"""From a decision to what goes: which sealed sections one delivery gets, and the event that commits to it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_bytes
from typing import Final, TypedDict

from schemas.codes import Compartment, DeliveryOutcome, Form
from schemas.decision import Decision
from schemas.envelope import INCIDENT, SectionDescriptor, VerifiedEnvelope
from schemas.header import DeliveryRequest
from schemas.log_entry import SALT_BYTES
from schemas.objects.events import commit_inputs, commit_rest, write_decided

_WIDTH: Final = {Form.POINTER: 0, Form.SUMMARY: 1, Form.FULL: 2}
_NOTHING: Final = (-1, "")


@dataclass(frozen=True, slots=True)
class Release:
    """What one delivery gets, and the event that says so."""

    released: tuple[str, ...]
    event: bytes
    """A ``DecidedEvent``, written."""
    keyring_kid: str | None
    rest_salt: bytes


def choose_sections(
    descriptors: Mapping[str, SectionDescriptor], delivery: DeliveryRequest, decision: Decision
) -> tuple[str, ...]:
    """Return the ids of the sections that go, sorted.

    Of each compartment and subject goes one section: the widest that the sender granted to this delivery and that is not wider than the
    decision permits. So a pointer goes where a summary is permitted and the sender wrote none (FORMATS CH-28).
    """
    if decision.outcome is not DeliveryOutcome.DELIVERED:
        return ()
    best: dict[tuple[Compartment, str], tuple[int, str]] = {}
    forms, subjects = decision.permitted_forms(), (INCIDENT, *decision.subjects)
    for section_id in delivery.granted_sections:
        descriptor = descriptors[section_id]
        form = forms.get(descriptor.compartment)
        width = _WIDTH[descriptor.form]
        if form is None or width > _WIDTH[form] or descriptor.subject not in subjects:
            continue
        place = (descriptor.compartment, descriptor.subject)
        best[place] = max(best.get(place, _NOTHING), (width, section_id))
    return tuple(sorted([section_id for _, section_id in best.values()]))


def build_release(
    verified: VerifiedEnvelope, delivery: DeliveryRequest, decision: Decision, released: tuple[str, ...], at: datetime
) -> Release:
    """Return the release of ``released`` with its event. What does not go is behind a salted commitment: the recipient learns nothing of it."""
    manifest = verified.manifest
    keyring = verified.keyring_descriptors.get(delivery.delivery_id) if released else None
    kid = keyring.kid if keyring else None
    salt = token_bytes(SALT_BYTES)
    event = write_decided(
        {
            "at": at.astimezone(UTC),
            "message_id": manifest.message_id,
            "referral_id": manifest.referral_id,
            "revision": manifest.revision,
            "manifest_digest": verified.manifest_digest,
            "sender": manifest.sender,
            "delivery_id": delivery.delivery_id,
            "recipient": delivery.agency,
            "role": delivery.role,
            "purpose": delivery.purpose,
            "contact": decided_contact(delivery, decision),
            "keyring_kid": kid,
            "outcome": decision.outcome,
            **tell_grounds(decision, salt),
            "released": released,
            "rest": commit_rest(list_rest(verified.descriptors, decision, released), salt),
        }
    )
    return Release(released, event, kid, salt)


class Grounds(TypedDict):
    """The members of a decided event that say why."""

    row: str
    reason: str
    authority: str
    agreement: str | None
    policy_digest: str
    inputs_digest: str


def tell_grounds(decision: Decision, salt: bytes) -> Grounds:
    """Return the event's members that say why: no more than the recipient may know, the rest of it behind ``salt``."""
    told = decision.told
    return {
        "row": "" if told else decision.row,
        "reason": told or decision.reason,
        "authority": "" if told else decision.authority,
        "agreement": decision.agreement,
        "policy_digest": decision.policy_digest,
        "inputs_digest": commit_inputs(decision.inputs_digest, salt),
    }


def list_rest(
    descriptors: Mapping[str, SectionDescriptor], decision: Decision, released: tuple[str, ...]
) -> dict[str, str]:
    """Return the outcomes that a recipient may not see: the deciding row, each compartment's result and row, and each section that stays."""
    rest = {**decision.verdicts.results, "decision": f"{decision.outcome.value} {decision.row} {decision.policy}"}
    for section_id in sorted(descriptors.keys() - set(released)):
        rest[f"section:{section_id}"] = "stays"
    return rest


def decided_contact(delivery: DeliveryRequest, decision: Decision) -> str | None:
    """Return the contact who gets it: the one that the decision names (FORMATS CH-15), else the one asked for."""
    if decision.deliver_to is not None:
        agency, _, contact = decision.deliver_to.partition("#")
        if agency == delivery.agency and contact:
            return contact
    return delivery.contact
