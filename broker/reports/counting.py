"""What each fact counts as: pure functions from a fact to cells. A change of a fact takes its old cells away and adds its new ones.

So counts are always those of the facts, whatever order events came in, and can be made again from the facts alone.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from broker.reports.durations import find_bucket
from broker.reports.facts import RISK_EXPECTED, ClockFact, DeliveryFact, ReferralFact
from broker.reports.periods import local_day, local_hour
from schemas.codes import Kind

NO_BUCKET: Final = -1
_OFFICE_HOURS: Final = range(8, 19)
_SATURDAY: Final = 5
_SKEWS: Final = ((5, "within_5_seconds"), (60, "within_1_minute"), (300, "within_5_minutes"))


class Cell(NamedTuple):
    """Where something is counted: a measure on a local day, by kind, area, agency, two codes of the measure's own and a bucket of durations."""

    measure: str
    day: date
    kind: str = ""
    area: str = ""
    agency: str = ""
    code: str = ""
    within: str = ""
    bucket: int = NO_BUCKET


Counts = Counter[Cell]


def count_change(before: Counts | None, after: Counts) -> Counts:
    """Return what must be added to the kept counts when a fact that counted as ``before`` counts as ``after``."""
    change = Counter(after)
    if before is not None:
        change.subtract(before)
    return Counter({cell: n for cell, n in change.items() if n})


def count_referral(fact: ReferralFact) -> Counts:
    """Count a referral, on the day it was accepted, under its sender."""
    return Counter(_list_referral(fact))


def count_delivery(fact: DeliveryFact) -> Counts:
    """Count a delivery, on the day its referral was accepted, under its recipient."""
    return Counter(_list_delivery(fact))


def count_clock(fact: ClockFact) -> Counts:
    """Count a clock, on the day its referral was accepted, under whom it binds."""
    base = Cell("clock", local_day(fact.accepted_at), fact.kind, fact.area, fact.recipient, fact.clock, fact.state)
    counts = Counter({base: 1})
    late = fact.breached_at is not None
    hour = f"{local_hour(fact.accepted_at):02d}"
    counts[base._replace(measure="clock_hour", agency="", code=hour, within="breached" if late else "kept")] += 1
    if fact.breached_at is not None:
        stock = base._replace(measure="clock_stock", agency="", within="")
        counts[stock._replace(day=local_day(fact.due_at))] += 1
        if fact.met_at is not None:
            counts[stock._replace(day=local_day(fact.met_at))] -= 1
            counts[_stage(base, f"late:{fact.clock}", fact.due_at, fact.met_at)] += 1
    return counts


def count_event(kind: str, at: datetime, *, agency: str = "", code: str = "", within: str = "") -> Cell:
    """Return the cell of an event that belongs to no referral, on the day it happened."""
    return Cell(kind, local_day(at), agency=agency, code=code, within=within)


def name_hours(at: datetime) -> str:
    """Tell whether an instant is in office hours: Monday to Friday, 8:00 to 18:59 local time."""
    local = local_day(at)
    return "office_hours" if local.weekday() < _SATURDAY and local_hour(at) in _OFFICE_HOURS else "out_of_hours"


def name_skew(ahead: timedelta) -> str:
    """Return the band of a difference between a party's clock and the hub's; what is claimed from the future says that a clock is ahead."""
    seconds = ahead.total_seconds()
    if seconds <= 0:
        return "not_ahead"
    return next((name for most, name in _SKEWS if seconds <= most), "over_5_minutes")


def _stage(base: Cell, code: str, start: datetime, end: datetime) -> Cell:
    return base._replace(measure="stage", agency="", code=code, within="", bucket=find_bucket(end - start))


def _list_referral(f: ReferralFact) -> Iterator[Cell]:
    base = Cell("referral", local_day(f.accepted_at), f.kind, f.area, f.sender, within=f.event)
    yield base
    if f.issued_at is not None:
        yield base._replace(measure="skew", kind="", code="message", within=name_skew(f.issued_at - f.accepted_at))
    if not f.header_known:
        yield base._replace(measure="header_erased", within="")
        return
    if f.is_new:
        yield from _list_new(f, base._replace(within=""))
    yield from _list_risk(f, base._replace(within=""))
    for flag in f.flags:
        yield base._replace(measure="flag", code=flag, within="")
    yield base._replace(measure="basis", code=f.art6, within="")
    yield base._replace(measure="consent", code=f.consent, within=f.consent_reason)
    yield base._replace(measure="tell", code=f.tell, within=f.tell_reason)
    if f.embargo_set_at is not None:
        yield base._replace(measure="embargo", code="lifted" if f.embargo_lifted_at else "active", within="")
        if f.embargo_lifted_at is not None:
            yield _stage(base, "embargo_to_lift", f.embargo_set_at, f.embargo_lifted_at)


