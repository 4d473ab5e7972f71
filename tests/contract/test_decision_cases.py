"""The shared decision cases: facts in, outcome per compartment and rule out (FORMATS 2.2)."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.decisions import DecisionEngine
from broker.decisions.cases import Case, CaseResult, check_cases, load_cases
from deploy.authority.partnership import load_partnership
from schemas.directory import Directory
from tests.support.decisions import default_pack

SAMPLES = Path(__file__).parents[2] / "deploy" / "local" / "samples"
CASES = load_cases(SAMPLES / "decision-cases.yaml")


def make_directory(samples: Path = SAMPLES) -> Directory:
    parts = load_partnership(samples / "partnership.yaml")
    return Directory(
        version=1,
        issued_at=datetime(2026, 11, 1, tzinfo=UTC),
        expires_at=datetime(2027, 11, 1, tzinfo=UTC),
        **dict(parts),
    )


@pytest.fixture(scope="module")
def engine() -> DecisionEngine:
    return DecisionEngine(default_pack(), make_directory())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case_has_its_expected_decision(engine: DecisionEngine, case: Case) -> None:
    result: CaseResult = check_cases(engine, [case])[0]
    assert not result.differences, (case.title, result.differences)


def test_all_sixty_eight_are_checked() -> None:
    assert len(CASES) == 68


def test_a_changed_expectation_is_reported_as_a_difference(engine: DecisionEngine) -> None:
    case = CASES[0]
    changed = Case(case.id, case.title, case.data, {**case.expect, "outcome": "withheld"})
    assert check_cases(engine, [changed])[0].differences == (("outcome", "withheld", "delivered"),)


def test_an_unknown_code_in_a_case_permits_nothing_and_does_not_stop_the_run(engine: DecisionEngine) -> None:
    case = next(c for c in CASES if c.id == "DC-014")
    for part, value in (("state", "perhaps"), ("giver", "neighbour")):
        header = {**case.data["header"], "consent": {**case.data["header"]["consent"], part: value}}
        result = check_cases(engine, [Case("own", "", {**case.data, "header": header}, {})])[0]
        assert result.decision.outcome.value == "withheld"


def test_the_signed_matrix_and_digest_change_no_decision() -> None:
    pack = default_pack()
    signed = make_directory().model_copy(
        update={"matrix": pack.matrix.to_directory_rows(), "policy_digest": pack.digest}
    )
    results = check_cases(DecisionEngine(pack, signed), CASES)
    assert not [(r.case.id, r.differences) for r in results if r.differences]
