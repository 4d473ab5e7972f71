"""What a release that was chosen in the console names: an empty list would release no single heading."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from broker.console.pages.reviews import choose_compartments, has_approved

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


@pytest.mark.parametrize(
    ("named", "asked", "covered"),
    [
        (["C10"], ["C10"], True),
        (["C10"], ["C10", "C12"], False),
        ([], ["C10"], True),
        ([], [], True),
        (["C10"], [], False),
    ],
)
def test_who_has_approved_the_same_is_not_asked_to_sign_again(
    named: list[str], asked: list[str], covered: bool
) -> None:
    now = datetime(2026, 11, 26, tzinfo=UTC)
    mine = {"action": "release", "approver": "ann", "compartments": named, "expires_at": now + timedelta(hours=1)}
    assert bool(has_approved([mine], "ann", asked, now)) is covered
    assert not has_approved([mine], "bob", asked, now)
    assert not has_approved([mine], "ann", asked, now + timedelta(hours=1))
    assert not has_approved([mine | {"action": "refuse"}], "ann", asked, now)
