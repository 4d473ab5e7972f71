# ruff: noqa: S311 - generated cases, not secrets
"""Cedar and an independent plain-Python oracle decide generated headers alike, in every outcome, row, compartment, alert and contact."""

from collections import Counter
from random import Random

import pytest

from broker.decisions import DecisionEngine
from tests.support.decisions import decide_drawn, lay_out, lay_out_expected, make_engine
from tests.support.oracle import Oracle
from tests.support.random_headers import Drawn, draw


def ask_oracle(engine: DecisionEngine, drawn: Drawn) -> dict[str, object]:
    oracle = Oracle(
        drawn.header,
        drawn.header.deliveries[0],
        sender=drawn.sender,
        registers=drawn.registers,
        directory=engine.directory,
        now=drawn.now,
    )
    return lay_out_expected(oracle.decide())


def compare(seed: int, count: int) -> Counter[str]:
    engine, random = make_engine(), Random(seed)
    seen: Counter[str] = Counter()
    for number in range(count):
        drawn = draw(random, engine.directory)
        decided = lay_out(decide_drawn(engine, drawn))
        assert decided == ask_oracle(engine, drawn), (seed, number)
        seen[f"{decided['outcome']} {decided['row']}"] += 1
    return seen


def test_a_thousand_generated_headers_agree() -> None:
    seen = compare(seed=16, count=1000)
    assert len(seen) >= 15, "the generator no longer reaches most outcomes"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(10))
def test_ten_thousand_generated_headers_agree(seed: int) -> None:
    compare(seed=seed, count=1000)


def test_the_comparison_notices_a_difference() -> None:
    engine, random = make_engine(), Random(3)
    other = make_engine(agreements=())
    differing = 0
    for _ in range(60):
        drawn = draw(random, engine.directory)
        differing += lay_out(decide_drawn(other, drawn)) != ask_oracle(engine, drawn)
    assert differing > 10
