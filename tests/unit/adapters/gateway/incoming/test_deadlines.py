"""Deadlines are reckoned from the signed directory, by kind and role, for the recipient alone."""

from datetime import UTC, date, datetime

import pytest

from adapters.gateway.incoming.deadlines import load_rules, reckon_deadlines
from schemas.codes import RiskGrade
from schemas.directory import Agency, BankHoliday, Calendar, Directory, Partnership, Span
from tests.support.envelopes import build_header
from tests.support.receiving import make_verified_directory

FRIDAY_NIGHT = datetime(2026, 12, 18, 22, 0, tzinfo=UTC)
POLICY = {
    "office_closes": "17:00",
    "clocks": {
        "la_acknowledgement": {"working_days": 1},
        "strategy_discussion": {"hours": 24},
        "mash_triage": {"high": {"hours": 24}, "medium": {"hours": 48}, "otherwise": {"working_days": 2}},
    },
}


def make_directory() -> Directory:
    base = make_verified_directory().directory
    school = Agency(
        id="school.one", name="One", kind="education", roles=("dsl",), area="E06000001", public_body=True,
        s16la_body=True, calendar="one",
    )  # fmt: skip
    term = Span(first=date(2027, 1, 4), last=date(2027, 3, 25))
    calendar = Calendar(id="one", day_starts="08:40", terms=(term,), inset_days=(date(2027, 1, 4),))  # type: ignore[arg-type]
    return base.model_copy(
        update={
            "partnership": Partnership(id="test"),
            "local_policy": POLICY,
            "agencies": (school,),
            "calendars": (calendar,),
            "bank_holidays": (BankHoliday(date=date(2026, 12, 25)), BankHoliday(date=date(2026, 12, 28))),
        }
    )


def reckon(kind: str, role: str, grade: str | None = "high") -> dict[str, datetime]:
    header = build_header()
    risk = header.risk.model_copy(update={"grade": RiskGrade(grade)}) if grade is not None else None
    found = reckon_deadlines(
        header.case.model_copy(update={"kind": kind}),
        risk,
        role=role,
        recipient="school.one",
        starts_at=FRIDAY_NIGHT,
        directory=make_directory(),
    )
    return {deadline.clock: deadline.due_at.astimezone(UTC) for deadline in found}


def test_working_days_skip_the_weekend_and_hours_do_not() -> None:
    assert reckon("CP_S47", "csc") == {
        "strategy_discussion": datetime(2026, 12, 19, 22, 0, tzinfo=UTC),
        "la_acknowledgement": datetime(2026, 12, 21, 17, 0, tzinfo=UTC),
    }


@pytest.mark.parametrize(
    ("grade", "due"),
    [
        ("high", datetime(2026, 12, 19, 22, 0, tzinfo=UTC)),
        ("medium", datetime(2026, 12, 20, 22, 0, tzinfo=UTC)),
        ("low", datetime(2026, 12, 22, 17, 0, tzinfo=UTC)),
    ],
)
def test_triage_goes_by_grade(grade: str, due: datetime) -> None:
    assert reckon("PPN", "csc", grade) == {"mash_triage": due}


def test_triage_of_a_grade_that_is_not_shared_takes_the_common_time() -> None:
    assert reckon("PPN", "csc", None) == reckon("PPN", "csc", "low")


def test_encompass_goes_by_the_schools_own_calendar() -> None:
    assert reckon("ENCOMPASS", "dsl") == {"encompass_delivery": datetime(2027, 1, 5, 8, 40, tzinfo=UTC)}


@pytest.mark.parametrize(("kind", "role"), [("CP_S47", "dsl"), ("CORRECTION", "csc"), ("NEW_KIND", "csc")])
def test_another_role_or_kind_has_none(kind: str, role: str) -> None:
    assert reckon(kind, role) == {}


def test_a_clock_without_a_number_in_local_policy_is_left_out() -> None:
    assert any(rule.clock == "idva_contact" for rule in load_rules())
    assert reckon("DA_MARAC", "idva") == {}
