# ruff: noqa: S311 - generated cases, not secrets
"""Every policy matters: dropping, inverting or unconditioning any single one changes a decision that these tests know."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import cedarpy
import pytest

from broker.decisions import DecisionEngine, DecisionFacts, PolicyPack
from broker.decisions.case_facts import build_case_facts
from broker.decisions.cases import load_cases
from broker.decisions.header_facts import build_facts
from broker.decisions.questions import CedarAsker
from schemas.decision import Decision
from schemas.errors import ConfigInvalid
from tests.support.decisions import SAMPLES, change_pack, default_pack, make_directory, make_engine
from tests.support.random_headers import draw

Known = tuple[DecisionFacts, Decision, frozenset[str]]
GENERATED = 400
FORMS = ("full", "summary", "pointer")
POLICIES = cedarpy.policies_to_json_str(default_pack().policy_text)
POLICY_IDS = sorted(default_pack().policies)


@cache
def corpus() -> list[Known]:
    """Return facts, what the whole pack decides on them and what that names: the shared cases and generated ones."""
    engine, random = make_engine(), Random(99)
    files = (SAMPLES / "decision-cases.yaml", Path(__file__).with_name("further-decision-cases.yaml"))
    facts = [build_case_facts(case.id, case.data, engine) for path in files for case in load_cases(path)]
    for _ in range(GENERATED):
        drawn = draw(random, engine.directory)
        facts.append(
            build_facts(
                drawn.header,
                drawn.header.deliveries[0],
                sender=drawn.sender,
                registers=drawn.registers,
                directory=engine.directory,
                pack=engine.pack,
                now=drawn.now,
            )
        )
    flagged = make_engine(local_policy={**engine.directory.local_policy, "feature_flags": {"csa_mandatory_duty": True}})
    facts += list(_flagged_facts(flagged))
    facts += _directed_facts(facts[0])
    decided = [(f, engine.decide_facts(f)) for f in facts]
    return put_different_first([(f, decision, name_grounds(decision)) for f, decision in decided])


def put_different_first(found: list[Known]) -> list[Known]:
    """Order so that each way to decide comes once before any comes again: a mutation is then noticed early."""
    times: Counter[frozenset[str]] = Counter()
    ranks = []
    for _, _, grounds in found:
        ranks.append(times[grounds])
        times[grounds] += 1
    return [one for _, one in sorted(zip(ranks, found, strict=True), key=lambda ranked: ranked[0])]


def name_grounds(decision: Decision) -> frozenset[str]:
    """Return the policies, alerts and events that a decision names."""
    found = {c.policy for c in decision.compartments.values()} | {decision.policy}
    return frozenset({*(str(policy) for policy in found), *decision.alerts, *decision.emits})


def _flagged_facts(engine: DecisionEngine) -> Iterator[DecisionFacts]:
    random = Random(98)
    while True:
        drawn = draw(random, engine.directory)
        if drawn.header.case.kind != "CSA_MANDATORY" or drawn.header.risk.grade.value == "high":
            continue
        facts = build_facts(
            drawn.header,
            drawn.header.deliveries[0],
            sender=drawn.sender,
            registers=drawn.registers,
            directory=engine.directory,
            pack=engine.pack,
            now=drawn.now,
        )
        if engine.decide_facts(facts).policy == "statutory-duty-on-commencement":
            yield facts
            return


def _directed_facts(plain: DecisionFacts) -> list[DecisionFacts]:
    """Return what headers hold rarely, or never (the contract's own lists stop it first)."""
    return [
        replace(plain, basis="z"),
        replace(plain, grade="catastrophic"),
        replace(plain, purpose="marketing"),
        replace(plain, barred=frozenset({"C02"}), approved=frozenset({"C02"})),
        replace(plain, subjects=(("subject-00000000000001", True), ("subject-00000000000002", False))),
        replace(plain, role="dsl", subjects=(("subject-00000000000001", True), ("subject-00000000000002", False))),
    ]


def mentions(grounds: frozenset[str], policy_id: str) -> bool:
    policy = default_pack().policies[policy_id]
    return bool(grounds & {policy_id, policy.alert, policy.emits})


def probe_forms(pack: PolicyPack) -> list[bool]:
    """Ask for every form of every cell of one row: the engine never asks for a form that the cell lacks, so it is asked here."""
    asker = CedarAsker(pack)
    facts = corpus()[0][0]
    context = facts.to_context(kind_known=True, purpose_known=True, values_known=True, row_exists=True)
    text = json.dumps({**context, "company": "sent"})
    rows = [row for row in pack.matrix.rows if facts.kind in row.kinds]
    questions = [(form, "Compartment", f"{row.number}/{code}") for row in rows for code in row.cells for form in FORMS]
    return [answer.allowed for answer in asker.ask(facts.role, questions, text)]


def mutate(policy_id: str, how: str) -> str:
    body: dict[str, Any] = json.loads(POLICIES)
    key = next(k for k, p in body["staticPolicies"].items() if p["annotations"]["id"] == policy_id)
    policy = body["staticPolicies"][key]
    if how == "dropped":
        del body["staticPolicies"][key]
    elif how.startswith("without condition "):
        del policy["conditions"][int(how.rpartition(" ")[2])]
    elif how == "inverted":
        policy["effect"] = "forbid" if policy["effect"] == "permit" else "permit"
    else:
        policy["conditions"] = []
    return cedarpy.policies_from_json_str(json.dumps(body))


def is_noticed(policy_id: str, how: str) -> bool:
    try:
        pack = change_pack(mutate(policy_id, how))
    except ConfigInvalid:
        return True
    engine = DecisionEngine(pack, make_directory())
    if policy_id.startswith("form-") and probe_forms(pack) != probe_forms(default_pack()):
        return True
    likely = sorted(corpus(), key=lambda known: not mentions(known[2], policy_id))
    for facts, decision, _ in likely:
        again = engine.decide_facts(facts)
        if again.model_copy(update={"policy_digest": decision.policy_digest}) != decision:
            return True
    return False


@pytest.mark.timeout(300)
@pytest.mark.parametrize("policy_id", POLICY_IDS)
@pytest.mark.parametrize("how", ["dropped", "inverted"])
def test_a_mutated_policy_is_noticed(policy_id: str, how: str) -> None:
    assert is_noticed(policy_id, how)


CONDITIONAL = [
    p["annotations"]["id"]
    for p in json.loads(POLICIES)["staticPolicies"].values()
    if p["conditions"] and p["annotations"]["id"] != "outside-token"
]
# outside-token without its conditions permits nothing more: the forbid outside-section-16la stops the same deliveries.


@pytest.mark.timeout(300)
@pytest.mark.parametrize("policy_id", CONDITIONAL)
def test_a_policy_without_its_conditions_is_noticed(policy_id: str) -> None:
    assert is_noticed(policy_id, "unconditional")


CLAUSES = [
    (p["annotations"]["id"], number)
    for p in json.loads(POLICIES)["staticPolicies"].values()
    for number in range(len(p["conditions"]))
    if len(p["conditions"]) > 1
]
"""Policies with a ``when`` and an ``unless``: each of the two matters."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("policy_id", "number"), CLAUSES)
def test_a_policy_without_one_of_its_conditions_is_noticed(policy_id: str, number: int) -> None:
    assert is_noticed(policy_id, f"without condition {number}")
