"""A clock that runs: met, paused, resumed, renewed, breached. Pure steps on logged time; each returns the clock after it.

A clock's time never goes back: an occasion that is logged with an earlier instant than the clock's last change counts at that last change. Whoever is
in time at ``due_at`` itself is in time. A breach stays a breach, whatever comes later: meeting it then is noted beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from broker.decisions.clocks import find_due
from schemas import calendars
from schemas.directory import Directory


class ClockState(StrEnum):
    """Where a clock is."""

    RUNNING = "running"
    PAUSED = "paused"
    MET = "met"
    BREACHED = "breached"


@dataclass(frozen=True, slots=True)
class RunningClock:
    """One clock of one referral, and of one recipient where it binds any. Instants are UTC."""

    clock: str
    starts_at: datetime
    due_at: datetime
    changed_at: datetime
    state: ClockState = ClockState.RUNNING
    paused_at: datetime | None = None
    breached_at: datetime | None = None
    met_at: datetime | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing more can happen to it."""
        return self.met_at is not None

    def is_overdue(self, now: datetime) -> bool:
        """Tell whether it has run out by ``now`` without having been breached yet."""
        return self.state is ClockState.RUNNING and self.due_at < now


def breach_clock(clock: RunningClock, now: datetime) -> RunningClock:
    """Return the clock after it ran out; one that has not, or that does not run, as it is."""
    if not clock.is_overdue(now):
        return clock
    at = max(now, clock.changed_at)
    return replace(clock, state=ClockState.BREACHED, breached_at=at, changed_at=at)


def meet_clock(clock: RunningClock, now: datetime) -> RunningClock:
    """Return the clock after what it waited for was logged: met, or breached and met late."""
    if clock.is_settled:
        return clock
    clock = breach_clock(clock, now)
    at = max(now, clock.changed_at)
    state = ClockState.BREACHED if clock.state is ClockState.BREACHED else ClockState.MET
    return replace(clock, state=state, met_at=at, changed_at=at, paused_at=None)


def pause_clock(clock: RunningClock, now: datetime) -> RunningClock:
    """Return the clock while it waits for an answer; one that does not run, as it is."""
    clock = breach_clock(clock, now)
    if clock.state is not ClockState.RUNNING:
        return clock
    at = max(now, clock.changed_at)
    return replace(clock, state=ClockState.PAUSED, paused_at=at, changed_at=at)


def resume_clock(clock: RunningClock, now: datetime, directory: Directory) -> RunningClock:
    """Return the clock after the answer came: due as much later as it waited, and at closing time where it counts working days."""
    if clock.state is not ClockState.PAUSED or clock.paused_at is None:
        return clock
    at = max(now, clock.changed_at)
    due_at = clock.due_at + (at - clock.paused_at)
    setting = directory.local_policy.get("clocks", {}).get(clock.clock, {})
    if due_at != clock.due_at and _counts_working_days(setting):
        due_at = _find_closing(due_at, directory)
    return replace(clock, state=ClockState.RUNNING, due_at=due_at, paused_at=None, changed_at=at)


def renew_clock(clock: RunningClock, now: datetime, directory: Directory) -> RunningClock:
    """Return the clock as it runs anew from ``now``, after a review; never due earlier than before. When it was last breached stays known."""
    if clock.is_settled:
        return clock
    clock = breach_clock(clock, now)
    at = max(now, clock.changed_at)
    due_at = find_due(directory.local_policy.get("clocks", {}).get(clock.clock, {}), at, directory) or clock.due_at
    return replace(
        clock, state=ClockState.RUNNING, starts_at=at, due_at=max(due_at, clock.due_at), paused_at=None, changed_at=at
    )


def _counts_working_days(setting: Mapping[str, Any]) -> bool:
    """Tell whether a setting counts working days. Where it depends on the grade, elapsed time alone is added: some grades count hours."""
    return "working_days" in setting


def _find_closing(after: datetime, directory: Directory) -> datetime:
    """Return the first closing time of a working day at or after ``after``, in UTC."""
    zone = ZoneInfo(directory.partnership.timezone)
    closes = time.fromisoformat(str(directory.local_policy["office_closes"]))
    holidays = frozenset(holiday.date for holiday in directory.bank_holidays)
    day = after.astimezone(zone).date()
    while True:
        closing = calendars.to_instant(day, closes, zone)
        if closing >= after and calendars.is_working_day(day, holidays):
            return closing.astimezone(UTC)
        day += timedelta(days=1)
