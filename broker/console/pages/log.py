"""The message log: search and filter, saved searches, and what was found as a file."""

from typing import Final

from fastapi import Response
from fastapi.responses import StreamingResponse
from starlette.datastructures import QueryParams

from broker.audit.exporting import MEDIA_TYPES, ExportFormat, count_rows, write_export
from broker.audit.filters import DEFAULT_PAGE, Cursor, SearchFilter
from broker.audit.saved_views import delete_view, list_views, save_view
from broker.audit.searching import SearchPage, search_events
from broker.audit.wording import tell_event
from broker.console.access import Capability
from broker.console.forms import Form
from broker.console.names import read_names
from broker.console.page import Page, PageContext
from broker.console.routing import Pages
from broker.console.searching import list_events, list_kinds, name_search, read_form, write_query, write_saved
from schemas.errors import Conflict, MalformedMessage

EXPORT_SECONDS: Final = 120.0

pages = Pages("log", navigation=("Message log", "/log", Capability.SEARCH_LOG, 20))


@pages.read("/log", capability=Capability.SEARCH_LOG, action="search", subject=name_search)
async def search_log(page: Page) -> Response:
    """Show a page of events, newest first."""
    page.form, search = read_form(page.request.query_params)
    return await _show(page, search, page.request.query_params.get("cursor"))


@pages.read("/log/export.csv", capability=Capability.EXPORT_LOG, action="export_csv", subject=name_search)
async def export_log(page: Page) -> Response:
    """Send what a search finds as CSV.

    Raises:
        MalformedMessage: the address is not that of a search.
    """
    _, search = read_form(page.request.query_params)
    if search is None:
        raise MalformedMessage("is not a search: make the search on the page first", field="search")
    asked = (await read_names(page)).resolve(search)

    async def read_page(cursor: str | None) -> SearchPage:
        place = Cursor.read(cursor, asked) if cursor else None
        async with page.connection() as connection:
            return await search_events(
                connection, asked, agency=page.user.agency, cursor=place, most=count_rows(cursor)
            )

    page.extend_time(EXPORT_SECONDS)
    headers = {"Content-Disposition": 'attachment; filename="safelane-events.csv"'}
    pieces = write_export(read_page, ExportFormat.CSV)
    return StreamingResponse(pieces, media_type=MEDIA_TYPES[ExportFormat.CSV], headers=headers)


@pages.act("/log/views", capability=Capability.SEARCH_LOG)
async def keep_view(page: Page) -> Response:
    """Keep a search under a name of one's own."""
    typed = page.form
    asked, search = read_form(_as_query(typed))
    name = typed.text("view_name", required="Enter a name for this search", most=60)
    if search is not None and not typed.errors:
        try:
            async with page.transaction() as connection:
                await save_view(connection, str(page.user.user_id), name, search, now=page.now)
                await page.context.journal.append(
                    connection, "audit_read", by=str(page.user.user_id), action="view_saved", subject=""
                )
            return await page.redirect(f"/log?{write_query(asked)}", notice="The search is saved.")
        except (MalformedMessage, Conflict) as error:
            typed.fail_with(error, "view_name")
    page.form = Form({**asked.values, "view_name": [name]}, {**asked.errors, **typed.errors})
    return await _show(page, search, None)


@pages.act("/log/views/delete", capability=Capability.SEARCH_LOG)
async def forget_view(page: Page) -> Response:
    """Forget one of one's saved searches.

    Raises:
        NotFound: there is none of that name.
    """
    async with page.transaction() as connection:
        await delete_view(connection, str(page.user.user_id), page.form.text("view_name"))
        await page.context.journal.append(
            connection, "audit_read", by=str(page.user.user_id), action="view_deleted", subject=""
        )
    return await page.redirect("/log", notice="The saved search is deleted.")


async def _show(page: PageContext, search: SearchFilter | None, cursor: str | None) -> Response:
    found, people = None, await read_names(page)
    async with page.connection() as connection:
        views = await list_views(connection, str(page.user.user_id))
        if search is not None:
            asked = people.resolve(search)
            place = Cursor.read(cursor, asked) if cursor else None
            found = await search_events(connection, asked, agency=page.user.agency, cursor=place, most=DEFAULT_PAGE)
    directory = (await page.context.registry.current()).directory
    query = write_query(page.form)
    following = f"/log?{write_query(page.form, cursor=found.next_cursor)}" if found and found.next_cursor else None
    return await page.render(
        "search.html",
        found=found,
        people=people,
        words=tell_event,
        events=list_events(),
        kinds=list_kinds(),
        agencies=[(a.id, a.name) for a in directory.agencies],
        views=[(view.name, f"/log?{write_saved(view.search)}") for view in views],
        query=query,
        following=following,
        first=f"/log?{query}" if cursor else None,
        may_export=page.user.may(Capability.EXPORT_LOG),
        may_read=page.user.may(Capability.READ_REFERRAL),
    )


def _as_query(form: Form) -> QueryParams:
    return QueryParams([(name, text) for name, texts in form.values.items() for text in texts])
