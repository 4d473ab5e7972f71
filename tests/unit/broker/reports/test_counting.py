"""What facts count as, and that a change of a fact is the difference of what it counts as."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from broker.reports.counting import (
    Cell,
    count_change,
    count_clock,
    count_delivery,
    count_referral,
    name_hours,
    name_skew,
)
from broker.reports.facts import ClockFact, DeliveryFact, ReferralFact, keep_code, keep_slug

AT = datetime(2026, 11, 16, 22, 30, tzinfo=UTC)
ID = UUID(int=1)
REFERRAL = ReferralFact(
    ID, "ref-1", "conversation-1", "police.one", "MISSING", AT, area="E1", event="open", header_known=True,
    grade="low", tool="TOOL 2", assessed_at=AT - timedelta(hours=1), review_due_at=AT - timedelta(minutes=1),
    incident_at=AT - timedelta(minutes=30), art6="c", consent="not_sought", tell="tell", children=True, persons=True,
    flags=("ethnicity_not_recorded", "risk_downgraded"), repeat="first",
)  # fmt: skip
DELIVERY = DeliveryFact(
    ID, "d1", "CP_S47", "E1", "police.one", AT, "csc.one", "csc", "safeguard_child", "delivered", "D3", "delivered", "D3",
    compartments=(("C01", "sent"), ("C10", "held:D12")), strategy_due_at=AT + timedelta(hours=24), released_at=AT,
    hold="open", held_at=AT,
)  # fmt: skip
CLOCK = ClockFact(ID, "risk_review", "", "MISSING", "E1", AT, AT, AT + timedelta(hours=2))


def find(counts: Counter[Cell], measure: str) -> dict[tuple[str, str], int]:
    return {(cell.code, cell.within): n for cell, n in counts.items() if cell.measure == measure}


def test_a_referral_counts_by_its_codes() -> None:
    counts = count_referral(REFERRAL)
    assert find(counts, "referral") == {("", "open"): 1}
    assert find(counts, "new") == {("22", ""): 1}
    assert find(counts, "risk") == {("stale", ""): 1}
    assert find(counts, "voice") == {("not_heard", ""): 1}
    assert find(counts, "ethnicity") == {("flagged", ""): 1}
    assert find(counts, "risk_flag") == {("ethnicity_not_recorded", ""): 1, ("risk_downgraded", ""): 1}
    assert {cell.bucket for cell in counts if cell.code == "incident_to_hub"} == {30}


def test_an_update_is_no_new_referral_and_found_needs_no_assessment() -> None:
    assert find(count_referral(replace(REFERRAL, event="update")), "new") == {}
    assert find(count_referral(replace(REFERRAL, event="found")), "risk") == {}


def test_an_erased_header_is_counted_as_such_and_by_nothing_else() -> None:
    assert {c.measure for c in count_referral(replace(REFERRAL, header_known=False))} == {"referral", "header_erased"}


def test_a_delivery_counts_how_far_it_came() -> None:
    opened = replace(DELIVERY, taken_at=AT + timedelta(minutes=2), opened_at=AT + timedelta(minutes=9))
    assert find(count_delivery(DELIVERY), "reached") == {("open", ""): 1}
    assert find(count_delivery(opened), "reached") == {("opened", ""): 1}
    assert find(count_delivery(DELIVERY), "strategy_ready") == {("csc", "not_opened"): 1}
    assert find(count_delivery(opened), "strategy_ready") == {("csc", "in_time"): 1}
    late = replace(opened, opened_at=AT + timedelta(hours=25))
    assert find(count_delivery(late), "strategy_ready") == {("csc", "late"): 1}
    assert find(count_delivery(opened), "compartment") == {("C01", "sent"): 1, ("C10", "held:D12"): 1}


def test_what_was_not_released_is_not_waited_for() -> None:
    assert find(count_delivery(replace(DELIVERY, outcome="held")), "reached") == {}


def test_a_clock_is_overdue_from_its_due_day_until_it_is_met() -> None:
    late = replace(CLOCK, state="met_late", breached_at=AT + timedelta(hours=3), met_at=AT + timedelta(days=2))
    stock = {cell.day: n for cell, n in count_clock(late).items() if cell.measure == "clock_stock"}
    assert stock == {date(2026, 11, 17): 1, date(2026, 11, 18): -1}
    assert find(count_clock(late), "clock") == {("risk_review", "met_late"): 1}
    assert find(count_clock(CLOCK), "clock_hour") == {("22", "kept"): 1}


def test_a_change_is_the_difference() -> None:
    opened = replace(DELIVERY, opened_at=AT)
    change = count_change(count_delivery(DELIVERY), count_delivery(opened))
    total = count_delivery(DELIVERY)
    total.update(change)
    assert {cell: n for cell, n in total.items() if n} == dict(count_delivery(opened))
    assert not count_change(count_delivery(opened), count_delivery(opened))


def test_what_could_be_free_text_is_not_kept() -> None:
    assert keep_slug("wrong_recipient") == "wrong_recipient"
    assert keep_slug("Told in person by Mrs Example") == "other"
    assert keep_slug(None) == ""
    assert keep_code("MARCH-CHILD 2.1") == "MARCH-CHILD 2.1"
    assert keep_code("a\nb") == "other"


def test_office_hours_are_local_and_skew_only_counts_ahead() -> None:
    assert name_hours(datetime(2026, 7, 1, 7, 30, tzinfo=UTC)) == "office_hours"  # 8:30 in London
    assert name_hours(datetime(2026, 11, 28, 12, tzinfo=UTC)) == "out_of_hours"  # a Saturday
    assert name_skew(timedelta(seconds=-90)) == "not_ahead"
    assert name_skew(timedelta(seconds=90)) == "within_5_minutes"
