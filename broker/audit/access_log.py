"""Who looked at what: counts for each person, and what is unusual by rules that say themselves in a sentence (DOMAIN section 7, point 17)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from statistics import median
from typing import Any, Final
from zoneinfo import ZoneInfo

from broker.store.pool import Connection
from schemas.errors import MalformedMessage

ACCESS_EVENTS: Final = (
    "audit_read",
    "chronology",
    "approval",
    "export",
    "console_login",
    "console_user",
    "console_denied",
    "review",
    "quarantine_decided",
    "configuration",
)
"""Kinds of events that say what a person did or looked at."""
MAX_SPAN: Final = timedelta(days=31)
_MAX_PEOPLE: Final = 500
_MAX_UNUSUAL: Final = 200
_MAX_ROWS: Final = 20_000


@dataclass(frozen=True, slots=True)
class UnusualRules:
    """Where use begins to be unusual. Times are the partnership's local time."""

    day_starts: time = time(7)
    day_ends: time = time(20)
    reads_a_day: int = 100
    """Never unusual below this many reads a day."""
    times_own_median: float = 3.0
    same_referral_a_day: int = 10
    exports_a_day: int = 5
    refused_logins_a_day: int = 5


@dataclass(frozen=True, slots=True)
class PersonDay:
    """What one person did on one local day."""

    person: str
    day: date
    reads: int
    searches: int
    exports: int
    decisions: int
    refused_logins: int
    outside_hours: int
    referrals: int
    most_on_one: int
    """Looks at the referral that was looked at most."""


@dataclass(frozen=True, slots=True)
class PersonAccess:
    """One person's use in a period."""

    person: str
    reads: int
    searches: int
    exports: int
    decisions: int
    referrals: int
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class UnusualAccess:
    """One thing that a person should explain: the rule, and the figures that broke it in plain words."""

    person: str
    day: date
    rule: str
    words: str


@dataclass(frozen=True, slots=True)
class AccessReport:
    """Everybody's use in a period, and what of it is unusual."""

    since: datetime
    until: datetime
    people: tuple[PersonAccess, ...]
    unusual: tuple[UnusualAccess, ...]
    cut: bool
    """More people were active than are listed."""
    unusual_cut: bool = False
    """There is more that is unusual than is listed: the latest is."""


_DAYS = """
SELECT person, day, sum(looks)::int AS total,
  sum(looks) FILTER (WHERE kind = 'chronology' OR kind = 'audit_read' AND state IS DISTINCT FROM 'search')::int AS reads,
  sum(looks) FILTER (WHERE kind = 'audit_read' AND state = 'search')::int AS searches,
  sum(looks) FILTER (WHERE kind = 'export')::int AS exports,
  sum(looks) FILTER (WHERE kind IN ('approval', 'review', 'quarantine_decided', 'configuration', 'console_user'))::int AS decisions,
  sum(looks) FILTER (WHERE kind = 'console_login' AND state NOT SIMILAR TO '(signed|confirmed|session|other_sessions)_%')::int AS refused,
  sum(outside)::int AS outside, count(DISTINCT referral_id)::int AS referrals,
  coalesce(max(looks) FILTER (WHERE referral_id IS NOT NULL), 0)::int AS most_on_one, max(last_at) AS last_at
FROM (
  SELECT e.person, e.local::date AS day, s.kind, s.state, CASE WHEN s.kind = 'audit_read' THEN e.referral_id END AS referral_id,
    count(*) AS looks, count(*) FILTER (WHERE e.local::time < $4 OR e.local::time >= $5) AS outside, max(e.at) AS last_at
  FROM audit_streams s CROSS JOIN LATERAL (SELECT a.person, a.at, a.referral_id, a.at AT TIME ZONE $3 AS local FROM audit_events a
    WHERE a.stream = s.stream AND a.at >= $1 AND a.at < $2 AND a.person IS NOT NULL AND ($7::text[] IS NULL OR a.person = ANY($7::text[]))
    OFFSET 0) e
  WHERE s.kind = ANY($6::text[]) GROUP BY 1, 2, 3, 4, 5
) looked GROUP BY person, day ORDER BY person, day LIMIT $8
"""


