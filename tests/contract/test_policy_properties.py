# ruff: noqa: S311 - generated cases, not secrets
"""Properties of every decision: less ground never widens a release, a conflict never widens it, an unknown value never permits."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

import pytest

from broker.decisions import DecisionEngine, DecisionFacts
from broker.decisions.header_facts import build_facts
from broker.decisions.registers import Registers
from schemas.codes import Compartment, CompartmentResult, DeliveryOutcome
from schemas.decision import SENT
from schemas.header import ConflictOfInterest, ConsentFacts, PolicyFacts
from tests.support.decisions import decide_drawn, is_no_wider, make_directory, make_engine
from tests.support.random_headers import Drawn, draw

COUNT = 150


@pytest.fixture(scope="module")
def engine() -> DecisionEngine:
    return make_engine()


def draw_many(engine: DecisionEngine, seed: int, count: int = COUNT) -> Iterator[Drawn]:
    random = Random(seed)
    for _ in range(count):
        yield draw(random, engine.directory)


def with_policy(drawn: Drawn, **changes: object) -> Drawn:
    policy: PolicyFacts = drawn.header.policy.model_copy(update=changes)
    return replace(drawn, header=drawn.header.model_copy(update={"policy": policy}))


def count_narrowed(engine: DecisionEngine, seed: int, change: Callable[[Drawn], Drawn]) -> int:
    narrowed = 0
    for number, drawn in enumerate(draw_many(engine, seed)):
        before, after = decide_drawn(engine, drawn), decide_drawn(engine, change(drawn))
        assert is_no_wider(after, before), (seed, number)
        narrowed += not is_no_wider(before, after)
    return narrowed


def test_removing_consent_never_widens(engine: DecisionEngine) -> None:
    assert count_narrowed(engine, 1, lambda d: with_policy(d, consent=ConsentFacts()))


def test_removing_approvals_never_widens(engine: DecisionEngine) -> None:
    assert count_narrowed(engine, 2, lambda d: replace(d, registers=replace(d.registers, approvals=())))


def test_removing_tokens_never_widens(engine: DecisionEngine) -> None:
    def take(drawn: Drawn) -> Drawn:
        return replace(with_policy(drawn, tokens=()), registers=replace(drawn.registers, tokens=()))

    assert count_narrowed(engine, 3, take)


def test_removing_break_glass_never_widens(engine: DecisionEngine) -> None:
    def take(drawn: Drawn) -> Drawn:
        return replace(with_policy(drawn, break_glass=None), registers=replace(drawn.registers, break_glass=None))

    assert count_narrowed(engine, 4, take)


@pytest.mark.parametrize("contact", [None, "mash-duty", "dsl", "interviews"])
def test_adding_a_conflict_never_widens(engine: DecisionEngine, contact: str | None) -> None:
    def add(drawn: Drawn) -> Drawn:
        agency = drawn.header.deliveries[0].agency
        conflicts = (*drawn.header.policy.conflicts, ConflictOfInterest(agency=agency, contact=contact))
        return with_policy(drawn, conflicts=conflicts)

    narrowed = count_narrowed(engine, 5, add)
    assert narrowed or contact is not None


def test_removing_the_agreements_never_widens(engine: DecisionEngine) -> None:
    bare = make_engine(agreements=())
    narrowed = 0
    for drawn in draw_many(engine, 6):
        before, after = decide_drawn(engine, drawn), decide_drawn(bare, drawn)
        assert is_no_wider(after, before)
        narrowed += not is_no_wider(before, after)
    assert narrowed


def test_removing_a_role_never_widens(engine: DecisionEngine) -> None:
    directory = make_directory()
    narrowed = 0
    for drawn in draw_many(engine, 7, 80):
        wanted = drawn.header.deliveries[0]
        agencies = tuple(
            a.model_copy(update={"roles": tuple(r for r in a.roles if r != wanted.role)})
            if a.id == wanted.agency
            else a
            for a in directory.agencies
        )
        before = decide_drawn(engine, drawn)
        after = decide_drawn(DecisionEngine(engine.pack, directory.model_copy(update={"agencies": agencies})), drawn)
        assert is_no_wider(after, before)
        assert not any(c.result in SENT for c in after.compartments.values())
        narrowed += not is_no_wider(before, after)
    assert narrowed


def draw_facts(
    engine: DecisionEngine, seed: int, count: int = COUNT, about: Compartment | None = None
) -> Iterator[DecisionFacts]:
    """Yield facts on which something is sent; of those that ask for ``about`` alone, where it is given."""
    for drawn in draw_many(engine, seed, count):
        delivery = drawn.header.deliveries[0]
        facts = build_facts(
            drawn.header,
            delivery,
            sender=drawn.sender,
            registers=Registers(),
            directory=engine.directory,
            pack=engine.pack,
            now=drawn.now,
        )
        if about is not None and about.value not in facts.compartments:
            continue
        if any(c.result in SENT for c in engine.decide_facts(facts).compartments.values()):
            yield facts


@pytest.mark.parametrize("name", ["kind", "purpose", "role", "grade", "basis", "agreement"])
def test_an_unknown_value_never_permits(engine: DecisionEngine, name: str) -> None:
    tried = 0
    for facts in draw_facts(engine, 8):
        changed = replace(facts, **{name: "not-in-any-list"})
        if name == "agreement" and changed.break_glass.reason_given:
            continue  # break-glass lifts any state of an agreement (FORMATS CH-14)
        decision = engine.decide_facts(changed)
        assert not any(c.result in SENT for c in decision.compartments.values()), name
        tried += 1
    assert tried > 20


def test_an_unknown_consent_state_never_permits(engine: DecisionEngine) -> None:
    for facts in draw_facts(engine, 9):
        decision = engine.decide_facts(replace(facts, consent=replace(facts.consent, state="perhaps")))
        assert not any(c.result in SENT for c in decision.compartments.values())
        assert decision.queue


def test_an_unknown_giver_never_permits_what_depends_on_choice(engine: DecisionEngine) -> None:
    tried = 0
    for plain in draw_facts(engine, 10):
        given = replace(
            plain.consent, state="given", giver="adult_subject", giver_suspected=False, covers_delivery=True
        )
        facts = replace(plain, purpose="idva_support", consent=replace(given, covers_every_compartment=True))
        if not any(c.result in SENT for c in engine.decide_facts(facts).compartments.values()):
            continue
        decision = engine.decide_facts(replace(facts, consent=replace(facts.consent, giver="neighbour")))
        assert not any(c.result in SENT for c in decision.compartments.values())
        tried += 1
    assert tried > 5


def test_an_unknown_mappa_status_is_a_third_party(engine: DecisionEngine) -> None:
    tried = 0
    for facts in draw_facts(engine, 11, 600, Compartment.C09):
        changed = replace(facts, recipient_mappa="friendly", token=False)
        assert engine.decide_facts(changed).compartments[Compartment.C09].result not in SENT
        tried += 1
    assert tried > 20


def test_nothing_that_policy_stops_is_dropped(engine: DecisionEngine) -> None:
    """What a person must decide is marked for a queue; the rest is final; both with the rule, the reason and its authority, for the sender."""
    seen: set[tuple[str, bool]] = set()
    for drawn in draw_many(engine, 12, 600):
        decision = decide_drawn(engine, drawn)
        assert set(decision.compartments) == set(drawn.header.policy.compartments)
        assert decision.row, decision.policy
        assert decision.reason, decision.policy
        for found in decision.compartments.values():
            assert found.row, found.policy
            assert found.reason, found.policy
            assert found.authority, found.policy
            if found.result is CompartmentResult.HELD or (
                found.result not in SENT and engine.pack.wants_a_person(found.policy)
            ):
                assert decision.queue, found.policy
        stopped = not any(c.result in SENT for c in decision.compartments.values())
        assert stopped == (decision.outcome is not DeliveryOutcome.DELIVERED)
        seen.add((decision.outcome.value, decision.queue))
    assert seen >= {("held", True), ("withheld", True), ("withheld", False), ("rejected", False), ("delivered", True)}
