"""Whatever fails, withholds: Cedar skips a policy that errors, and ours still denies."""

import json

import cedarpy
import pytest

from broker.decisions import DecisionEngine
from broker.decisions.case_facts import build_case_facts
from broker.decisions.cases import load_cases
from broker.decisions.questions import CedarAsker
from schemas.codes import CompartmentResult, DeliveryOutcome
from schemas.decision import SENT
from schemas.errors import ConfigInvalid
from tests.support.decisions import SAMPLES, change_pack, default_pack, make_directory, make_engine

CONFLICTED = next(c for c in load_cases(SAMPLES / "decision-cases.yaml") if c.id == "DC-052")
PLAIN = next(c for c in load_cases(SAMPLES / "decision-cases.yaml") if c.id == "DC-001")
ERRING = """
@id("erring") @row("D2") @step("1") @reason("It errs.") @authority("none")
forbid (principal, action in Action::"accept", resource)
when { context.consent.giver_age * 9223372036854775807 * 9223372036854775807 > 0 };
"""


def test_cedar_itself_lets_an_erring_forbid_pass() -> None:
    policies = "permit(principal, action, resource);\nforbid(principal, action, resource) when { context.conflict };"
    request = {"principal": 'Role::"csc"', "action": 'Action::"deliver"', "resource": 'Delivery::"d"', "context": {}}
    result = cedarpy.is_authorized(request, policies, [])
    assert result.allowed
    assert result.diagnostics.errors


def test_an_erring_forbid_denies_everything_and_asks_a_person() -> None:
    engine = DecisionEngine(change_pack(default_pack().policy_text + ERRING), make_directory())
    facts = build_case_facts(PLAIN.id, PLAIN.data, engine)
    decision = engine.decide_facts(facts)
    assert decision.outcome is DeliveryOutcome.WITHHELD
    assert decision.policy == "nothing-matches"
    assert decision.queue
    assert all(c.result is CompartmentResult.WITHHELD for c in decision.compartments.values())


@pytest.mark.parametrize("missing", ["conflict", "consent", "embargo", "approved", "kind"])
def test_a_missing_attribute_denies(missing: str) -> None:
    pack = default_pack()
    facts = build_case_facts(PLAIN.id, PLAIN.data, make_engine())
    context = facts.to_context(kind_known=True, purpose_known=True, values_known=True, row_exists=True) | {
        "company": "unasked"
    }
    asker = CedarAsker(pack)
    row = pack.matrix.find_row(facts.kind, facts.role, facts.holds)
    assert row is not None
    questions = [("deliver", "Delivery", "delivery"), ("full", "Compartment", f"{row.number}/C01")]
    assert all(a.allowed for a in asker.ask(facts.role, questions, json.dumps(context)))
    del context[missing]
    assert all(a.failed and not a.allowed for a in asker.ask(facts.role, questions, json.dumps(context)))


@pytest.mark.parametrize("context", ["", "{", "[]", '{"kind": 1}', "null"])
def test_a_context_that_cedar_refuses_denies(context: str) -> None:
    asker = CedarAsker(default_pack())
    assert not any(a.allowed for a in asker.ask("csc", [("deliver", "Delivery", "delivery")], context))


@pytest.mark.parametrize(
    "question", [("fly", "Delivery", "delivery"), ("full", "Compartment", "nowhere/C01"), ("", "", "")]
)
def test_an_unknown_action_or_resource_denies(question: tuple[str, str, str]) -> None:
    asker = CedarAsker(default_pack())
    facts = build_case_facts(PLAIN.id, PLAIN.data, make_engine())
    context = facts.to_context(kind_known=True, purpose_known=True, values_known=True, row_exists=True) | {
        "company": "unasked"
    }
    assert not any(a.allowed for a in asker.ask("csc", [question], json.dumps(context)))


def test_a_label_alone_authorises_nothing() -> None:
    labels = [p for p in default_pack().policies.values() if p.names == "row"]
    assert labels
    text = """
    @id("label") @row("D1") @step("1") @names("row") @reason("r") @authority("a")
    permit (principal, action in Action::"release", resource);
    @id("nothing-matches") @row("D12") @step("999") @queue("yes") @reason("r") @authority("a")
    permit (principal, action == Action::"withhold", resource);
    """
    engine = DecisionEngine(change_pack(text), make_directory())
    decision = engine.decide_facts(build_case_facts(PLAIN.id, PLAIN.data, engine))
    assert not any(c.result in SENT for c in decision.compartments.values())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            '@id("x") @row("D0") @step("1") @reason("r") @authority("a") permit(principal, action, resource) when { context.nonsense };',
            "attribute",
        ),
        (
            '@id("x") @row("D0") @step("1") @reason("r") @authority("a") permit(principal, action == Action::"fly", resource);',
            "action",
        ),
        ("permit(principal, action, resource", "syntax"),
        ('@row("D0") @step("1") @reason("r") @authority("a") permit(principal, action, resource);', "no id"),
        ('@id("x") @row("D0") @step("1") @authority("a") permit(principal, action, resource);', "no reason"),
        ('@id("x") @step("1") @reason("r") @authority("a") permit(principal, action, resource);', "no row"),
        (
            '@id("conflict") @row("D0") @step("1") @reason("r") @authority("a") permit(principal, action, resource);',
            "id twice",
        ),
    ],
)
def test_a_policy_that_breaks_the_schema_or_lacks_an_annotation_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigInvalid):
        change_pack(f"{default_pack().policy_text}\n{text}")
    assert why


def test_a_pack_that_the_signed_directory_does_not_name_is_refused() -> None:
    with pytest.raises(ConfigInvalid):
        DecisionEngine(default_pack(), make_directory(policy_digest="0" * 64))
    assert DecisionEngine(default_pack(), make_directory(policy_digest=default_pack().digest))


def test_a_cell_that_the_signed_matrix_lacks_is_closed() -> None:
    rows = default_pack().matrix.to_directory_rows()
    narrower = tuple(
        row.model_copy(update={"cells": {**row.cells, "C02": "-"}})
        if (row.kind, row.role) == ("CP_S47", "csc")
        else row
        for row in rows
    )
    engine = DecisionEngine(default_pack(), make_directory(matrix=narrower))
    decision = engine.decide_facts(build_case_facts(PLAIN.id, PLAIN.data, engine))
    results = {c.value: d.result.value for c, d in decision.compartments.items()}
    assert results["C02"] == "withheld"
    assert results["C01"] == "full"
    without = DecisionEngine(
        default_pack(), make_directory(matrix=[r for r in rows if (r.kind, r.role) != ("CP_S47", "csc")])
    )
    assert without.decide_facts(build_case_facts(PLAIN.id, PLAIN.data, without)).policy == "no-row"


def test_a_conflict_is_withheld_with_its_reason() -> None:
    engine = make_engine()
    decision = engine.decide_facts(build_case_facts(CONFLICTED.id, CONFLICTED.data, engine))
    assert decision.policy == "conflict"
    assert decision.reason
    assert decision.authority
