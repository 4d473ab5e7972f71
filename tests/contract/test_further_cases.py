"""Decision cases beyond the shared ones, expectations written by hand from the text; and every cell of the matrix, for every kind and role."""

from dataclasses import replace
from pathlib import Path

import pytest

from broker.decisions import DecisionEngine
from broker.decisions.case_facts import build_case_facts
from broker.decisions.cases import Case, check_cases, load_cases
from schemas.codes import Compartment, CompartmentResult
from tests.contract.test_decision_cases import make_directory
from tests.support.decisions import default_pack
from tests.support.oracle import COLUMNS, FORM, KINDS, cells_for

CASES = [
    case
    for name in ("further-decision-cases.yaml", "rarer-decision-cases.yaml")
    for case in load_cases(Path(__file__).with_name(name))
]
ROLES = default_pack().matrix.roles


@pytest.fixture(scope="module")
def engine() -> DecisionEngine:
    return DecisionEngine(default_pack(), make_directory())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case_has_the_decision_that_the_text_says(engine: DecisionEngine, case: Case) -> None:
    (result,) = check_cases(engine, [case])
    assert not result.differences, (case.title, result.differences)


def test_the_cases_are_many_and_different() -> None:
    assert len(CASES) >= 200
    assert len({case.id for case in CASES}) == len({case.title for case in CASES}) == len(CASES)
    assert len({(c.data["header"]["kind"], c.data["recipient"]["role"]) for c in CASES}) >= 35


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_cell_of_the_matrix_is_as_printed(engine: DecisionEngine, kind: str, role: str) -> None:
    """Approved, covered by a token and with a statutory task, each compartment goes in exactly its cell's form, or not at all."""
    facts = replace(
        build_case_facts("plain", CASES[0].data, engine),
        kind=kind,
        role=role,
        purpose="safeguard_child",
        basis="c",
        recipient_s16la=True,
        recipient_mappa="responsible_authority",
        agreement="in_force",
        conflict=False,
        embargo=False,
        statutory_task=True,
        token=True,
        signature_valid=True,
        recipient_known=True,
        compartments=tuple(c.value for c in Compartment),
        approved=frozenset(c.value for c in Compartment),
        barred=frozenset(),
        holds=frozenset({"child_subject"}),
    )
    cells = cells_for(kind, role, about_a_child=True)
    found = engine.decide_facts(facts).compartments
    for code in COLUMNS:
        cell = cells[code] if cells else "-"
        closed = cell == "-" or (code == "C11" and role not in {"csc", "csc_mace", "csc_named", "nrm"})
        wanted = CompartmentResult.WITHHELD.value if closed else FORM[cell]
        assert (kind, role, code, found[Compartment(code)].result.value) == (kind, role, code, wanted)
