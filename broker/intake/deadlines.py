"""Until when a person must act: ``local_policy.human_queue_limit`` of the directory (FORMATS CH-20)."""

from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from schemas.codes import RiskGrade
from schemas.directory import Directory
from schemas.errors import ConfigInvalid

_DEFAULT: dict[str, Any] = {"working_days": 1}


def find_queue_deadline(directory: Directory, grade: RiskGrade, immediate_danger: bool, now: datetime) -> datetime:  # noqa: FBT001
    """Return the instant at which a hold made at ``now`` is overdue. Immediate danger counts as the highest grade.

    Raises:
        ConfigInvalid: the limit of the directory is not of its form.
    """
    limits = directory.local_policy.get("human_queue_limit", {})
    key = RiskGrade.HIGH.value if immediate_danger else grade.value
    limit = limits.get(key, limits.get("otherwise", _DEFAULT))
    if "hours" in limit:
        return now + timedelta(hours=int(limit["hours"]))
    if "working_days" not in limit:
        raise ConfigInvalid("must be hours or working_days", field="local_policy.human_queue_limit")
    return _after_working_days(directory, int(limit["working_days"]), now)


def _after_working_days(directory: Directory, days: int, now: datetime) -> datetime:
    zone = ZoneInfo(directory.partnership.timezone)
    holidays = {holiday.date for holiday in directory.bank_holidays}
    closes = time.fromisoformat(str(directory.local_policy.get("office_closes", "17:00")))
    day = now.astimezone(zone).date()
    while days > 0:
        day += timedelta(days=1)
        if day.weekday() < 5 and day not in holidays:
            days -= 1
    return datetime.combine(day, closes, zone).astimezone(now.tzinfo)
