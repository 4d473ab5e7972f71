"""Opening a delivery: everything is verified here, with this agency's own directory and keys. The hub's word counts for nothing.

1. strict parse, nothing believed;
2. the sender's keys from our own verified directory: an unknown or revoked sender has none;
3. signatures over the manifest's raw bytes; digests of every opening, section and keyring; the decision's event and its proof in the log; exactly
   the released sections, no fewer, no more, none swapped; the keyring bound to this message, delivery and key (``schemas.envelope.verify_delivery``);
4. the decision says "delivered", for a role that the directory gives us;
5. keyring and sections open with our private key and say what their descriptors say;
6. the result, made of these parts alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adapters.gateway.identity.directory_keeper import VerifiedDirectory
from adapters.gateway.incoming.deadlines import reckon_deadlines
from adapters.gateway.incoming.received import DeskContact, ReceivedReferral, ReceivedSection
from schemas.codes import DeliveryOutcome
from schemas.directory import Agency, Directory
from schemas.envelope import DeliveryTampered, OpenedSection
from schemas.envelope.delivery import VerifiedDelivery, open_delivery, parse_delivery, verify_delivery
from schemas.errors import MalformedMessage, Rejected, SafelaneError
from schemas.log_epochs import find_verifier


class SenderUnknown(Rejected):
    """The directory has no active agency with keys of that id: never enrolled, or revoked."""

    code = "sender-unknown"
    status = 401
    public_message = (
        "The sender is not an active agency of the partnership. Telephone the partnership's security contact."
    )


class NotForUs(Rejected):
    """It is well signed and decided, but not for a role of this agency."""

    code = "not-for-us"
    public_message = "The delivery is for a role that this agency does not have."


@dataclass(frozen=True, slots=True)
class DeliveryBinding:
    """What every receipt of a delivery binds: the manifest, the decision's leaf in the log, and the sections."""

    delivery_id: str
    message_id: str
    referral_id: str
    manifest_digest: str
    decision_leaf: str
    sender: str
    recipient: str
    sections: tuple[str, ...]


class CannotOpen(Rejected):
    """It is authentic and released to us, but does not open: the sender must be told, so the binding is kept."""

    code = "cannot-open"
    public_message = "The delivery cannot be opened with this agency's keys. The sender has been told."

    def __init__(self, binding: DeliveryBinding, cause: SafelaneError) -> None:
        """Keep ``binding`` for the refusal, and what was wrong (a code, never content)."""
        super().__init__(f"does not open: {cause.code}", field=cause.field)
        self.binding = binding


def open_incoming(
    body: bytes,
    *,
    agency: str,
    directory: VerifiedDirectory,
    private_jwks: Mapping[str, Mapping[str, Any]],
    now: datetime,
    received_at: datetime,
) -> ReceivedReferral:
    """Verify and open a delivery's bytes for ``agency``. ``now`` is the real clock's instant, ``received_at`` the business clock's.

    Raises:
        MalformedMessage, TooLarge: it is not of the form of a delivery.
        SenderUnknown: our directory has no such active agency.
        SignatureInvalid: the sender did not sign it with keys that count today.
        ProofLost: its decision is of a part of the log that was lost; it comes again.
        ProofInvalid, DeliveryTampered: it is not what the sender signed or the log says was released: stop, use the telephone.
        ForeignKeyring: it is sealed to a key that we no longer have or never had.
        NotForUs: it is for a role of somebody else.
        CannotOpen: it is authentic, but a keyring or section does not open.
    """
    unverified = parse_delivery(body)
    sender_keys = directory.signing_keys.get(unverified.claimed_sender(), ())
    if not sender_keys:
        raise SenderUnknown(field="manifest.sender")
    verified = verify_delivery(
        unverified,
        sender_keys,
        find_verifier(directory.directory.hub, unverified.proof.note),
        recipient=agency,
        kids=private_jwks.keys(),
        now=now,
    )
    _check_decision(verified, agency, directory.directory)
    binding = bind_delivery(verified)
    try:
        sections = open_delivery(verified, private_jwks)
    except SafelaneError as error:
        raise CannotOpen(binding, error) from None
    _check_subjects(verified)
    return _build_received(verified, sections, directory.directory, received_at)


