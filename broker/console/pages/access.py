"""Who looked at what: everybody's use of the audit in a period, what of it is unusual, and each look."""

from collections.abc import Iterable
from datetime import datetime, time, timedelta
from typing import Final

from fastapi import Request, Response

from broker.audit.access_log import ACCESS_EVENTS, MAX_SPAN, read_access
from broker.audit.filters import DEFAULT_PAGE, Cursor, SearchFilter
from broker.audit.reader import SETTINGS, read_rules
from broker.audit.searching import search_events
from broker.audit.wording import tell_event
from broker.console.access import Capability
from broker.console.forms import Form
from broker.console.names import read_names
from broker.console.page import Page, PageContext
from broker.console.routing import Pages
from broker.console.searching import name_search, read_form, write_query
from broker.console.users import User, list_users
from schemas.local_time import LONDON

pages = Pages("access", navigation=("Access log", "/access", Capability.READ_ACCESS_LOG, 100))

_USUAL_SPAN: Final = timedelta(days=7)


def _name_period(request: Request) -> str:
    form, search = read_form(request.query_params)
    return "" if search is None else " ".join(f"{name}={form.value(name)}" for name in form.values if "-" in name)


@pages.read("/access", capability=Capability.READ_ACCESS_LOG, action="access_report", subject=_name_period)
async def show_access(page: Page) -> Response:
    """Show everybody's use in a period of at most 31 days, and what is unusual."""
    page.form, search = read_form(page.request.query_params)
    since, until = _read_period(page.form, search, page.now)
    directory = (await page.context.registry.current()).directory
    async with page.connection() as connection:
        people = await list_users(connection)
        report = await read_access(
            connection,
            since=since,
            until=until,
            timezone=directory.partnership.timezone,
            people=_list_own(page, people),
            rules=read_rules(directory.local_policy.get(SETTINGS, {})),
        )
    return await page.render("report.html", report=report, people=await read_names(page))


@pages.read("/access/looks", capability=Capability.READ_ACCESS_LOG, action="access_log", subject=name_search)
async def show_looks(page: Page) -> Response:
    """Show each look, newest first; for one agency, what its own referrals were looked at."""
    page.form, search = read_form(page.request.query_params)
    cursor = page.request.query_params.get("cursor")
    found, people = None, await read_names(page)
    async with page.connection() as connection:
        if search is not None:
            asked = people.resolve(search)
            asked = asked if asked.event else asked.model_copy(update={"event": ACCESS_EVENTS})
            place = Cursor.read(cursor, asked) if cursor else None
            found = await search_events(connection, asked, agency=page.user.agency, cursor=place, most=DEFAULT_PAGE)
    query = write_query(page.form)
    return await page.render(
        "looks.html",
        found=found,
        words=tell_event,
        people=people,
        following=f"/access/looks?{write_query(page.form, cursor=found.next_cursor)}"
        if found and found.next_cursor
        else None,
        first=f"/access/looks?{query}" if cursor else None,
        query=query,
    )


def _read_period(form: Form, search: SearchFilter | None, now: datetime) -> tuple[datetime, datetime]:
    """Return the period that was asked for: by default the last seven days; what is too long is said, and cut."""
    midnight = datetime.combine(now.astimezone(LONDON).date() + timedelta(days=1), time(), LONDON)
    until = search.until if search and search.until else midnight
    since = search.since if search and search.since else until - _USUAL_SPAN
    if until - since > MAX_SPAN:
        form.fail("since", "Choose at most 31 days")
        since = until - MAX_SPAN
    return since, until


def _list_own(page: PageContext, people: Iterable[User]) -> list[str] | None:
    """Return whose use the viewer may see: everybody's (none), or that of their own agency's people."""
    agency = page.user.agency
    return None if agency is None else [str(p.user_id) for p in people if p.agency == agency]
