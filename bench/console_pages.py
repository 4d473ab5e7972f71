"""Which pages of the console are measured, and with what in their addresses: every GET route of the route policies, some of them in several ways.

A route that is new is measured by itself, with the example values of ``tests.support.console_paths``. Here stand only those whose cost depends on what is
asked: the first page and a deep one, a filter that finds much, little or nothing, the busiest agency, a referral with many events, a long period.
"""

import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final
from urllib.parse import urlencode

from bench.filled import FilledCounty
from broker.audit.access_log import ACCESS_EVENTS
from broker.audit.filters import Cursor, SearchFilter
from broker.console.access import GRANTED, Role
from broker.console.app import list_policies
from broker.console.route_policy import RoutePolicy
from broker.reports.catalogue import REPORTS
from tests.support.console import ConsoleSite
from tests.support.console_paths import EXAMPLES

BASELINE: Final = "/account"
"""The plainest page that needs a session: who is looking, the read event, a few rows by primary key."""
BUSIEST: Final = "police.marchshire"
FIRST_BYTES: Final = frozenset({"/log/export.csv", "/overview/stream"})
"""Answers that go on: the time to their first bytes is measured."""
_TABLES: Final = (("journey", "stages"), ("clocks", "agencies"), ("withheld", "compartments"), ("missing", "stock"))
Values = Callable[[int], Mapping[str, str]]
Query = Callable[[int], Mapping[str, str] | list[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class MeasuredPage:
    """One page in one way. ``path`` gives its address for the number of the request, so that no two requests ask for the same rows."""

    route: str
    name: str
    viewer: str | None
    path: Callable[[int], str]


@dataclass(frozen=True, slots=True)
class _Way:
    """One way of asking for a route; ``viewer`` is who asks, by default whoever may first."""

    name: str
    query: Query = lambda _: {}
    values: Values = lambda _: {}
    viewer: str | None = None


def list_measured(county: FilledCounty, console: ConsoleSite) -> list[MeasuredPage]:
    """Return every page in every way. ``console`` has an account for each role, by the role's name with a hyphen, and ``agency-auditor``."""
    ways = list_ways(county)
    examples = _Examples(console)
    pages = []
    for policy in list_policies():
        if policy.method == "GET":
            pages += [_measure(policy, way, examples) for way in ways.get(policy.path, [_Way("")])]
    return pages


class _Examples:
    """Example values of paths, each made once."""

    def __init__(self, console: ConsoleSite) -> None:
        self._console = console
        self._made: dict[str, str] = {}

    def find(self, name: str) -> str:
        if name not in self._made:
            self._made[name] = EXAMPLES[name](self._console)
        return self._made[name]

    def fill(self, path: str, values: Mapping[str, str]) -> str:
        plain = path.replace(":path}", "}")
        names = [name for _, name, _, _ in string.Formatter().parse(plain) if name]
        return plain.format(**{name: values[name] if name in values else self.find(name) for name in names})


def _measure(policy: RoutePolicy, way: _Way, examples: _Examples) -> MeasuredPage:
    def path(number: int) -> str:
        query = urlencode(way.query(number))
        return examples.fill(policy.path, way.values(number)) + (f"?{query}" if query else "")

    viewer = way.viewer or choose_viewer(policy)
    return MeasuredPage(policy.path, way.name, viewer, path)


def choose_viewer(policy: RoutePolicy) -> str | None:
    """Return the first role that may see a page: nobody's for a public one."""
    if policy.capability is None:
        return None
    return next((role.value.replace("_", "-") for role in Role if policy.capability in GRANTED[role]), "auditor")


def list_ways(county: FilledCounty) -> dict[str, list[_Way]]:
    """Return the ways in which routes are asked for, by path; other routes are asked for plainly."""
    return {
        "/log": [*_list_searches(county, "auditor"), *_list_searches(county, "agency-auditor")],
        "/log/export.csv": [
            _Way("everything"),
            _Way("a rare rule", lambda _: {"rule": "D9"}),
            _Way("nothing", lambda _: {"event": "decided", "state": "opened"}),
        ],
        "/referrals/{searched_id}": [
            _Way("any", values=lambda n: {"searched_id": county.referral(n)}),
            _Way("by delivery", values=lambda n: {"searched_id": county.delivery(n)}),
            _Way("many events", values=lambda n: {"searched_id": county.busy_referral(n)}),
        ],
        "/referrals/{searched_id}/evidence.zip": [_Way("any", values=lambda n: {"searched_id": county.referral(n)})],
        "/log/proofs/{position}": [_Way("any", values=lambda n: {"position": str(county.position(n))})],
        "/log/proofs/{position}/file": [_Way("any", values=lambda n: {"position": str(county.position(n))})],
        "/log-integrity": [_Way("newest"), _Way("deep", lambda n: {"below": str(1 + county.position(n))})],
        "/overview": [_Way("all agencies"), _Way("one agency", viewer="agency-auditor")],
        "/access": [
            _Way("a week"),
            _Way("a month", lambda _: _write_days(county.ends_at.date() - timedelta(days=29), county.ends_at.date())),
            _Way("one agency", viewer="agency-auditor"),
        ],
        "/access/looks": [
            _Way("all"),
            _Way("a person", lambda n: {"person": f"p.person{n % 60:02d}"}),
            _Way("deep", lambda n: {"cursor": _write_cursor(county, n, event=ACCESS_EVENTS)}),
            _Way("one agency", viewer="agency-auditor"),
        ],
        "/reviews": [_Way(state, lambda _, state=state: {"state": state}) for state in ("open", "refused", "all")]
        + [_Way("one agency", viewer="agency-auditor")],
        "/consents": [_Way(state, lambda _, state=state: {"state": state}) for state in ("all", "withdrawn", "expired")]
        + [_Way("one agency", viewer="agency-auditor")],
        "/quarantine": [_Way(state, lambda _, state=state: {"state": state}) for state in ("open", "rejected", "all")],
        "/agencies": [_Way("all"), _Way("one agency", viewer="agency-auditor")],
        "/reports/{report_id}": list(_list_reports(county)),
        "/reports/{report_id}/{table}.csv": [
            _Way(f"{report} {table}", values=lambda _, r=report, t=table: {"report_id": r, "table": t})
            for report, table in _TABLES
        ],
    }  # fmt: skip


def _list_searches(county: FilledCounty, viewer: str) -> list[_Way]:
    of = "" if viewer == "auditor" else "one agency: "

    def way(name: str, query: Query) -> _Way:
        return _Way(of + name, query, viewer=viewer)

    def deep(n: int, **asked: str) -> dict[str, str]:
        return {**asked, "cursor": _write_cursor(county, n, **{name: (text,) for name, text in asked.items()})}

    return [
        way("first page", lambda _: {}),
        way("deep page", deep),
        way("common filter", lambda _: {"event": "receipt"}),
        way("common filter, deep", lambda n: deep(n, event="receipt")),
        way("rare filter", lambda _: {"rule": "D9", "state": "withheld", "kind": "RSO_MAPPA"}),
        way("nothing matches", lambda _: {"event": "decided", "state": "opened"}),
        way("busiest agency", lambda _: {"agency": BUSIEST}),
        way("a school", lambda n: {"agency": f"school.s{n % 180:03d}"}),
        way(
            "one day", lambda n: {"event": "decided", **_write_days(county.instant(n).date(), county.instant(n).date())}
        ),
        way("a referral", lambda n: {"id": county.referral(n)}),
        way("a child", lambda n: {"token": county.token(n)}),
        way("a person", lambda n: {"person": f"p.person{n % 60:02d}"}),
    ]


def _write_cursor(county: FilledCounty, number: int, **asked: tuple[str, ...]) -> str:
    search = SearchFilter.read(dict(asked))
    return Cursor.after(county.instant(number), county.position(number), as_of=county.events, search=search).write()


def _write_days(first: date, last: date) -> dict[str, str]:
    return {
        f"{name}-{part}": str(getattr(day, part))
        for name, day in (("since", first), ("until", last))
        for part in ("day", "month", "year")
    }


def _list_reports(county: FilledCounty) -> Iterator[_Way]:
    last = county.ends_at.date()
    periods = {
        "90 days": {},
        "two years, one area": {"from": (county.starts_at.date() + timedelta(days=1)).isoformat(), "to": last.isoformat(), "area": "E10999001"},
    }  # fmt: skip
    for report in REPORTS:
        for name, asked in periods.items():
            yield _Way(
                f"{report.id}, {name}", lambda _, asked=asked: asked, lambda _, report=report: {"report_id": report.id}
            )
