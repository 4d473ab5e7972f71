# ruff: noqa: S311 - generated cases, not secrets
"""What follows from compartments is worked out once, and is what each decision would work out for itself."""

import json
from random import Random

from schemas.codes import Compartment, CompartmentResult, DeliveryOutcome, Form
from schemas.decision import CompartmentDecision, Decision, Verdicts
from tests.support.decisions import make_engine
from tests.support.random_headers import draw


def make(compartments: dict[Compartment, CompartmentDecision]) -> Decision:
    return Decision(
        recipient="school.one",
        role="dsl",
        purpose="safeguard_child",
        outcome=DeliveryOutcome.DELIVERED,
        row="D3",
        compartments=compartments,
    )


COMPARTMENTS = {
    Compartment.C04: CompartmentDecision(result=CompartmentResult.SUMMARY, row="D3", reason="So it is."),
    Compartment.C01: CompartmentDecision(result=CompartmentResult.WITHHELD, row="D0"),
}


def test_a_decision_shares_what_it_is_given() -> None:
    shared = Verdicts(COMPARTMENTS)
    assert make(shared).verdicts is make(shared).verdicts is shared
    assert make(COMPARTMENTS).verdicts.forms == {Compartment.C04: Form.SUMMARY}
    assert list(shared.results.items()) == [("C01", "withheld D0"), ("C04", "summary D3")]
    assert shared.told["C04"] == {"result": "summary", "row": "D3", "reason": "So it is."}


def test_a_copy_with_other_compartments_has_its_own_verdicts() -> None:
    before = make(COMPARTMENTS)
    after = before.model_copy(update={"compartments": {Compartment.C01: COMPARTMENTS[Compartment.C01]}})
    assert before.verdicts.forms != after.verdicts.forms == {}
    assert json.loads(after.to_json_text())["compartments"].keys() == {"C01"}


def test_the_text_is_the_model_written() -> None:
    engine = make_engine()
    random = Random(7)
    for _ in range(60):
        drawn = draw(random, engine.directory)
        (decision,) = engine.decide_all(drawn.header, sender=drawn.sender, registers=drawn.registers, now=drawn.now)
        assert json.loads(decision.to_json_text()) == decision.to_json()
        assert Decision.model_validate_json(decision.to_json_text()) == decision
