"""A year of clocks in seconds, against a reckoning of its own; and what no order of events may do to a clock."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from heapq import heapify, heappop
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.decisions.clocks import Clock, find_due
from broker.decisions.running import (
    ClockState,
    RunningClock,
    breach_clock,
    meet_clock,
    pause_clock,
    renew_clock,
    resume_clock,
)
from schemas import calendars
from schemas.decision import Decision
from schemas.directory import Directory
from schemas.header import RoutingHeader
from tests.support.decisions import make_directory, make_engine

LONDON = ZoneInfo("Europe/London")
FIRST, LAST = date(2026, 9, 1), date(2027, 7, 15)
"""As far as the sample schools' calendars go."""
HOLIDAYS = {date(2026, 12, 25), date(2026, 12, 28), date(2027, 1, 1), date(2027, 3, 26), date(2027, 3, 29)} | {
    date(2027, 5, 3),
    date(2027, 5, 31),
    date(2027, 8, 30),
    date(2027, 12, 27),
    date(2027, 12, 28),
}
OAKFIELD_TERMS = [
    (date(2026, 9, 3), date(2026, 12, 18)),
    (date(2027, 1, 4), date(2027, 3, 25)),
    (date(2027, 4, 12), date(2027, 7, 21)),
]
OAKFIELD_CLOSED = {date(2026, 9, 3), date(2026, 11, 2), date(2026, 11, 23), date(2027, 1, 4), date(2027, 2, 22)}
OAKFIELD_HALF_TERMS = [
    (date(2026, 10, 26), date(2026, 10, 30)),
    (date(2027, 2, 15), date(2027, 2, 19)),
    (date(2027, 5, 31), date(2027, 6, 4)),
]
HOURS = {
    "strategy_discussion": 24,
    "police_protection": 72,
    "return_interview": 72,
    "idva_contact": 24,
    "s136_detention": 24,
}
WORKING_DAYS = {
    "la_acknowledgement": 1,
    "assessment_s17": 45,
    "referrer_chase": 3,
    "mace_screening": 3,
    "mash_triage": 2,
}
CSC, SCHOOL, IDVA = "csc.marchshire", "school.oakfield", "idva.marchshire"
KINDS = {
    "CP_S47": ("csc", CSC),
    "CIN_S17": ("csc", CSC),
    "PPN": ("csc", CSC),
    "POLICE_PROTECTION": ("csc", CSC),
    "MISSING": ("csc", CSC),
    "ENCOMPASS": ("dsl", SCHOOL),
    "DA_MARAC": ("idva", IDVA),
    "EXPLOITATION": ("csc", CSC),
    "S136": ("csc", CSC),
}


@cache
def directory() -> Directory:
    return make_directory()


@cache
def decided() -> Decision:
    """Return one real decision, to be copied for every role."""
    header = make_header("CP_S47", datetime(2026, 11, 20, 16, tzinfo=UTC))
    (decision,) = make_engine().decide_all(
        header, sender="police.marchshire", now=datetime(2026, 11, 20, 16, tzinfo=UTC)
    )
    return decision


def make_header(kind: str, at: datetime) -> RoutingHeader:
    role, agency = KINDS[kind]
    instants = dict.fromkeys(("incident_at", "police_protection_at", "place_of_safety_at", "found_at"), at)
    return RoutingHeader.model_validate(
        {
            "case": {"kind": kind, "area": "E10999001", "missing_event": "found" if kind == "MISSING" else None},
            "risk": {},
            "lawful_basis": {"art6": "c"},
            "policy": {"tell_status": {"value": "tell"}, "compartments": ["C01", "C04", "C17"], "clocks": instants},
            "subjects": [{"subject_id": "subject-00000000000001", "type": "person", "age_band": "5-9"}],
            "deliveries": [
                {"delivery_id": "delivery-0000000000001", "agency": agency, "role": role, "purpose": "safeguard_child"}
            ],
        }
    )