async def read_access(
    connection: Connection,
    *,
    since: datetime,
    until: datetime,
    timezone: str,
    people: Sequence[str] | None,
    rules: UnusualRules | None = None,
) -> AccessReport:
    """Return who used the audit between two instants, at most 31 days apart: of these people, or of all. The caller has logged the look before.

    Raises:
        MalformedMessage: the period is empty or longer.
    """
    if not timedelta(0) < until - since <= MAX_SPAN:
        raise MalformedMessage("must be at most 31 days", field="until")
    rules = rules or UnusualRules()
    ZoneInfo(timezone)  # a name that PostgreSQL knows too
    rows = await connection.fetch(
        _DAYS,
        since,
        until,
        timezone,
        rules.day_starts,
        rules.day_ends,
        list(ACCESS_EVENTS),
        None if people is None else list(people),
        _MAX_ROWS,
    )
    days = [_read_day(row) for row in rows]
    everyone = _sum_people(days, {row["person"]: row["last_at"] for row in rows})
    grouped = _group_people(days)
    unusual = [found for person in everyone for found in find_unusual(grouped[person.person], rules)]
    latest = set(sorted(unusual, key=lambda found: (found.day, found.person, found.rule))[-_MAX_UNUSUAL:])
    return AccessReport(
        since,
        until,
        tuple(everyone[:_MAX_PEOPLE]),
        tuple(found for found in unusual if found in latest),
        len(everyone) > _MAX_PEOPLE or len(rows) == _MAX_ROWS,
        len(unusual) > _MAX_UNUSUAL,
    )


def find_unusual(days: Sequence[PersonDay], rules: UnusualRules) -> list[UnusualAccess]:
    """Return what is unusual in one person's days. Pure."""
    usual = median([d.reads + d.searches for d in days]) if days else 0
    found = []
    for day in days:
        used = day.reads + day.searches
        limit = max(rules.reads_a_day, rules.times_own_median * usual if len(days) > 1 else 0)
        if used > limit:
            found.append(_note(day, "many_reads", f"{used} reads and searches on one day; usually {usual:.0f}."))
        if day.outside_hours:
            hours = f"{rules.day_ends:%H:%M} and {rules.day_starts:%H:%M}"
            found.append(_note(day, "outside_hours", f"{day.outside_hours} times between {hours}."))
        if day.most_on_one >= rules.same_referral_a_day:
            found.append(_note(day, "same_referral", f"Looked at one referral {day.most_on_one} times on one day."))
        if day.exports >= rules.exports_a_day:
            found.append(_note(day, "many_exports", f"{day.exports} exports on one day."))
        if day.refused_logins >= rules.refused_logins_a_day:
            found.append(_note(day, "refused_sign_ins", f"{day.refused_logins} refused sign-ins on one day."))
    return found


def _note(day: PersonDay, rule: str, words: str) -> UnusualAccess:
    return UnusualAccess(day.person, day.day, rule, words)


def _read_day(row: Any) -> PersonDay:
    return PersonDay(
        person=row["person"],
        day=row["day"],
        reads=row["reads"] or 0,
        searches=row["searches"] or 0,
        exports=row["exports"] or 0,
        decisions=row["decisions"] or 0,
        refused_logins=row["refused"] or 0,
        outside_hours=row["outside"] or 0,
        referrals=row["referrals"],
        most_on_one=row["most_on_one"],
    )


def _sum_people(days: Iterable[PersonDay], last: dict[str, datetime]) -> list[PersonAccess]:
    """Return everybody's sums, the busiest first; ``referrals`` counts one referral once a day."""
    people = [
        PersonAccess(
            person=person,
            reads=sum(d.reads for d in own),
            searches=sum(d.searches for d in own),
            exports=sum(d.exports for d in own),
            decisions=sum(d.decisions for d in own),
            referrals=sum(d.referrals for d in own),
            last_at=last.get(person),
        )
        for person, own in _group_people(days).items()
    ]
    return sorted(people, key=lambda p: (-(p.reads + p.searches), p.person))


def _group_people(days: Iterable[PersonDay]) -> dict[str, list[PersonDay]]:
    grouped: dict[str, list[PersonDay]] = {}
    for day in days:
        grouped.setdefault(day.person, []).append(day)
    return grouped
