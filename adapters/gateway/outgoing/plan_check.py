"""A hub's plan against the signed matrix: it may narrow what the matrix gives, never widen it (DESIGN, step 2).

The matrix in the directory is the authority's, not the hub's. A plan that names a recipient we did not ask for, drops one, gives a compartment in a
fuller form than its cell, opens a cell that needs approval, or gives a school another family's child, is refused as a whole: such a hub is lying or broken.
"""

from collections.abc import Sequence
from datetime import datetime

from schemas.codes import Compartment, CompartmentResult, Form
from schemas.decision import Decision
from schemas.directory import Directory
from schemas.errors import IntegrityBroken
from schemas.header import DeliveryRequest, RoutingHeader

ANY = "any"
OWN_CHILD_ROLES = frozenset({"dsl", "gp"})
"""A school or practice: sections of its own children only (DESIGN, Decisions)."""
IMMIGRATION_ROLES = frozenset({"csc", "csc_mace", "csc_named", "nrm"})
"""Roles that may receive C11 at all (DOMAIN D10, FORMATS CH-11)."""
_ALWAYS = {Compartment.C14: "F", Compartment.C17: "S"}
"""Everyone gets C14 and a minimal C17 (DOMAIN section 2)."""
_NEVER_BY_TOKEN = frozenset({Compartment.C10, Compartment.C11, Compartment.C12})
_FORMS = {
    "F": frozenset({Form.FULL, Form.SUMMARY, Form.POINTER}),
    "S": frozenset({Form.SUMMARY, Form.POINTER}),
    "P": frozenset({Form.POINTER}),
}
_HELD_FORM = {"F": Form.FULL, "S": Form.SUMMARY, "P": Form.POINTER, "A": Form.FULL}


class PlanTooWide(IntegrityBroken):
    """The hub's plan gives more than the signed matrix allows, or other recipients than were asked for."""

    code = "plan-too-wide"
    public_message = "The hub's plan does not fit the signed matrix. Nothing was sent. Use the telephone, and call your security contact."


def refuse_wider_plan(
    decisions: Sequence[Decision], header: RoutingHeader, directory: Directory, *, now: datetime
) -> None:
    """Check a plan against the request and the signed directory. ``now`` is the business clock (disclosure tokens expire by it).

    Raises:
        PlanTooWide: with the field that is too wide.
    """
    requests = {request.delivery_id: request for request in header.deliveries}
    answered = [decision.delivery_id for decision in decisions]
    if len(set(answered)) != len(answered) or not set(answered) <= requests.keys():
        raise PlanTooWide("names a recipient that was not asked for", field="decisions")
    if set(answered) != requests.keys():
        raise PlanTooWide("leaves a recipient without an answer", field="decisions")
    for decision in decisions:
        request = requests[decision.delivery_id]
        _check_addressee(decision, request, header, directory)
        _check_forms(decision, request, header, directory, now)
        _check_subjects(decision, request, header)


def find_cell(header: RoutingHeader, role: str, compartment: Compartment, directory: Directory) -> str:
    """Return the matrix cell (F, S, P, A or -) for a compartment and role; no row gives ``-``: default deny."""
    if compartment is Compartment.C11 and role not in IMMIGRATION_ROLES:
        return "-"
    kind = header.decision_kind
    row = (
        directory.find_matrix_row(kind, role)
        or directory.find_matrix_row(kind, ANY)
        or directory.find_matrix_row(ANY, role)
    )
    if row is None:
        return "-"
    return _ALWAYS.get(compartment) or row.cells.get(compartment.value, "-")


def permitted_forms(
    request: DeliveryRequest, header: RoutingHeader, compartment: Compartment, directory: Directory, now: datetime
) -> frozenset[Form]:
    """Return the forms in which the signed matrix lets this delivery have a compartment at the first sealing.

    A cell that needs approval gives nothing here: what an approver releases goes later, in a keyring addendum, after this gateway has
    verified the approver's own signature. The one exception is a disclosure token that this sender itself holds for this recipient.
    """
    cell = find_cell(header, request.role, compartment, directory)
    if cell == "A" and compartment not in _NEVER_BY_TOKEN and _has_token(request, header, now):
        cell = "F"
    return _FORMS.get(cell, frozenset())


def held_form(header: RoutingHeader, role: str, compartment: Compartment, directory: Directory) -> Form | None:
    """Return the form in which a held compartment would go once released (FORMATS CH-11); none if the cell is closed for good."""
    return _HELD_FORM.get(find_cell(header, role, compartment, directory))


def own_subjects(request: DeliveryRequest, header: RoutingHeader, decision: Decision) -> frozenset[str]:
    """Return the ids of subjects whose sections this delivery may hold: for a school or practice the children tied to it, by our own record."""
    every = {subject.subject_id for subject in header.subjects}
    allowed = _tied_subjects(request, header) if request.role in OWN_CHILD_ROLES else every
    return frozenset(allowed & set(decision.subjects)) if decision.subjects else frozenset(allowed)


def _check_addressee(decision: Decision, request: DeliveryRequest, header: RoutingHeader, directory: Directory) -> None:
    if (decision.recipient, decision.role, decision.purpose) != (request.agency, request.role, request.purpose):
        raise PlanTooWide("answers for another recipient, role or purpose", field="decisions.recipient")
    if decision.deliver_to is None:
        return
    agency, _, contact = decision.deliver_to.partition("#")
    entry = directory.find_agency(agency)
    known = entry is not None and any(c.id == contact and request.role in c.roles for c in entry.contacts)
    if agency != request.agency or not known:
        raise PlanTooWide("names a contact that does not hold the role", field="decisions.deliver_to")
    barred = any((c.agency, c.contact) == (agency, contact) for c in header.policy.conflicts)
    if barred and header.policy.break_glass is None:
        raise PlanTooWide("names a contact with a conflict of interest", field="decisions.deliver_to")


def _check_forms(
    decision: Decision, request: DeliveryRequest, header: RoutingHeader, directory: Directory, now: datetime
) -> None:
    for compartment, verdict in decision.compartments.items():
        form = verdict.form
        if form is None:
            continue
        if compartment not in header.policy.compartments:
            raise PlanTooWide("gives a compartment that is not there", field=f"decisions.{compartment.value}")
        if form not in permitted_forms(request, header, compartment, directory, now):
            raise PlanTooWide("gives more than the signed matrix", field=f"decisions.{compartment.value}")


def _check_subjects(decision: Decision, request: DeliveryRequest, header: RoutingHeader) -> None:
    every = {subject.subject_id for subject in header.subjects}
    named = set(decision.subjects)
    allowed = _tied_subjects(request, header) if request.role in OWN_CHILD_ROLES else every
    if not named <= allowed:
        raise PlanTooWide("gives a subject that this recipient may not have", field="decisions.subjects")


def _tied_subjects(request: DeliveryRequest, header: RoutingHeader) -> set[str]:
    return {routing.subject_id for routing in header.routing if request.agency in routing.tied_agencies}


def _has_token(request: DeliveryRequest, header: RoutingHeader, now: datetime) -> bool:
    return any(
        token.recipient == request.agency and (token.expires_at is None or now < token.expires_at)
        for token in header.policy.tokens
    )


def is_held(result: CompartmentResult) -> bool:
    """Tell whether a person may still release it."""
    return result is CompartmentResult.HELD