def start(kind: str, at: datetime) -> list[Clock]:
    role, agency = KINDS[kind]
    decision = decided().model_copy(update={"recipient": agency, "role": role})
    clocks: list[Clock] = make_engine_once().start_clocks(make_header(kind, at), [decision], at)
    return clocks


@cache
def make_engine_once() -> Any:
    return make_engine()


def is_workday(day: date) -> bool:
    return day.weekday() < 5 and day not in HOLIDAYS


def is_school_day(day: date) -> bool:
    in_term = any(first <= day <= last for first, last in OAKFIELD_TERMS)
    off = day in OAKFIELD_CLOSED or any(first <= day <= last for first, last in OAKFIELD_HALF_TERMS)
    return is_workday(day) and in_term and not off


def reckon(clock: str, at: datetime) -> datetime:
    """Reckon a due instant a second way, day by day."""
    if clock in HOURS:
        return at + timedelta(hours=HOURS[clock])
    day = at.astimezone(LONDON).date()
    if clock == "encompass_delivery":
        days = (day + timedelta(days=n) for n in count())
        starts = (datetime.combine(d, time(8, 40), LONDON).astimezone(UTC) for d in days if is_school_day(d))
        return next(start for start in starts if start > at)
    workdays = [d for n in range(1, 120) if is_workday(d := day + timedelta(days=n))]
    return datetime.combine(workdays[WORKING_DAYS[clock] - 1], time(17), LONDON).astimezone(UTC)


def list_starts() -> list[datetime]:
    """Return instants through the year: early and late on every day, the hours in which clocks change included."""
    found = []
    for n in range((LAST - FIRST).days + 1):
        day = FIRST + timedelta(days=n)
        found += [datetime.combine(day, at, LONDON).astimezone(UTC) for at in (time(1, 30), time(8, 40), time(23, 59))]
    return found


def test_a_year_of_every_kind_is_due_when_a_second_reckoning_says() -> None:
    seen: Counter[str] = Counter()
    for at in list_starts():
        for kind in KINDS:
            for clock in start(kind, at):
                assert clock.due_at == reckon(clock.clock, at), (clock.clock, at)
                seen[clock.clock] += 1
    assert set(seen) == {*HOURS, *WORKING_DAYS, "encompass_delivery"}
    assert min(seen.values()) >= len(list_starts())


def test_a_year_of_sweeps_breaches_each_unmet_clock_once_and_soon() -> None:
    running = [
        (clock.due_at, number, RunningClock(clock.clock, clock.starts_at, clock.due_at, at))
        for number, (at, kind) in enumerate(
            (at, kind) for at in list_starts()[::3] for kind in ("CP_S47", "ENCOMPASS", "CIN_S17")
        )
        for clock in start(kind, at)[:1]
    ]
    met = {number for _, number, _ in running if number % 2}
    heapify(running)
    total = len(running)
    breached: Counter[int] = Counter()
    now = datetime.combine(FIRST, time(0), UTC)
    while running and now < datetime(2027, 12, 31, tzinfo=UTC):
        while running and running[0][0] < now:
            _, number, clock = heappop(running)
            if number in met:
                clock = meet_clock(clock, clock.due_at)  # at the last instant, logged before the sweep
            after = breach_clock(breach_clock(clock, now), now + timedelta(hours=1))
            if after.state is ClockState.BREACHED:
                breached[number] += 1
                assert after.breached_at is not None
                assert timedelta() < after.breached_at - after.due_at <= timedelta(hours=1)
        now += timedelta(hours=1)
    assert not running
    assert set(breached.values()) == {1}
    assert len(breached) == total - len(met)
    assert not met & set(breached)


INSTANTS = st.timedeltas(timedelta(), timedelta(days=300)).map(lambda since: datetime(2026, 9, 1, tzinfo=UTC) + since)
SETTINGS = [{"hours": 24}, {"working_days": 1}, {"working_days": 45}, {"days": 3}, {"months": 1}]


