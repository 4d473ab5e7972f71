"""Bands of months, repeats and newer assessments."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from broker.reports.facts import ReferralFact
from broker.reports.reading import Earlier, name_months, name_reassessed, name_repeat, read_stored_header

AT = datetime(2026, 5, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("then", "band"),
    [
        (datetime(2026, 2, 28, 12, tzinfo=UTC), "later"),
        (datetime(2026, 3, 31, 12, tzinfo=UTC), "within_3"),
    ],
)
def test_months_are_calendar_months(then: datetime, band: str) -> None:
    later = then + timedelta(days=400) if band == "later" else datetime(2026, 6, 30, 12, tzinfo=UTC)
    assert name_months(then, later) == band
    assert name_months(AT, datetime(2026, 8, 31, 12, tzinfo=UTC)) == "within_3"
    assert name_months(AT, datetime(2026, 8, 31, 12, 1, tzinfo=UTC)) == "within_6"


def test_a_repeat_looks_at_new_referrals_alone() -> None:
    earlier = [
        Earlier(UUID(int=1), AT - timedelta(days=200), is_new=True),
        Earlier(UUID(int=2), AT - timedelta(days=2), is_new=False),
    ]
    assert name_repeat(AT, earlier, has_token=True) == "within_12"
    assert name_repeat(AT, [], has_token=True) == "first"
    assert name_repeat(AT, [], has_token=False) == "no_token"


def test_reassessed_means_a_newer_assessment() -> None:
    def make(kind: str, assessed_at: datetime | None) -> ReferralFact:
        return ReferralFact(UUID(int=1), "r", "c", "police.one", kind, AT, header_known=True, assessed_at=assessed_at)

    first = make("CP_S47", AT)
    assert name_reassessed(make("UPDATE", AT + timedelta(hours=1)), [first]) == "yes"
    assert name_reassessed(make("UPDATE", AT), [first]) == "no"
    assert name_reassessed(make("UPDATE", None), [first]) == "none"
    assert name_reassessed(make("UPDATE", AT), []) == ""
    assert name_reassessed(make("CP_S47", AT), [first]) == ""


def test_an_erased_body_has_no_header() -> None:
    assert read_stored_header(None, b"") is None
    assert read_stored_header(b"erased", b"\0" * 32) is None
