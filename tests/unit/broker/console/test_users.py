"""Which roles go together, and that an inspector's account ends."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from broker.console import users
from broker.console.access import Role
from broker.console.users import User
from schemas.errors import MalformedMessage, NotPermitted

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("roles", "agency", "days"),
    [
        ({Role.AUDITOR}, None, None),
        ({Role.AUDITOR, Role.IG_OFFICER}, "csc.marchshire", 400),
        ({Role.INSPECTOR}, None, 42),
        ({Role.OPERATOR, Role.AUDITOR}, None, None),
    ],
)
def test_what_goes_together(roles: set[Role], agency: str | None, days: int | None) -> None:
    users.check_roles(roles, agency, NOW + timedelta(days=days) if days else None, NOW)


@pytest.mark.parametrize(
    ("roles", "agency", "days"),
    [
        (set(), None, None),
        ({Role.OPERATOR}, "csc.marchshire", None),
        ({Role.INSPECTOR}, "csc.marchshire", 5),
        ({Role.INSPECTOR}, None, None),
        ({Role.INSPECTOR}, None, 43),
        ({Role.INSPECTOR, Role.AUDITOR}, None, 5),
        ({Role.AUDITOR}, None, -1),
    ],
)
def test_what_does_not(roles: set[Role], agency: str | None, days: int | None) -> None:
    with pytest.raises(MalformedMessage):
        users.check_roles(roles, agency, NOW + timedelta(days=days) if days else None, NOW)


async def test_nobody_changes_their_own_account() -> None:
    own = User(uuid4(), "ann", "Ann", None, None, "active", None, NOW, True, (Role.OPERATOR,), 0, 0, None)
    with pytest.raises(NotPermitted):
        await users.disable_user(None, None, own, by=own.user_id, now=NOW)  # type: ignore[arg-type]
    with pytest.raises(NotPermitted):
        await users.reset_user(None, None, own, by=str(own.user_id), now=NOW)  # type: ignore[arg-type]
    with pytest.raises(NotPermitted):
        await users.change_roles(None, None, own, frozenset({Role.AUDITOR}), by=own.user_id, now=NOW)  # type: ignore[arg-type]