@settings(max_examples=150, deadline=None)
@given(INSTANTS, st.timedeltas(timedelta(), timedelta(days=60)), st.sampled_from(SETTINGS))
def test_what_starts_later_is_never_due_earlier(at: datetime, later: timedelta, setting: dict[str, Any]) -> None:
    first, second = find_due(setting, at, directory()), find_due(setting, at + later, directory())
    assert first is not None
    assert second is not None
    assert at < first <= second


@settings(max_examples=100, deadline=None)
@given(INSTANTS, st.timedeltas(timedelta(), timedelta(days=20)))
def test_a_later_incident_never_has_an_earlier_school_day(at: datetime, later: timedelta) -> None:
    school = next(c for c in directory().calendars if c.id == "oakfield")
    first = calendars.find_next_school_start(at, school, HOLIDAYS, LONDON)
    second = calendars.find_next_school_start(at + later, school, HOLIDAYS, LONDON)
    assert first is not None
    assert second is not None
    assert at < first <= second


STEPS: dict[str, Callable[[RunningClock, datetime], RunningClock]] = {
    "breach": breach_clock,
    "meet": meet_clock,
    "pause": pause_clock,
    "resume": lambda clock, now: resume_clock(clock, now, directory()),
    "renew": lambda clock, now: renew_clock(clock, now, directory()),
}


@settings(max_examples=200, deadline=None)
@given(
    INSTANTS,
    st.sampled_from(["la_acknowledgement", "mash_triage", "embargo_review", "mace_screening", "no_such_setting"]),
    st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(-48, 96)), max_size=12),
)
def test_no_order_of_events_takes_a_clock_back(at: datetime, name: str, steps: list[tuple[str, int]]) -> None:
    now = at
    clock = RunningClock(name, at, at + timedelta(hours=48), at)
    for step, hours in steps:
        now += timedelta(hours=hours)  # clocks of two workers may disagree: the next instant can be the earlier one
        after = STEPS[step](clock, now)
        assert after.changed_at >= clock.changed_at
        assert after.due_at >= clock.due_at
        if clock.is_settled:
            assert after == clock
        if clock.state is ClockState.BREACHED and step != "renew":
            assert after.state is ClockState.BREACHED
            assert after.breached_at == clock.breached_at
        if after.state is ClockState.BREACHED and clock.state is not ClockState.BREACHED:
            assert clock.due_at < now
        if now <= clock.due_at and clock.state is ClockState.RUNNING and step == "meet":
            assert after.state is ClockState.MET
        assert STEPS[step](after, now) == after or step == "renew"
        clock = after


def test_a_working_day_clock_that_waited_is_due_at_a_closing_time() -> None:
    friday = datetime(2026, 11, 20, 12, tzinfo=UTC)
    clock = RunningClock("mace_screening", friday, datetime(2026, 11, 25, 17, tzinfo=UTC), friday)
    paused = pause_clock(clock, friday + timedelta(hours=1))
    resumed = resume_clock(paused, paused.changed_at + timedelta(days=3, hours=2), directory())
    assert resumed.due_at == datetime(2026, 11, 30, 17, tzinfo=UTC)  # Saturday 19:00 is no closing time; Monday's is


@pytest.mark.parametrize("late", [False, True])
def test_the_instant_itself_is_in_time(late: bool) -> None:
    at = datetime(2026, 11, 20, 12, tzinfo=UTC)
    clock = RunningClock("mash_triage", at, at + timedelta(hours=1), at)
    now = clock.due_at + timedelta(microseconds=late)
    assert breach_clock(clock, now).state is (ClockState.BREACHED if late else ClockState.RUNNING)
    assert meet_clock(clock, now).state is (ClockState.BREACHED if late else ClockState.MET)
    assert meet_clock(clock, now).met_at == now
