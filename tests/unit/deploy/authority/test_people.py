"""In which of their roles a person signs, where they do not say."""

import pytest

from deploy.authority.people import _choose_role

BOTH = ("approver", "partnership_ig_officer")


@pytest.mark.parametrize(
    ("roles", "action", "role"),
    [
        (BOTH, "chronology", "partnership_ig_officer"),
        (BOTH, "erase", "partnership_ig_officer"),
        (BOTH, "release", "approver"),
        (BOTH[::-1], "release", "approver"),
        (("partnership_approver",), "release", "partnership_approver"),
        (("approver",), "chronology", "approver"),
        ((), "release", ""),
    ],
)
def test_the_role_is_one_that_such_an_act_takes(roles: tuple[str, ...], action: str, role: str) -> None:
    assert _choose_role(roles, action) == role