def bind_delivery(verified: VerifiedDelivery) -> DeliveryBinding:
    """Return what receipts of a verified delivery bind."""
    return DeliveryBinding(
        delivery_id=verified.delivery.delivery_id,
        message_id=verified.manifest.message_id,
        referral_id=verified.manifest.referral_id,
        manifest_digest=verified.manifest_digest,
        decision_leaf=verified.decision_leaf,
        sender=verified.manifest.sender,
        recipient=verified.delivery.agency,
        sections=tuple(verified.decision.released),
    )


def _check_decision(verified: VerifiedDelivery, agency: str, directory: Directory) -> None:
    own = directory.find_agency(agency)
    decision, request = verified.decision, verified.delivery
    if decision.outcome is not DeliveryOutcome.DELIVERED or not decision.released:
        raise DeliveryTampered("the decision does not release it", field="decision.outcome")
    if (decision.role, decision.purpose) != (request.role, request.purpose):
        raise DeliveryTampered("the decision is for another role or purpose", field="decision.role")
    if own is None or request.role not in own.roles:
        raise NotForUs(field="delivery.role")
    if decision.contact not in {None, request.contact}:
        # FORMATS CH-15: where the one asked for may not see it, another who holds the role gets it. The hub may choose nobody else.
        holders = {contact.id for contact in own.contacts if request.role in contact.roles}
        if decision.contact not in holders:
            raise DeliveryTampered("names a contact who does not hold the role", field="decision.contact")


def _check_subjects(verified: VerifiedDelivery) -> None:
    declared = {subject.subject_id for subject in verified.subjects} | {"incident"}
    if any(d.subject not in declared for d in verified.descriptors.values()):
        raise DeliveryTampered("a section's subject is missing", field="openings")


def _build_received(
    verified: VerifiedDelivery, sections: list[OpenedSection], directory: Directory, received_at: datetime
) -> ReceivedReferral:
    manifest, decision, request = verified.manifest, verified.decision, verified.delivery
    sender = directory.find_agency(manifest.sender)
    own = directory.find_agency(request.agency)
    if sender is None or own is None:
        raise MalformedMessage("names no agency of the directory", field="manifest.sender")
    area = next((a.name for a in directory.partnership.areas if a.gss == verified.case.area), "")
    return ReceivedReferral(
        delivery_id=request.delivery_id,
        message_id=manifest.message_id,
        referral_id=manifest.referral_id,
        revision=manifest.revision,
        message_type=manifest.type,
        manifest_digest=verified.manifest_digest,
        sender=manifest.sender,
        sender_name=sender.name,
        sender_contacts=_choose_contacts(sender),
        recipient=request.agency,
        recipient_name=own.name,
        role=request.role,
        purpose=request.purpose,
        contact=decision.contact or request.contact,
        case=verified.case,
        risk=verified.risk,
        area_name=area,
        subjects=verified.subjects,
        sections=tuple(_build_section(s) for s in sections),
        supersedes=manifest.supersedes,
        issued_at=manifest.issued_at,
        received_at=received_at,
        deadlines=reckon_deadlines(
            verified.case,
            verified.risk,
            role=request.role,
            recipient=request.agency,
            starts_at=decision.at,
            directory=directory,
        ),
        decision=decision.model_dump(mode="json", exclude={"rest"}, exclude_none=True),
        decision_leaf=verified.decision_leaf,
        witnessed=False,
    )


def _choose_contacts(sender: Agency) -> tuple[DeskContact, ...]:
    """Return whom to ring: the first two contacts of the sender's first role, which is its front door."""
    front = [c for c in sender.contacts if set(sender.roles[:1]) & set(c.roles)] or list(sender.contacts)
    return tuple(DeskContact(post=c.post, name=c.name, phone=c.phone, email=c.email) for c in front[:2])


def _build_section(section: OpenedSection) -> ReceivedSection:
    return ReceivedSection(
        section_id=section.section_id,
        compartment=section.compartment,
        subject=section.subject,
        form=section.form,
        media_type=section.media_type,
        content=section.content,
        attachments=tuple(dict(a) for a in section.attachments),
    )


__all__ = ["CannotOpen", "DeliveryBinding", "NotForUs", "SenderUnknown", "bind_delivery", "open_incoming"]
