"""To which state a delivery's decisions move it, by ``fsck``: each history allows one state, and any other is found."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from broker.log.fsck_states import check_states

STATES = {"open", "accepted", "held", "withheld", "rejected"}
MESSAGE = UUID("0192f0a0-0000-7000-8000-000000000001")

Later = tuple[str, bool, bool]
"""Outcome, whether something was released, whether it was decided at a collection."""


class OneRow:
    """A connection that has one delivery."""

    def __init__(self, row: dict[str, Any]) -> None:
        self._rows = [[row]]

    async def fetch(self, *_: Any) -> list[dict[str, Any]]:
        return self._rows.pop() if self._rows else []


async def list_wrong(state: str, first: tuple[str, bool], later: Sequence[Later], *, promised: bool) -> list[str]:
    outcomes, releases, collects = ([decision[n] for decision in later] for n in range(3))
    row = {
        "message_id": MESSAGE,
        "delivery_id": "delivery-000000000001",
        "state": state,
        "last_receipt": None,
        "decided": True,
        "outcome": first[0],
        "gone": first[1],
        "numbers": len(later),
        "outcomes": outcomes,
        "releases": releases,
        "collects": collects,
        "promised": promised,
        "receipt_states": [],
        "receipt_digests": [],
        "waits": True,
        "must_wait": False,
        "reviewed": False,
        "must_be_reviewed": False,
        "undelivered": False,
    }
    found: list[str] = []
    await check_states(OneRow(row), lambda code, _: found.append(code))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("first", "later", "promised", "right"),
    [
        (("delivered", True), [], False, "open"),
        (("held", False), [], False, "held"),
        (("held", False), [("delivered", True, False)], False, "open"),
        (("held", False), [("withheld", False, False)], False, "withheld"),
        # What has gone does not come back, whatever is decided later.
        (("delivered", True), [("held", False, False)], False, "open"),
        (("held", False), [("delivered", True, False), ("withheld", False, False)], False, "open"),
        # What a ticket promised can be withheld until it is collected.
        (("delivered", True), [("withheld", False, False)], True, "withheld"),
        (("delivered", True), [("withheld", False, True)], True, "withheld"),
        (("delivered", True), [("delivered", True, True), ("withheld", False, False)], True, "open"),
        (("delivered", True), [("withheld", False, False), ("delivered", True, False)], True, "open"),
    ],
)
async def test_each_history_allows_one_state(
    first: tuple[str, bool], later: list[Later], promised: bool, right: str
) -> None:
    for state in STATES:
        wrong = await list_wrong(state, first, later, promised=promised)
        assert wrong == ([] if state == right else ["delivery-state-wrong"]), state