def _list_new(f: ReferralFact, base: Cell) -> Iterator[Cell]:
    yield base._replace(measure="new", code=f"{local_hour(f.accepted_at):02d}")
    if f.incident_at is not None:
        yield _stage(base, "incident_to_hub", f.incident_at, f.accepted_at)
    if f.outcome_at is not None:
        yield _stage(base, "hub_to_outcome", f.accepted_at, f.outcome_at)
    yield base._replace(measure="feedback", code="outcome" if f.outcome_at else "none")
    if f.children:
        yield base._replace(measure="voice", code="heard" if f.heard else "not_heard")
    if f.persons:
        found = [flag for flag in f.flags if flag.startswith("ethnicity_")]
        yield base._replace(measure="ethnicity", code="flagged" if found else "unflagged")
        for flag in found:
            yield base._replace(measure="ethnicity_flag", code=flag)
    for measure, code in (
        ("repeat", f.repeat),
        ("after_no_action", f.after_no_action),
        ("encompass", f.routed),
        ("rso_child", f.rso_child),
    ):
        if code:
            yield base._replace(measure=measure, code=code)


def _list_risk(f: ReferralFact, base: Cell) -> Iterator[Cell]:
    if f.reassessed:
        yield base._replace(measure="reassessed", code=f.reassessed)
    if f.kind not in RISK_EXPECTED or f.event == "found":
        return
    if not f.tool:
        state = "absent"
    elif f.review_due_at is None:
        state = "no_review_date"
    else:
        state = "stale" if f.review_due_at < f.accepted_at else "current"
    yield base._replace(measure="risk", code=state)
    yield base._replace(measure="grade", code=f.grade, within=f.tool)
    for flag in f.flags:
        yield base._replace(measure="risk_flag", code=flag)
    if f.tool and f.assessed_at is not None:
        yield _stage(base, "assessed_to_hub", f.assessed_at, f.accepted_at)


def _list_delivery(f: DeliveryFact) -> Iterator[Cell]:
    base = Cell("delivery", local_day(f.accepted_at), f.kind, f.area, f.recipient)
    yield base._replace(code=f.first_outcome, within=f.first_row)
    yield base._replace(measure="standing", code=f.outcome, within=f.row)
    yield base._replace(measure="agreement", agency="", code=f.agreement or "none", within=f.first_outcome)
    yield base._replace(measure="policy", kind="", area="", agency="", code=f.policy_digest)
    for alert in f.alerts:
        yield base._replace(measure="alert", agency="", code=alert)
    for compartment, result in f.compartments:
        yield base._replace(measure="compartment", agency="", code=compartment, within=result)
    if f.detriment:
        yield base._replace(measure="detriment", code=f.first_outcome)
    if f.outcome == "delivered":
        yield from _list_progress(f, base)
    for measure, code, within, start, end in (
        ("hold", f.hold, f.first_row, f.held_at, f.hold_ended_at),
        ("glass", f.glass, "", f.glass_at, f.glass_ended_at),
        ("recall", "confirmed" if f.deleted_at else "asked", f.recall, f.recalled_at, f.deleted_at),
    ):
        if start is not None:
            yield base._replace(measure=measure, code=code, within=within)
            if end is not None:
                yield _stage(base, f"{measure}_to_end", start, end)
    if f.correction:
        yield base._replace(measure="correction", code=f.correction)


def _list_progress(f: DeliveryFact, base: Cell) -> Iterator[Cell]:
    yield base._replace(measure="reached", code=f.reached)
    if f.refusal:
        yield base._replace(measure="refusal", code=f.refusal)
    released_at = f.released_at or f.accepted_at
    for code, start, end in (
        ("released_to_taken", released_at, f.taken_at),
        ("released_to_opened", released_at, f.opened_at),
        ("opened_to_actioned", f.opened_at, f.actioned_at),
    ):
        if start is not None and end is not None:
            yield _stage(base, code, start, end)
    if f.kind == Kind.CP_S47 and f.strategy_due_at is not None:
        yield base._replace(measure="strategy_ready", agency="", code=f.role, within=_name_ready(f, f.strategy_due_at))


def _name_ready(f: DeliveryFact, due_at: datetime) -> str:
    if f.opened_at is None:
        return "not_opened"
    return "in_time" if f.opened_at <= due_at else "late"
