"""Which clocks a referral starts, and when each is due (FORMATS CH-20). Which kinds start which clock is data of the pack, how long local policy."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from schemas import calendars
from schemas.codes import DeliveryOutcome
from schemas.decision import Decision
from schemas.directory import Directory
from schemas.errors import ConfigInvalid
from schemas.header import RoutingHeader

ANY = "any"
NEXT_REVIEW = "next_review"
NEXT_SCHOOL_DAY = "next_school_day"
_STATED_REVIEW = "the review time that the assessment itself states"
_SCHOOL_DAY = "the first start of a school day after the incident, on the recipient's own calendar"


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock that runs: UTC instants; ``recipients`` are the agencies that it binds (none: it binds no recipient)."""

    clock: str
    starts_at: datetime
    due_at: datetime
    extendable_to: datetime | None = None
    recipients: tuple[str, ...] = ()
    assumption: str = ""
    """How ``due_at`` was found, in words: whoever disputes a breach sees what was counted."""


@dataclass(frozen=True, slots=True)
class ClockRule:
    """One line of ``clocks.yaml``."""

    clock: str
    kinds: frozenset[str] | None
    events: frozenset[str] | None
    starts: str
    due: str | None
    binds: frozenset[str] | None
    """Roles; empty for any role; none if it binds no recipient."""
    requires: str | None
    met_by: frozenset[str] = frozenset()
    """Receipts of those it binds (``opened``, ``refused:threshold_not_met``), kinds of messages in the same conversation, or approvals
    (``approval:lift_embargo``) that meet it."""
    renewed_by: frozenset[str] = frozenset()
    """Approvals from which it runs anew."""
    pausable: bool = False
    """Local clocks alone can wait for an answer: what statute sets runs on."""
    escalates_to: tuple[str, ...] = ()
    """Roles that are told of a breach, where local policy names no others."""


