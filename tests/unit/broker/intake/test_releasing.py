"""What goes: never wider than permitted, never another subject's, never what the sender did not grant."""

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.intake.releasing import choose_sections, decided_contact
from schemas.codes import Compartment, CompartmentResult, DeliveryOutcome, Form
from schemas.decision import CompartmentDecision, Decision
from schemas.envelope import INCIDENT, SectionDescriptor
from schemas.header import DeliveryRequest

CHILD, SIBLING = "subject-000000000child", "subject-0000000sibling"
ANY = "A" * 43


def describe(section_id: str, compartment: Compartment, subject: str, form: Form) -> SectionDescriptor:
    return SectionDescriptor(
        section_id=section_id,
        compartment=compartment,
        subject=subject,
        form=form,
        media_type="application/json",
        ciphertext_sha256=ANY,
        content_sha256=ANY,
    )


SECTIONS = {
    d.section_id: d
    for d in (
        describe("c01-child-full--------", Compartment.C01, CHILD, Form.FULL),
        describe("c01-sibling-full------", Compartment.C01, SIBLING, Form.FULL),
        describe("c04-full--------------", Compartment.C04, INCIDENT, Form.FULL),
        describe("c04-summary-----------", Compartment.C04, INCIDENT, Form.SUMMARY),
        describe("c04-pointer-----------", Compartment.C04, INCIDENT, Form.POINTER),
        describe("c05-pointer-----------", Compartment.C05, INCIDENT, Form.POINTER),
        describe("c05-full--------------", Compartment.C05, INCIDENT, Form.FULL),
        describe("c10-full--------------", Compartment.C10, INCIDENT, Form.FULL),
    )
}


def ask(granted: tuple[str, ...] = tuple(SECTIONS), **more: Any) -> DeliveryRequest:
    return DeliveryRequest(
        delivery_id="delivery-0000000000001",
        agency="school.one",
        role="dsl",
        purpose="safeguard_child",
        granted_sections=granted,
        **more,
    )


def decide(results: dict[str, str], subjects: tuple[str, ...] = (CHILD,), **more: Any) -> Decision:
    fields: dict[str, Any] = {
        "delivery_id": "delivery-0000000000001",
        "recipient": "school.one",
        "role": "dsl",
        "purpose": "safeguard_child",
        "outcome": DeliveryOutcome.DELIVERED,
        "row": "D3",
        "compartments": {
            Compartment(c): CompartmentDecision(result=CompartmentResult(result), row="D3")
            for c, result in results.items()
        },
        "subjects": subjects,
        "decided_at": datetime(2026, 11, 23, tzinfo=UTC),
    }
    return Decision(**(fields | more))


@pytest.mark.parametrize(
    ("results", "subjects", "expected"),
    [
        ({"C01": "full"}, (CHILD,), ("c01-child-full--------",)),
        ({"C01": "full"}, (CHILD, SIBLING), ("c01-child-full--------", "c01-sibling-full------")),
        ({"C01": "full"}, (), ()),
        ({"C01": "summary"}, (CHILD,), ()),
        ({"C04": "full"}, (), ("c04-full--------------",)),
        ({"C04": "summary"}, (), ("c04-summary-----------",)),
        ({"C04": "pointer"}, (), ("c04-pointer-----------",)),
        ({"C04": "held"}, (), ()),
        ({"C04": "withheld"}, (), ()),
        ({"C05": "summary"}, (), ("c05-pointer-----------",)),
        ({"C10": "pointer"}, (CHILD,), ()),
        ({}, (CHILD, SIBLING), ()),
    ],
)
def test_exactly_the_permitted_form_goes(
    results: dict[str, str], subjects: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert choose_sections(SECTIONS, ask(), decide(results, subjects)) == expected


def test_what_is_not_granted_never_goes() -> None:
    assert choose_sections(SECTIONS, ask(("c04-summary-----------",)), decide({"C01": "full", "C04": "full"})) == (
        "c04-summary-----------",
    )


@pytest.mark.parametrize("outcome", [o for o in DeliveryOutcome if o is not DeliveryOutcome.DELIVERED])
def test_only_a_delivered_decision_releases(outcome: DeliveryOutcome) -> None:
    assert choose_sections(SECTIONS, ask(), decide({"C04": "full"}, outcome=outcome)) == ()


@pytest.mark.parametrize(
    ("deliver_to", "asked", "expected"),
    [
        (None, "dsl", "dsl"),
        (None, None, None),
        ("school.one#deputy-dsl", "dsl", "deputy-dsl"),
        ("school.two#deputy-dsl", "dsl", "dsl"),
        ("school.one", "dsl", "dsl"),
    ],
)
def test_the_decision_names_the_contact_within_the_agency_alone(
    deliver_to: str | None, asked: str | None, expected: str | None
) -> None:
    assert decided_contact(ask(contact=asked), decide({}, deliver_to=deliver_to)) == expected
