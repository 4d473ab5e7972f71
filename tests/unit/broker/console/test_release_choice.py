"""What a release that was chosen in the console names: an empty list would release no single heading."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.console.pages.reviews import choose_compartments, has_approved, list_actions, tell_why
from broker.registry.packs import InstalledPack, PackShelf

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


def test_why_a_line_waits_is_the_rule_of_the_part_that_stayed() -> None:
    installed = InstalledPack.load(None, None)
    shelf, digest = PackShelf(installed), installed.pack.digest
    wanting = next(name for name in installed.pack.policies if installed.pack.wants_a_person(name))
    sent = {"result": "full", "row": "D3", "reason": "It is a duty.", "policy": "statutory-duty"}
    held = {"result": "held", "row": "D12", "reason": "A source.", "policy": "source-identity"}
    stays = {"result": "withheld", "row": "D12", "reason": "A source stays.", "policy": wanting}

    def make(outcome: str = "delivered", review: str = "hold", **compartments: Any) -> dict[str, Any]:
        decision = {"outcome": outcome, "policy_digest": digest, "compartments": {"C01": sent, **compartments}}
        return {"review": review, "row": "D3", "reason": "It is a duty.", "decision": json.dumps(decision)}

    assert tell_why(make(C10=held), shelf) == "A source. Rule D12."
    assert tell_why(make(C10=stays), shelf).startswith("A source stays. Rule D12. It cannot be released to them")
    assert tell_why(make(C09=held | {"reason": "A token."}, C10=stays), shelf) == "A token. Rule D12."
    assert tell_why(make(outcome="held", C10=held), shelf) == "It is a duty. Rule D3."
    assert tell_why(make(review="break_glass"), shelf) == "It is a duty. Rule D3."
    assert tell_why({"review": "hold", "row": "", "reason": "Late.", "decision": None}, shelf) == "Late."


@pytest.mark.parametrize(
    ("verdict", "state", "actions"),
    [
        ("held", "accepted", ["release", "refuse"]),
        ("withheld", "accepted", ["refuse"]),
        ("withheld", "undeliverable", ["release", "refuse"]),
    ],
)
def test_a_release_is_offered_only_where_something_can_be_released(
    verdict: str, state: str, actions: list[str]
) -> None:
    row = make_row({"C10": (verdict, "D12")}, "D3") | {"review": "hold", "delivery_state": state}
    assert list_actions(row) == actions
    assert list_actions(row | {"review": "break_glass"}) == ["review_break_glass"]
