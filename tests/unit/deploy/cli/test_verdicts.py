"""Instants and clocks as the command line shows them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from deploy.cli.verdicts import describe_referral, show_minute

SUMMER = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    "instant",
    [
        "2026-11-26T13:05:59+00:00",
        "2026-11-26T13:05:00Z",
        "2026-11-26T14:05:59.123456+01:00",
        datetime(2026, 11, 26, 13, 5, 30, tzinfo=UTC),
        datetime(2026, 11, 26, 14, 5, tzinfo=SUMMER),
    ],
)
def test_an_instant_is_shown_to_the_minute_in_utc(instant: str | datetime) -> None:
    assert show_minute(instant) == "2026-11-26 13:05 UTC"
    assert show_minute(None) == "unknown"


def test_a_clock_says_what_must_happen() -> None:
    clock = {
        "clock": "la_acknowledgement",
        "recipients": ["csc.marchshire"],
        "state": "running",
        "due_at": "2026-11-26T13:05:00Z",
        "assumption": "one working day",
    }
    view = {
        "referral_id": "ref-1",
        "kind": "CP_S47",
        "state": "accepted",
        "changed_at": None,
        "deliveries": [],
        "clocks": [clock],
    }
    assert list(describe_referral(view))[-1] == (
        "  clock la_acknowledgement (csc.marchshire): running, due 2026-11-26 13:05 UTC."
        " The local authority acknowledges the referral and decides what happens next; one working day"
    )
