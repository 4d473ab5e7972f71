from datetime import UTC, date, datetime, timedelta

import pytest

from broker.intake.deadlines import find_queue_deadline
from schemas.codes import RiskGrade
from schemas.directory import BankHoliday, Directory, Partnership
from schemas.errors import ConfigInvalid

LIMITS = {"high": {"hours": 1}, "medium": {"hours": 4}, "otherwise": {"working_days": 1}}
FRIDAY = datetime(2026, 12, 18, 22, 30, tzinfo=UTC)


def directory(limits: object = LIMITS, holidays: tuple[date, ...] = ()) -> Directory:
    return Directory(
        version=1,
        issued_at=FRIDAY,
        expires_at=FRIDAY + timedelta(days=30),
        partnership=Partnership(id="p"),
        agencies=(),
        bank_holidays=tuple(BankHoliday(date=day) for day in holidays),
        local_policy={"human_queue_limit": limits, "office_closes": "17:00"},
    )


@pytest.mark.parametrize(
    ("grade", "danger", "expected"),
    [
        (RiskGrade.HIGH, False, FRIDAY + timedelta(hours=1)),
        (RiskGrade.MEDIUM, False, FRIDAY + timedelta(hours=4)),
        (RiskGrade.LOW, True, FRIDAY + timedelta(hours=1)),
        (RiskGrade.STANDARD, False, datetime(2026, 12, 21, 17, 0, tzinfo=UTC)),
    ],
)
def test_the_limit_follows_the_grade_and_danger_counts_as_high(
    grade: RiskGrade, danger: bool, expected: datetime
) -> None:
    assert find_queue_deadline(directory(), grade, danger, FRIDAY) == expected


def test_a_bank_holiday_is_no_working_day() -> None:
    holidays = (date(2026, 12, 21), date(2026, 12, 22))
    found = find_queue_deadline(directory(holidays=holidays), RiskGrade.LOW, False, FRIDAY)
    assert found == datetime(2026, 12, 23, 17, 0, tzinfo=UTC)


def test_five_o_clock_is_local_in_summer() -> None:
    found = find_queue_deadline(directory(), RiskGrade.LOW, False, datetime(2026, 7, 1, 8, 0, tzinfo=UTC))
    assert found == datetime(2026, 7, 2, 16, 0, tzinfo=UTC)


def test_a_limit_of_another_form_is_refused() -> None:
    with pytest.raises(ConfigInvalid):
        find_queue_deadline(directory({"otherwise": {"weeks": 1}}), RiskGrade.LOW, False, FRIDAY)