@dataclass(frozen=True, slots=True)
class ClockRules:
    """All lines, the kinds that start none, and the occasions that pause a clock until the sender has answered."""

    rules: tuple[ClockRule, ...]
    start_none: frozenset[str]
    paused_by: frozenset[str] = frozenset()
    resumed_by: frozenset[str] = frozenset()

    def find_met(self, *occasions: str) -> frozenset[str]:
        """Return the clocks that a receipt, a message's kind or an approval meets."""
        return frozenset(rule.clock for rule in self.rules if not rule.met_by.isdisjoint(occasions))

    def find_renewed(self, occasion: str) -> frozenset[str]:
        """Return the clocks that run anew from an approval."""
        return frozenset(rule.clock for rule in self.rules if occasion in rule.renewed_by)

    def find_pausable(self) -> frozenset[str]:
        """Return the clocks that may wait for an answer."""
        return frozenset(rule.clock for rule in self.rules if rule.pausable)

    def find_roles(self, clock: str) -> frozenset[str]:
        """Return the roles that a clock binds; empty for any."""
        return frozenset().union(*(rule.binds or () for rule in self.rules if rule.clock == clock))

    def list_escalation(self, clock: str, local_policy: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the roles that are told of a breach: local policy's ``escalation`` for this clock, else the pack's."""
        local = local_policy.get("escalation", {})
        named = local.get(clock, local.get("default"))
        if named is not None:
            return tuple(str(role) for role in named)
        return next((rule.escalates_to for rule in self.rules if rule.clock == clock), ())

    def list_approvals(self) -> list[str]:
        """Return the actions of approvals that meet or renew a clock."""
        prefix = "approval:"
        return sorted(k.removeprefix(prefix) for k in self.kinds_that_matter if k.startswith(prefix))

    @property
    def kinds_that_matter(self) -> frozenset[str]:
        """Kinds of messages, receipts and approvals that move a clock."""
        return self.resumed_by.union(*(rule.met_by | rule.renewed_by for rule in self.rules))


def parse_clock_rules(data: Mapping[str, Any]) -> ClockRules:
    """Read the content of ``clocks.yaml``.

    Raises:
        ConfigInvalid: a line lacks a part, or names an instant or due rule that does not exist.
    """
    try:
        rules = tuple(
            ClockRule(
                clock=str(line["clock"]),
                kinds=None if line["kinds"] == ANY else frozenset(line["kinds"]),
                events=frozenset(line["events"]) if "events" in line else None,
                starts=str(line["starts"]),
                due=line.get("due"),
                binds=None if "binds" not in line else frozenset(() if line["binds"] == ANY else line["binds"]),
                requires=line.get("requires"),
                met_by=frozenset(line.get("met_by", ())),
                renewed_by=frozenset(line.get("renewed_by", ())),
                pausable=bool(line.get("pausable", False)),
                escalates_to=tuple(line.get("escalates_to", data.get("escalates_to", ()))),
            )
            for line in data["clocks"]
        )
    except (KeyError, TypeError) as error:
        raise ConfigInvalid(
            f"lacks a part or has one of the wrong sort ({type(error).__name__})", field="clocks.yaml"
        ) from None
    if any(r.starts not in _STARTS or r.due not in {None, NEXT_REVIEW, NEXT_SCHOOL_DAY} for r in rules):
        raise ConfigInvalid("names an instant or due rule that does not exist", field="clocks.yaml")
    return ClockRules(
        rules,
        frozenset(data.get("start_none", ())),
        frozenset(data.get("paused_by", ())),
        frozenset(data.get("resumed_by", ())),
    )


def start_clocks(
    header: RoutingHeader,
    decisions: Sequence[Decision],
    directory: Directory,
    received_at: datetime,
    *,
    rules: ClockRules,
) -> list[Clock]:
    """Return the clocks that a referral starts when it is received and decided.

    Args:
        header: the verified header.
        decisions: the decision on each delivery; a clock that binds a recipient starts only when something was delivered to it.
        directory: for calendars, bank holidays, time zone and the numbers of local policy.
        received_at: the logged instant of receipt.
        rules: the pack's table.
    """
    if header.case.kind in rules.start_none:
        return []
    clocks: list[Clock] = []
    for rule in rules.rules:
        if not _applies(rule, header):
            continue
        starts_at = _STARTS[rule.starts](header, received_at, ZoneInfo(directory.partnership.timezone))
        bound = _find_bound(rule, decisions)
        if starts_at is None or bound == ():
            continue
        clocks += _run(rule, header, directory, starts_at.astimezone(UTC), bound or ())
    return clocks


def find_due(
    setting: Mapping[str, Any], starts_at: datetime, directory: Directory, *, grade: str = ""
) -> datetime | None:
    """Return when a period that local policy sets is over, or none if the setting says nothing.

    A setting is ``{hours}``, ``{working_days}``, ``{days}`` or ``{months}``, or one of these for each grade, with ``otherwise``.
    """
    if grade in setting or "otherwise" in setting:
        setting = setting.get(grade, setting.get("otherwise", {}))
    zone = ZoneInfo(directory.partnership.timezone)
    if "hours" in setting:
        return calendars.due_after_hours(starts_at, setting["hours"])
    if "working_days" in setting:
        return calendars.due_after_working_days(
            starts_at,
            setting["working_days"],
            closes=_read_closing(directory),
            bank_holidays=_list_bank_holidays(directory),
            zone=zone,
        )
    if "days" in setting:
        return calendars.due_after_days(starts_at, setting["days"], zone)
    if "months" in setting:
        return calendars.due_after_months(starts_at, setting["months"], zone)
    return None


def describe_period(setting: Mapping[str, Any], directory: Directory, grade: str) -> str:
    """Return in words how ``find_due`` counts a setting of local policy."""
    if grade in setting or "otherwise" in setting:
        graded = f"for the grade {grade}" if grade in setting else "for any other grade"
        return f"{describe_period(setting.get(grade, setting.get('otherwise', {})), directory, '')}, {graded}"
    if "hours" in setting:
        return f"{setting['hours']} elapsed hours"
    if "working_days" in setting:
        closes = _read_closing(directory).isoformat("minutes")
        return f"{setting['working_days']} working days counted from the day after; due at {closes} local time"
    if "days" in setting:
        return f"{setting['days']} calendar days, the day of starting included"
    return f"the end of the corresponding day {setting.get('months', 0)} months later"


def _applies(rule: ClockRule, header: RoutingHeader) -> bool:
    if rule.kinds is not None and header.case.kind not in rule.kinds:
        return False
    if rule.events is not None and header.case.missing_event not in rule.events:
        return False
    embargo = header.policy.embargo
    return rule.requires is None or (embargo is not None and embargo.active)


def _find_bound(rule: ClockRule, decisions: Iterable[Decision]) -> tuple[str, ...] | None:
    """Return the agencies that the clock binds and that got something, in order; none if it binds no recipient."""
    if rule.binds is None:
        return None
    got = [
        d.recipient
        for d in decisions
        if d.outcome is DeliveryOutcome.DELIVERED and (not rule.binds or d.role in rule.binds)
    ]
    return tuple(dict.fromkeys(got))


def _run(
    rule: ClockRule, header: RoutingHeader, directory: Directory, starts_at: datetime, bound: tuple[str, ...]
) -> list[Clock]:
    if rule.due == NEXT_SCHOOL_DAY:
        return [c for agency in bound if (c := _run_to_school_day(rule, directory, starts_at, agency)) is not None]
    setting = directory.local_policy.get("clocks", {}).get(rule.clock, {})
    if rule.due == NEXT_REVIEW:
        due_at = header.risk.next_review_due_at
    else:
        due_at = find_due(setting, starts_at, directory, grade=header.risk.grade.value)
    if due_at is None:
        return []
    more = setting.get("extendable_by_hours")
    longest = due_at + timedelta(hours=more) if more is not None else None
    assumption = _STATED_REVIEW if rule.due == NEXT_REVIEW else describe_period(setting, directory, header.risk.grade)
    return [Clock(rule.clock, starts_at, due_at.astimezone(UTC), longest, bound, assumption)]


def _run_to_school_day(rule: ClockRule, directory: Directory, starts_at: datetime, agency_id: str) -> Clock | None:
    agency = directory.find_agency(agency_id)
    school = next((c for c in directory.calendars if agency and c.id == agency.calendar), None)
    if school is None:
        return None
    zone = ZoneInfo(directory.partnership.timezone)
    due_at = calendars.find_next_school_start(starts_at, school, _list_bank_holidays(directory), zone)
    return Clock(rule.clock, starts_at, due_at, None, (agency_id,), _SCHOOL_DAY) if due_at else None


def _list_bank_holidays(directory: Directory) -> frozenset[Any]:
    return frozenset(h.date for h in directory.bank_holidays)


def _read_closing(directory: Directory) -> time:
    """Return the local time at which a working-day clock falls due (local policy ``office_closes``)."""
    try:
        return time.fromisoformat(directory.local_policy["office_closes"])
    except (KeyError, TypeError, ValueError):
        raise ConfigInvalid("must be a time of day HH:MM", field="local_policy.office_closes") from None


def _find_stated(name: str, header: RoutingHeader, _received_at: datetime, _zone: ZoneInfo) -> datetime | None:
    found: datetime | None = getattr(header.policy.clocks, name)
    return found


def _find_change(header: RoutingHeader, _received_at: datetime, zone: ZoneInfo) -> datetime | None:
    day = header.policy.clocks.offender_change_on
    return calendars.start_of_day(day, zone) if day else None


def _find_embargo_start(header: RoutingHeader, received_at: datetime, _zone: ZoneInfo) -> datetime | None:
    embargo = header.policy.embargo
    return (embargo.last_review_at or embargo.set_at or received_at) if embargo else None


_STARTS: dict[str, Callable[[RoutingHeader, datetime, ZoneInfo], datetime | None]] = {
    "received": lambda header, received_at, zone: received_at,
    "incident": partial(_find_stated, "incident_at"),
    "police_protection": partial(_find_stated, "police_protection_at"),
    "place_of_safety": partial(_find_stated, "place_of_safety_at"),
    "found": partial(_find_stated, "found_at"),
    "discovered": partial(_find_stated, "discovered_at"),
    "offender_change": _find_change,
    "assessed": lambda header, received_at, zone: header.risk.assessed_at or received_at,
    "embargo": _find_embargo_start,
}
