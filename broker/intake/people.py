"""Approvals by people of the directory: whose signature it is, and whether they may give it. What roles may approve what is the directory's data."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from broker.registry import DirectorySnapshot
from schemas.directory import Directory, Person
from schemas.errors import MalformedMessage, NotPermitted, SafelaneError, SignatureInvalid
from schemas.keys import KeyUse, VerifyingKeys
from schemas.objects.approval import Approval
from schemas.objects.registry import read_object
from schemas.objects.signed import peek_object

CLOCK_SKEW = timedelta(minutes=5)
DEFAULT_ROLE = "approver"
PARTNERSHIP_ROLE = "partnership_approver"
"""Sees and may decide every agency's queue; without it, a person decides what their own agency sent."""


def read_approval(body: bytes, snapshot: DirectorySnapshot) -> tuple[Approval, Person]:
    """Verify an approval with the own key of the person it names, and return both.

    Raises:
        SignatureInvalid: that person did not sign it, or is not in the directory.
        MalformedMessage: it is not of its form.
    """
    named = str(peek_object(body).get("approver", ""))
    person = next((p for p in snapshot.directory.people if p.id == named), None)
    if person is None or snapshot.find_active_agency(person.agency) is None:
        raise SignatureInvalid
    approval = read_object("approval", body, person_keys(person))
    if not isinstance(approval, Approval):
        raise MalformedMessage("is not an approval", field="approval")
    snapshot.known_ids.check_object(approval)
    return approval, person


def person_keys(person: Person) -> Sequence[VerifyingKeys]:
    """Return the pairs with which a person signs approvals."""
    pair = [jwk for jwk in person.keys if jwk.get("safelane_use") == KeyUse.APPROVAL.value]
    try:
        return [VerifyingKeys.from_jwks(pair[n], pair[n + 1]) for n in range(0, len(pair) - 1, 2)]
    except SafelaneError:
        return []


def find_roles(directory: Directory, action: str, topics: Sequence[str]) -> frozenset[str]:
    """Return the roles that may take ``action``: ``local_policy.approver_roles`` by topic (a compartment, a scheme), by action, or ``default``."""
    settings: dict[str, Any] = directory.local_policy.get("approver_roles", {})
    fallback = settings.get(action, settings.get("default", [DEFAULT_ROLE]))
    named = [frozenset(settings[topic]) for topic in topics if topic in settings]
    return frozenset.intersection(*named) if named else frozenset(fallback)


def list_approver_roles(directory: Directory) -> frozenset[str]:
    """Return every role that may approve anything: who holds none of them has no business in the review queue."""
    settings: dict[str, Any] = directory.local_policy.get("approver_roles", {})
    return frozenset({DEFAULT_ROLE, PARTNERSHIP_ROLE}.union(*settings.values()))


def check_approver(
    approval: Approval, person: Person, directory: Directory, *, sender: str, recipient: str | None, now: datetime
) -> None:
    """Check that a person may give an approval at ``now`` (business time).

    Raises:
        NotPermitted: they lack the role, belong to neither ``sender`` nor the partnership, approve for their own agency's benefit or their own
            request, or it is not the time.
    """
    if person.agency != sender and PARTNERSHIP_ROLE not in person.roles:
        raise NotPermitted("only its sender's own people may approve this", field="approval.approver_agency")
    if approval.approver_agency != person.agency or approval.approver_role not in person.roles:
        raise NotPermitted("the approver does not hold that role at that agency", field="approval.approver_role")
    topics = [c.value for c in approval.compartments] + ([approval.scheme] if approval.scheme else [])
    if approval.approver_role not in find_roles(directory, approval.action.value, topics):
        raise NotPermitted("that role may not approve this", field="approval.approver_role")
    if recipient is not None and person.agency == recipient:
        raise NotPermitted("nobody approves a release to their own agency", field="approval.approver_agency")
    if approval.requester is not None and approval.requester == person.id:
        raise NotPermitted("nobody approves their own request", field="approval.requester")
    if not approval.issued_at - CLOCK_SKEW <= now < approval.expires_at:
        raise NotPermitted("it has expired, or is not in force yet", field="approval.expires_at")
