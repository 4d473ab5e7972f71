"""What a release that was chosen in the console names: an empty list would release no single heading."""

import json

import pytest

from broker.console.pages.reviews import choose_compartments

HELD_ALONE = {"C01": ("full", "D3"), "C10": ("held", "D12"), "C12": ("held", "D13"), "C14": ("withheld", "D4")}
HELD_WHOLE = {"C01": ("held", "D9"), "C04": ("held", "D9")}


def make_row(verdicts: dict[str, tuple[str, str]], rule: str) -> dict[str, str]:
    cells = {code: {"result": result, "row": row, "reason": "why"} for code, (result, row) in verdicts.items()}
    return {"row": rule, "decision": json.dumps({"compartments": cells})}


@pytest.mark.parametrize(
    ("verdicts", "rule", "chosen", "named"),
    [
        (HELD_ALONE, "D3", [], ["C10", "C12"]),
        (HELD_ALONE, "D3", ["C12"], ["C12"]),
        (HELD_WHOLE, "D9", [], []),
        (HELD_WHOLE, "D9", ["C01"], []),
    ],
    ids=["none chosen", "one chosen", "the whole delivery waits", "the whole waits whatever is chosen"],
)
def test_none_chosen_means_all_that_is_held(
    verdicts: dict[str, tuple[str, str]], rule: str, chosen: list[str], named: list[str]
) -> None:
    assert choose_compartments(make_row(verdicts, rule), chosen) == named


def test_an_undelivered_one_without_a_decision_is_released_whole() -> None:
    assert choose_compartments({"row": "", "decision": None}, []) == []
