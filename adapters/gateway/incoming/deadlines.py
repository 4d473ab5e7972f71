"""The deadlines that a received referral sets for its recipient, reckoned from the signed directory's calendars and local policy.

They help whoever reads the referral. The hub's clocks are the ones that count: they know facts that recipients do not.
"""

from collections.abc import Mapping
from datetime import datetime, time
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from adapters.gateway.incoming.received import Deadline
from schemas import calendars
from schemas.directory import Directory
from schemas.header import CaseFacts, RiskFacts
from schemas.plain_yaml import read_yaml


class DeadlineRule(BaseModel):
    """One line of ``deadlines.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clock: str
    kinds: frozenset[str]
    roles: frozenset[str] | Literal["any"]
    due: Literal["next_school_day"] | None = None

    def binds(self, kind: str, role: str) -> bool:
        """Whether this clock binds a recipient of that role for that kind."""
        return kind in self.kinds and (self.roles == "any" or role in self.roles)


def reckon_deadlines(
    case: CaseFacts,
    risk: RiskFacts | None,
    *,
    role: str,
    recipient: str,
    starts_at: datetime,
    directory: Directory,
) -> tuple[Deadline, ...]:
    """Return the recipient's deadlines, earliest first. ``starts_at`` is when the log says that it was decided.

    Where a clock depends on a grade that was not shared, the time for every other grade counts, and there is none if policy names none.
    """
    found = []
    for rule in load_rules():
        if rule.binds(case.kind, role):
            due_at = _find_due(rule, risk, recipient, starts_at, directory)
            if due_at is not None:
                found.append(Deadline(clock=rule.clock, due_at=due_at, starts_at=starts_at))
    return tuple(sorted(found, key=lambda deadline: deadline.due_at))


@lru_cache(maxsize=1)
def load_rules() -> tuple[DeadlineRule, ...]:
    """Load the rules that ship with Safelane (read once)."""
    data: Any = read_yaml(files(__package__).joinpath("deadlines.yaml").read_text(encoding="utf-8"))
    return tuple(DeadlineRule.model_validate(line) for line in data)


def _find_due(
    rule: DeadlineRule, risk: RiskFacts | None, recipient: str, starts_at: datetime, directory: Directory
) -> datetime | None:
    zone = ZoneInfo(directory.partnership.timezone)
    holidays = frozenset(holiday.date for holiday in directory.bank_holidays)
    if rule.due == "next_school_day":
        agency = directory.find_agency(recipient)
        school = next((c for c in directory.calendars if agency is not None and c.id == agency.calendar), None)
        return calendars.find_next_school_start(starts_at, school, holidays, zone) if school is not None else None
    setting = directory.local_policy.get("clocks", {}).get(rule.clock)
    if not isinstance(setting, Mapping):
        return None
    grade = risk.grade.value if risk is not None else None
    if grade in setting or "otherwise" in setting:
        setting = setting.get(grade, setting.get("otherwise", {}))
    if "hours" in setting:
        return calendars.due_after_hours(starts_at, setting["hours"])
    if "working_days" in setting:
        closes = time.fromisoformat(str(directory.local_policy.get("office_closes", "17:00")))
        return calendars.due_after_working_days(
            starts_at, setting["working_days"], closes=closes, bank_holidays=holidays, zone=zone
        )
    return None
