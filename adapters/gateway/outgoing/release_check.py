"""Whether this agency, as a sender, may give the keys of sections that policy held: judged here, by our own directory, never by the hub's word.

The hub passes on approvals that people signed, and claims of danger that agencies signed. Each is verified again; each section must be one that was
approved, for a recipient that we asked for, in no wider form than the signed matrix gives that recipient (FORMATS CH-11).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from adapters.gateway.identity.directory_keeper import VerifiedDirectory
from adapters.gateway.outgoing.plan_check import OWN_CHILD_ROLES, find_cell, held_form
from schemas.canonical import canonical_bytes
from schemas.codes import Compartment, Form
from schemas.directory import Directory, Person
from schemas.envelope import INCIDENT, SectionDescriptor
from schemas.errors import MalformedMessage, NotPermitted, SafelaneError, SignatureInvalid
from schemas.header import DeliveryRequest, RoutingHeader
from schemas.keys import KeyUse, VerifyingKeys
from schemas.objects import digest_object, peek_object
from schemas.objects.approval import Approval, ApprovalAction
from schemas.objects.control import BreakGlassControl
from schemas.objects.registry import read_object
from schemas.signed_directory import is_active

_WIDTH = {Form.POINTER: 0, Form.SUMMARY: 1, Form.FULL: 2}
_NEEDS_APPROVAL = "A"
PARTNERSHIP_ROLE = "partnership_approver"
"""May decide what other agencies hold, where the directory gives it to a person."""
_RELEASING = frozenset({ApprovalAction.RELEASE, ApprovalAction.DISCLOSURE_TOKEN, ApprovalAction.LIFT_EMBARGO})


class ReleaseNotProven(NotPermitted):
    """What the hub asks for rests on no approval that counts here."""

    code = "release-not-proven"
    public_message = (
        "The hub asks for keys without an approval that counts. Nothing was given; call your security contact."
    )


@dataclass(frozen=True, slots=True)
class Grounds:
    """What was verified: who approved which compartments (none: the delivery as a whole), and who claimed danger."""

    approvals: tuple[Approval, ...] = ()
    claims: tuple[BreakGlassControl, ...] = ()
    digests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SentDelivery:
    """What we (``sender``) sealed: the message's digest, its header, one delivery of it and all sections' descriptors."""

    sender: str
    message_id: str
    manifest_digest: str
    header: RoutingHeader = field(repr=False)
    request: DeliveryRequest
    descriptors: Mapping[str, SectionDescriptor] = field(repr=False)


def verify_grounds(bases: Sequence[Any], sent: SentDelivery, directory: VerifiedDirectory, *, now: datetime) -> Grounds:
    """Verify each statement that counts for this delivery; those that do not verify count for nothing. ``now`` is the real time."""
    approvals: list[Approval] = []
    claims: list[BreakGlassControl] = []
    digests: list[str] = []
    for base in bases:
        try:
            signed = canonical_bytes(base["object"])
            if base["type"] == "approval":
                approvals.append(_verify_approval(signed, sent, directory.directory, now))
            else:
                claims.append(_verify_claim(signed, sent, directory))
            digests.append(digest_object(signed))
        except (SafelaneError, KeyError, TypeError):
            continue
    return Grounds(tuple(approvals), tuple(claims), tuple(digests))


def check_sections(sections: Sequence[str], grounds: Grounds, sent: SentDelivery, directory: Directory) -> None:
    """Check that every section asked for may go to this delivery.

    Raises:
        ReleaseNotProven: one is not ours, not covered by an approval, or more than the signed matrix gives.
    """
    if not sections:
        raise ReleaseNotProven("asks for nothing", field="sections")
    tied = {r.subject_id for r in sent.header.routing if sent.request.agency in r.tied_agencies}
    for section_id in sections:
        descriptor = sent.descriptors.get(section_id)
        if descriptor is None:
            raise ReleaseNotProven("names a section that we did not seal", field="sections")
        if sent.request.role in OWN_CHILD_ROLES and descriptor.subject not in {INCIDENT, *tied}:
            raise ReleaseNotProven("is another family's child", field="sections")
        most = held_form(sent.header, sent.request.role, descriptor.compartment, directory)
        if most is None or _WIDTH[descriptor.form] > _WIDTH[most]:
            raise ReleaseNotProven("gives more than the signed matrix", field="sections")
        if not _is_covered(descriptor.compartment, grounds, sent, directory):
            raise ReleaseNotProven("no approval that counts covers it", field="bases")


def _is_covered(compartment: Compartment, grounds: Grounds, sent: SentDelivery, directory: Directory) -> bool:
    """Tell whether enough different people approved this compartment; a claim of danger or a whole release never opens a cell that needs approval."""
    needed = directory.local_policy.get("approvers_needed", {})
    count = max(1, int(needed.get(compartment.value, needed.get("default", 1))))
    people = {a.approver for a in grounds.approvals if compartment in a.compartments}
    if len(people) >= count:
        return True
    if find_cell(sent.header, sent.request.role, compartment, directory) == _NEEDS_APPROVAL:
        token = any(a.action is ApprovalAction.DISCLOSURE_TOKEN for a in grounds.approvals)
        return token and compartment is Compartment.C09
    whole = {a.approver for a in grounds.approvals if not a.compartments}
    return len(whole) >= max(1, int(needed.get("default", 1))) or bool(grounds.claims)


def _verify_approval(signed: bytes, sent: SentDelivery, directory: Directory, now: datetime) -> Approval:
    named = str(peek_object(signed).get("approver", ""))
    person = next((p for p in directory.people if p.id == named), None)
    employer = directory.find_agency(person.agency) if person is not None else None
    if person is None or employer is None or not is_active(employer):
        raise SignatureInvalid
    approval = read_object("approval", signed, _person_keys(person))
    if not isinstance(approval, Approval) or approval.action not in _RELEASING:
        raise MalformedMessage("releases nothing", field="approval.action")
    if approval.manifest_digest != sent.manifest_digest or approval.delivery_id not in {None, sent.request.delivery_id}:
        raise NotPermitted("is about another delivery", field="approval.delivery_id")
    if approval.recipient not in {None, sent.request.agency} or person.agency == sent.request.agency:
        raise NotPermitted("is about another recipient, or by the recipient", field="approval.recipient")
    if person.agency != sent.sender and PARTNERSHIP_ROLE not in person.roles:
        # What we hold is ours to release: the hub and one approver of some third agency together must not suffice.
        raise NotPermitted("is by another agency's person", field="approval.approver_agency")
    if approval.approver_agency != person.agency or approval.approver_role not in person.roles:
        raise NotPermitted("the approver does not hold that role", field="approval.approver_role")
    settings = directory.local_policy.get("approver_roles", {})
    topics = [c.value for c in approval.compartments] + ([approval.scheme] if approval.scheme else [])
    named_roles = [frozenset(settings[topic]) for topic in topics if topic in settings]
    fallback = frozenset(settings.get(approval.action.value, settings.get("default", ["approver"])))
    if approval.approver_role not in (frozenset.intersection(*named_roles) if named_roles else fallback):
        raise NotPermitted("that role may not approve this", field="approval.approver_role")
    if now >= approval.expires_at:
        raise NotPermitted("has expired", field="approval.expires_at")
    return approval


def _verify_claim(signed: bytes, sent: SentDelivery, directory: VerifiedDirectory) -> BreakGlassControl:
    agency = str(peek_object(signed).get("agency", ""))
    claim = read_object("control", signed, directory.signing_keys.get(agency, ()))
    if not isinstance(claim, BreakGlassControl) or claim.agency != agency:
        raise MalformedMessage("is no claim of danger", field="control")
    if agency not in {sent.sender, sent.request.agency}:
        raise NotPermitted("is neither ours nor the recipient's", field="control.agency")
    if claim.manifest_digest != sent.manifest_digest or claim.message_id != sent.message_id:
        raise NotPermitted("is about another message", field="control.message_id")
    return claim


def _person_keys(person: Person) -> list[VerifyingKeys]:
    pair = [jwk for jwk in person.keys if jwk.get("safelane_use") == KeyUse.APPROVAL.value]
    return [VerifyingKeys.from_jwks(pair[n], pair[n + 1]) for n in range(0, len(pair) - 1, 2)]
