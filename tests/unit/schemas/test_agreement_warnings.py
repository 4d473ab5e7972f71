"""An agreement's owner hears 60 and 30 days before it ends, and of a review that is overdue."""

from datetime import date, timedelta

import pytest

from schemas.agreement_warnings import list_agreement_warnings, list_due_warnings
from schemas.directory import Agreement

TODAY = date(2026, 11, 20)


def make_agreement(ends_in: int, *, starts_in: int = -100, review_in: int | None = None) -> Agreement:
    return Agreement(
        id="DSA-01",
        parties=("police.marchshire", "csc.marchshire"),
        purposes=("safeguard_child",),
        kinds=("CP_S47",),
        starts_on=TODAY + timedelta(days=starts_in),
        ends_on=TODAY + timedelta(days=ends_in),
        review_on=None if review_in is None else TODAY + timedelta(days=review_in),
        owner="csc.marchshire",
    )


@pytest.mark.parametrize(
    ("ends_in", "said"),
    [
        (61, None),
        (60, "ends in 60 days"),
        (31, "ends in 31 days"),
        (30, "Renew it now"),
        (0, "ends in 0 days"),
        (-1, "is rejected"),
    ],
)
def test_the_end_is_announced_twice(ends_in: int, said: str | None) -> None:
    found = list_agreement_warnings([make_agreement(ends_in)], TODAY)
    assert (said is None) == (found == [])
    if said is not None:
        assert said in found[0]
        assert "owner csc.marchshire" in found[0]


def test_what_has_not_begun_and_what_is_due_for_review() -> None:
    assert "not in force before" in list_agreement_warnings([make_agreement(300, starts_in=5)], TODAY)[0]
    assert "due for review" in list_agreement_warnings([make_agreement(300, review_in=-1)], TODAY)[0]
    assert list_agreement_warnings([make_agreement(300, review_in=0)], TODAY) == []


def test_the_most_urgent_comes_first() -> None:
    found = list_agreement_warnings([make_agreement(50), make_agreement(3), make_agreement(-2)], TODAY)
    assert ["is rejected" in found[0], "Renew it now" in found[1], len(found)] == [True, True, 3]


@pytest.mark.parametrize(
    ("ends_in", "review_in", "codes"),
    [
        (61, None, []),
        (60, None, ["ends_in_60_days"]),
        (31, None, ["ends_in_60_days"]),
        (30, None, ["ends_in_30_days"]),
        (0, None, ["ends_in_30_days"]),
        (-1, None, ["ended"]),
        (-7, None, ["ended"]),
        (-8, None, []),
        (300, 0, []),
        (300, -1, ["review_overdue"]),
        (300, -8, []),
        (20, -1, ["ends_in_30_days", "review_overdue"]),
        (-1, -1, ["ended"]),
    ],
)
def test_what_is_news_of_an_agreement(ends_in: int, review_in: int | None, codes: list[str]) -> None:
    found = list_due_warnings([make_agreement(ends_in, review_in=review_in)], TODAY)
    assert [(w.code, w.owner) for w in found] == [(code, "csc.marchshire") for code in codes]
