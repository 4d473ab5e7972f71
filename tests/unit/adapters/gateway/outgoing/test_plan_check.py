"""A hub that lies in its plan is refused: each lie by itself, against the authority's signed matrix."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.gateway.outgoing.plan_check import PlanTooWide, find_cell, permitted_forms, refuse_wider_plan
from schemas.codes import Art6, Compartment, CompartmentResult, DeliveryOutcome, Form, SubjectType, TellValue
from schemas.decision import CompartmentDecision, Decision
from schemas.directory import Agency, Contact, Directory, MatrixRow, Partnership
from schemas.header import (
    CaseFacts,
    ConflictOfInterest,
    DeliveryRequest,
    DisclosureToken,
    LawfulBasis,
    PolicyFacts,
    RoutingHeader,
    SubjectFacts,
    SubjectRouting,
    TellStatus,
)

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
CELLS = {"C01": "F", "C04": "S", "C05": "P", "C09": "A", "C10": "A", "C11": "S", "C12": "A", "C07": "-"}
HERE = tuple(Compartment(c) for c in ("C01", "C04", "C05", "C07", "C09", "C10", "C11", "C12", "C14", "C17"))


def make_agency(agency_id: str, role: str) -> Agency:
    contacts = (Contact(id="duty", post="Duty", roles=(role,)), Contact(id="cleaner", post="Cleaner"))
    return Agency(
        id=agency_id,
        name=agency_id,
        kind="x",
        roles=(role,),
        area="E06000001",
        public_body=True,
        s16la_body=True,
        contacts=contacts,
    )


DIRECTORY = Directory(
    version=1,
    issued_at=NOW,
    expires_at=NOW + timedelta(days=1),
    partnership=Partnership(id="p"),
    agencies=(make_agency("csc.x", "csc"), make_agency("school.y", "dsl"), make_agency("idva.z", "idva")),
    matrix=tuple(MatrixRow(kind="CP_S47", role=role, cells=CELLS) for role in ("csc", "dsl")),
)
HEADER = RoutingHeader(
    case=CaseFacts(kind="CP_S47", area="E06000001"),
    lawful_basis=LawfulBasis(art6=Art6.PUBLIC_TASK),
    policy=PolicyFacts(tell_status=TellStatus(value=TellValue.TELL), compartments=HERE),
    subjects=tuple(
        SubjectFacts(subject_id=s, type=SubjectType.PERSON)
        for s in ("child-000000000000aaaa", "child-000000000000bbbb")
    ),
    routing=(SubjectRouting(subject_id="child-000000000000aaaa", tied_agencies=("school.y",)),),
    deliveries=(
        DeliveryRequest(delivery_id="delivery-0000000000csc", agency="csc.x", role="csc", purpose="safeguard_child"),
        DeliveryRequest(delivery_id="delivery-0000000000dsl", agency="school.y", role="dsl", purpose="safeguard_child"),
    ),
)


def decide(delivery: str = "delivery-0000000000csc", forms: dict[str, str] | None = None, **changes: Any) -> Decision:
    request = next((d for d in HEADER.deliveries if d.delivery_id == delivery), HEADER.deliveries[0])
    children = (
        ("child-000000000000aaaa",) if request.role == "dsl" else ("child-000000000000aaaa", "child-000000000000bbbb")
    )
    values: dict[str, Any] = {
        "delivery_id": delivery,
        "recipient": request.agency,
        "role": request.role,
        "purpose": request.purpose,
        "outcome": DeliveryOutcome.DELIVERED,
        "row": "D3",
        "subjects": children,
        "compartments": {
            Compartment(c): CompartmentDecision(result=CompartmentResult(result), row="D3")
            for c, result in (forms or {"C01": "full", "C04": "summary", "C05": "pointer", "C09": "held"}).items()
        },
    }
    return Decision(**(values | changes))


def check(*decisions: Decision, header: RoutingHeader = HEADER) -> None:
    refuse_wider_plan(decisions, header, DIRECTORY, now=NOW)


def test_a_plan_within_the_matrix_passes_and_a_narrower_one_too() -> None:
    check(decide(), decide("delivery-0000000000dsl"))
    check(
        decide(forms={"C01": "pointer", "C04": "withheld", "C14": "full", "C17": "summary"}),
        decide("delivery-0000000000dsl", {"C01": "held"}),
    )


def test_a_ghost_recipient_is_refused() -> None:
    with pytest.raises(PlanTooWide, match="not asked for"):
        check(decide(), decide("delivery-0000000000dsl"), decide("delivery-00000000ghost"))
    with pytest.raises(PlanTooWide, match="not asked for"):
        check(decide(), decide("delivery-0000000000dsl"), decide())


def test_a_dropped_recipient_is_refused() -> None:
    with pytest.raises(PlanTooWide, match="without an answer"):
        check(decide())


@pytest.mark.parametrize(
    "change",
    [{"recipient": "idva.z"}, {"role": "csc_named"}, {"purpose": "immigration_enforcement"}],
    ids=lambda c: next(iter(c)),
)
def test_another_recipient_role_or_purpose_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(PlanTooWide, match="another recipient"):
        check(decide(**change), decide("delivery-0000000000dsl"))


@pytest.mark.parametrize("deliver_to", ["csc.x#cleaner", "csc.x#nobody", "school.y#duty", "csc.x"])
def test_a_contact_without_the_role_is_refused(deliver_to: str) -> None:
    with pytest.raises(PlanTooWide, match="contact"):
        check(decide(deliver_to=deliver_to), decide("delivery-0000000000dsl"))
    check(decide(deliver_to="csc.x#duty"), decide("delivery-0000000000dsl"))


def test_a_contact_with_a_conflict_of_interest_is_refused() -> None:
    conflicts = (ConflictOfInterest(agency="csc.x", contact="duty"),)
    policy = HEADER.policy.model_copy(update={"conflicts": conflicts})
    with pytest.raises(PlanTooWide, match="conflict"):
        check(
            decide(deliver_to="csc.x#duty"),
            decide("delivery-0000000000dsl"),
            header=HEADER.model_copy(update={"policy": policy}),
        )


@pytest.mark.parametrize(
    ("compartment", "form"),
    [
        ("C04", "full"),
        ("C05", "summary"),
        ("C05", "full"),
        ("C07", "pointer"),
        ("C09", "full"),
        ("C09", "pointer"),
        ("C10", "pointer"),
        ("C12", "full"),
        ("C17", "full"),
    ],
)
def test_a_fuller_form_than_the_cell_is_refused(compartment: str, form: str) -> None:
    with pytest.raises(PlanTooWide, match="signed matrix"):
        check(decide(forms={compartment: form}), decide("delivery-0000000000dsl"))


def test_immigration_goes_to_social_care_only() -> None:
    check(decide(forms={"C11": "summary"}), decide("delivery-0000000000dsl"))
    with pytest.raises(PlanTooWide):
        check(decide(), decide("delivery-0000000000dsl", {"C11": "pointer"}))


def test_a_compartment_that_is_not_there_is_refused() -> None:
    with pytest.raises(PlanTooWide, match="not there"):
        check(decide(forms={"C02": "full"}), decide("delivery-0000000000dsl"))


def test_a_school_is_not_given_another_child() -> None:
    with pytest.raises(PlanTooWide, match="subject"):
        check(decide(), decide("delivery-0000000000dsl", subjects=("child-000000000000aaaa", "child-000000000000bbbb")))
    with pytest.raises(PlanTooWide, match="subject"):
        check(decide(subjects=("child-000000000000aaaa", "child-000000000000cccc")), decide("delivery-0000000000dsl"))


def test_without_a_row_nothing_is_permitted() -> None:
    header = HEADER.model_copy(update={"case": HEADER.case.model_copy(update={"kind": "NEW_KIND"})})
    assert find_cell(header, "csc", Compartment.C14, DIRECTORY) == "-"
    with pytest.raises(PlanTooWide):
        check(decide(), decide("delivery-0000000000dsl"), header=header)


def test_our_own_disclosure_token_opens_an_approval_cell_for_its_recipient_until_it_expires() -> None:
    def forms(expires_at: datetime, recipient: str, compartment: Compartment) -> frozenset[Form]:
        token = DisclosureToken(scheme="MAPPA", ref="e1" * 32, recipient=recipient, expires_at=expires_at)
        header = HEADER.model_copy(update={"policy": HEADER.policy.model_copy(update={"tokens": (token,)})})
        return permitted_forms(HEADER.deliveries[0], header, compartment, DIRECTORY, NOW)

    later = NOW + timedelta(hours=1)
    assert Form.FULL in forms(later, "csc.x", Compartment.C09)
    assert not forms(NOW, "csc.x", Compartment.C09)
    assert not forms(later, "school.y", Compartment.C09)
    assert not forms(later, "csc.x", Compartment.C12)
    assert not forms(later, "csc.x", Compartment.C10)
