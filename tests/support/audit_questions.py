"""Every read of the audit as people ask it: common and rare filters, deep pages, each role's scope. The bench times them; a test checks their plans."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from broker.audit.filters import Cursor, SearchFilter
from broker.audit.reader import AuditReader
from broker.audit.scope import Permission, Reader
from schemas.errors import NotFound

Ask = Callable[[AuditReader, int], Awaitable[Any]]
"""Asks once; the number varies what is asked for."""

EVERYBODY = Reader("p.auditor", None, frozenset(Permission))
POLICE = Reader("p.police", "police.marchshire", frozenset(Permission))
SCHOOL = Reader("p.school", "school.s017", frozenset(Permission))


class AskedCounty(Protocol):
    """What is asked about: ids and instants that are there, other ones for other numbers (``bench.filled``)."""

    @property
    def ends_at(self) -> datetime: ...
    @property
    def events(self) -> int: ...
    def referral(self, number: int) -> str: ...
    def busy_referral(self, number: int) -> str: ...
    def delivery(self, number: int) -> str: ...
    def token(self, number: int) -> str: ...
    def instant(self, number: int) -> datetime: ...
    def position(self, number: int) -> int: ...


def list_questions(county: AskedCounty) -> Mapping[str, Ask]:
    """Return named questions about a filled county."""
    asked = _County(county)
    return {**_list_searches(asked), **_list_pages(asked)}


@dataclass(frozen=True, slots=True)
class _County:
    there: AskedCounty

    def instant(self, number: int) -> datetime:
        return self.there.instant(number)

    def last_month(self) -> datetime:
        return self.there.ends_at - timedelta(days=30)

    def deep(self, who: Reader = EVERYBODY, **asked: Any) -> Ask:
        """Ask for a page far below the first."""

        async def ask(audit: AuditReader, number: int) -> Any:
            question = SearchFilter.read(asked)
            there = self.there
            cursor = Cursor.after(there.instant(number), there.position(number), as_of=there.events, search=question)
            return await audit.search(who, question, cursor=cursor.write())

        return ask


def _search(who: Reader = EVERYBODY, **asked: Any) -> Ask:
    """Ask for a first page; a member that is a function of the asking's number varies."""

    async def ask(audit: AuditReader, number: int) -> Any:
        members = {name: value(number) if callable(value) else value for name, value in asked.items()}
        return await audit.search(who, SearchFilter.read(members))

    return ask


def _list_searches(county: _County) -> dict[str, Ask]:
    def next_day(number: int) -> datetime:
        return county.instant(number) + timedelta(days=1)

    return {
        "search everything": _search(),
        "search everything, deep": county.deep(),
        "search by agency": _search(agency="police.marchshire"),
        "search by agency, deep": county.deep(agency="csc.marchshire"),
        "search by a school": _search(agency="school.s042"),
        "search by kind of event": _search(event=["decided"]),
        "search by kind of event, deep": county.deep(event=["receipt"]),
        "search by kind of referral": _search(kind=["MISSING", "FGM"]),
        "search by state": _search(state=["held"]),
        "search by rule": _search(rule=["D9"]),
        "search by all at once": _search(
            agency="police.northdale", kind=["FGM"], event=["decided"], state=["withheld"]
        ),
        "search for what never happens": _search(agency="health.marchshire-ft", event=["decided"], state=["opened"]),
        "search two agencies that never meet": _search(POLICE, agency="police.northdale"),
        "search one day": _search(event=["decided"], state=["held"], since=county.instant, until=next_day),
        "search by referral": _search(id=county.there.referral),
        "search by delivery": _search(id=county.there.delivery),
        "search by token": _search(token=county.there.token),
        "search by person": _search(person=lambda n: f"p.person{n % 60:02d}"),
        "an agency's search": _search(POLICE),
        "an agency's search, deep": county.deep(POLICE),
        "a school's search": _search(SCHOOL),
        "a school's search by state": _search(SCHOOL, state=["delivered"]),
    }


def _list_pages(county: _County) -> dict[str, Ask]:
    there = county.there
    return {
        "a referral's page": lambda audit, n: audit.show(EVERYBODY, there.referral(n)),
        "a busy referral's page": lambda audit, n: audit.show(EVERYBODY, there.busy_referral(n)),
        "a referral's page, its sender's": lambda audit, n: _show_own(audit, there.referral(n)),
        "a delivery's page": lambda audit, n: audit.show(EVERYBODY, there.delivery(n)),
        "access log": lambda audit, n: audit.access_log(EVERYBODY, SearchFilter()),
        "access log of a month": lambda audit, n: audit.access_log(EVERYBODY, SearchFilter(since=county.last_month())),
        "access log of a person": lambda audit, n: audit.access_log(
            EVERYBODY, SearchFilter(person=f"p.person{n % 60:02d}")
        ),
        "access report of a month": lambda audit, n: audit.access_report(
            EVERYBODY, since=county.last_month(), until=there.ends_at
        ),
        "overview": lambda audit, n: audit.overview(_everybody(n)),
        "overview of an agency": lambda audit, n: audit.overview(replace(_everybody(n), agency="police.marchshire")),
        "consents": lambda audit, n: audit.consents(EVERYBODY),
        "consents of an agency": lambda audit, n: audit.consents(POLICE, state="withdrawn", before=county.instant(n)),
        "a consent": lambda audit, n: audit.consent(EVERYBODY, f"consent-{1 + n % 200}"),
        "quarantine": lambda audit, n: audit.quarantine(EVERYBODY),
        "quarantine, all": lambda audit, n: audit.quarantine(EVERYBODY, state=None, before=county.instant(n)),
        "agencies": lambda audit, n: audit.agencies(EVERYBODY),
        "checkpoints": lambda audit, n: audit.checkpoints(EVERYBODY),
        "checkpoints, deep": lambda audit, n: audit.checkpoints(EVERYBODY, below=1 + there.position(n)),
        "agreements": lambda audit, n: audit.agreements(EVERYBODY),
    }


def _everybody(number: int) -> Reader:
    # Another person each time: a look at the overview is logged once in a while for each.
    return replace(EVERYBODY, person=f"p.{number}")


async def _show_own(audit: AuditReader, referral_id: str) -> Any:
    try:
        return await audit.show(POLICE, referral_id)
    except NotFound:  # another agency's: looking for it cost as much
        return None
