from datetime import UTC, datetime

from broker.status import HubStatus

WELL = HubStatus(
    directory_version=3,
    directory_expires_at=datetime(2026, 12, 1, tzinfo=UTC),
    log_size=10,
    log_checkpoint_at=None,
    messages=2,
    deliveries_by_state={"open": 1},
    outbox_waiting={"delivery": 1},
    outbox_overdue={},
    holds_open=1,
    holds_overdue=0,
    quarantine_open=0,
    quarantine_security=0,
)


def test_all_well_says_nothing() -> None:
    assert WELL.list_concerns() == []


def test_forgeries_come_before_ordinary_quarantine() -> None:
    from dataclasses import replace

    concerns = replace(WELL, quarantine_open=4, quarantine_security=1, outbox_overdue={"notice": 2}).list_concerns()
    assert concerns == [
        "1 messages in quarantine look like forgeries.",
        "2 messages are due and not published: is a worker running?",
    ]
