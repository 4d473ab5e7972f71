"""One request of a page: who is looking, what was typed, and how to answer. ``admit`` lets a request in, in the order that safety needs.

Origin, session, capability, form token, fresh confirmation, and last the read event: whatever fails, nothing of the page has been made.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from broker.console.addresses import choose_next, with_next
from broker.console.attempts import DENIAL
from broker.console.context import ConsoleContext
from broker.console.forms import Form
from broker.console.route_policy import NavigationItem, RoutePolicy
from broker.console.sessions import Viewer, find_viewer, leave_notice
from broker.console.visits import SESSION_COOKIE, Visit, new_visit, read_visit, write_visit
from broker.store.pool import Connection, translate_errors
from schemas.errors import MalformedMessage, NotAuthenticated, NotPermitted

ACQUIRE_SECONDS: Final = 10
MAX_FIELDS: Final = 300


class SignInNeeded(NotAuthenticated):
    """Nobody is signed in, or their session is over."""

    code = "sign-in-needed"
    public_message = "Sign in to see this page."


class ConfirmationNeeded(NotPermitted):
    """A fresh second factor is needed first."""

    code = "confirmation-needed"
    public_message = "Confirm that it is you before you do this."


class FormOutOfDate(NotPermitted):
    """The form belongs to another session than the one that sends it, or came from elsewhere. Nothing was changed."""

    code = "form-out-of-date"
    public_message = "This page was out of date, so nothing was changed. You may have signed in or out in another tab. Open the page again."


class PageContext:
    """What an endpoint works with."""

    def __init__(self, context: ConsoleContext, request: Request, policy: RoutePolicy | None) -> None:
        """Start without knowing who is looking."""
        self.context = context
        self.request = request
        self.policy = policy
        self.viewer: Viewer | None = None
        self.form = Form({})
        self.now = context.clock()
        self._visit: Visit | None = None
        self._keep_visit = False

    @property
    def user(self) -> Viewer:
        """Who is looking, on a page that needs a session.

        Raises:
            SignInNeeded: nobody.
        """
        if self.viewer is None:
            raise SignInNeeded
        return self.viewer

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Give a connection of the role ``safelane_console``.

        Raises:
            StoreUnavailable: PostgreSQL does not answer.
        """
        with translate_errors():
            async with self.context.pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Give a connection inside a transaction: append the event of what you change last."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def recognise(self) -> Viewer | None:
        """Find out who is looking, from the session's cookie."""
        secret = self.request.cookies.get(SESSION_COOKIE)
        if secret and self.viewer is None:
            async with self.connection() as connection:
                self.viewer = await find_viewer(connection, secret, self.context.limits, self.now)
        return self.viewer

    # --- Who has not signed in yet ------------------------------------------------------------------------------------------

    @property
    def visit(self) -> Visit:
        """The visit of somebody who has not signed in; begun when there is none."""
        if self._visit is None:
            self._visit = read_visit(self.request, self.context.sealer, self.now) or new_visit(self.now)
        return self._visit

    @visit.setter
    def visit(self, visit: Visit) -> None:
        self._visit, self._keep_visit = visit, True

    # --- Forms -----------------------------------------------------------------------------------------------------------------

    @property
    def form_token(self) -> str:
        """What every form of this page holds in ``form_token``: bound to the session, or to the visit where there is none."""
        if self.policy is not None and self.policy.capability is None:
            self._keep_visit = True
            return self._visit_token()
        return self.session_token

    @property
    def session_token(self) -> str:
        """The form token of the session, for forms of the layout."""
        return self.context.sealer.authenticate("form", self.user.secret_sha256)

    def _visit_token(self) -> str:
        return self.context.sealer.authenticate("form", b"visit " + self.visit.visit_id.encode())

    async def read_form(self) -> None:
        """Read what was typed, and refuse a form that is not of this session.

        Raises:
            FormOutOfDate: its token is not the one that this session's pages hold.
            MalformedMessage: it is no form.
        """
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise MalformedMessage("must be an ordinary form", field="content-type")
        self.form = Form.from_data(await self.request.form(max_files=0, max_fields=MAX_FIELDS))
        if self.policy is not None and self.policy.capability is None:
            data = b"visit " + self.visit.visit_id.encode()
        else:
            data = self.user.secret_sha256
        if not self.context.sealer.is_authentic("form", data, self.form.value("form_token")):
            raise FormOutOfDate

    # --- Answers ---------------------------------------------------------------------------------------------------------------

    async def render(self, template: str, *, status: int = HTTPStatus.OK, **values: Any) -> Response:
        """Return the page of a template of this group's folder. A form with errors is answered 422."""
        folder = self.policy.folder if self.policy is not None else ""
        notice = self.viewer.notice if self.viewer is not None else None
        if self.form.errors and status == HTTPStatus.OK:
            status = HTTPStatus.UNPROCESSABLE_ENTITY
        text = self.context.renderer.render(
            f"{folder}/{template}" if folder else template,
            page=self,
            form=self.form,
            now=self.now,
            notice=notice,
            **values,
        )
        if notice is not None and self.viewer is not None:
            async with self.connection() as connection:
                await leave_notice(connection, self.viewer, None)
        response = HTMLResponse(text, status_code=status)
        if self.viewer is not None:
            # At the end of the session the browser goes by itself, without a script too, to where the page is no longer shown.
            left = math.ceil((self.viewer.ends_at - self.now).total_seconds()) + 1
            response.headers["Refresh"] = f"{left}; url={with_next('/sign-in', self.own_address)}"
        return self.finish(response)

    async def redirect(self, path: str, *, notice: str | None = None) -> Response:
        """Send the browser to another of our pages; ``notice`` is shown there once."""
        if notice is not None and self.viewer is not None:
            async with self.connection() as connection:
                await leave_notice(connection, self.viewer, notice)
        return self.finish(RedirectResponse(path, status_code=HTTPStatus.SEE_OTHER))

    def finish(self, response: Response) -> Response:
        """Set the visit's cookie where this page changed or used it."""
        if self._keep_visit:
            write_visit(response, self.visit, self.context.sealer)
        return response

    @property
    def navigation(self) -> list[dict[str, Any]]:
        """The links that this viewer may follow, for the service navigation."""
        if self.viewer is None:
            return []
        items: list[NavigationItem] = self.request.app.state.navigation
        path = self.request.url.path
        return [
            {
                "text": item.text,
                "href": item.path,
                "current": path == item.path,
                "active": item.path != "/" and path.startswith(f"{item.path}/"),
            }
            for item in items
            if self.viewer.may(item.capability) and not (item.partnership_only and self.viewer.agency)
        ]

    @property
    def address(self) -> str:
        """The client's address, as the connection has it."""
        return self.request.client.host if self.request.client else ""

    @property
    def own_address(self) -> str:
        """This page's path and query; of a form's target, which is no page to come back to, the first page."""
        url = self.request.url
        if self.request.method != "GET":
            return "/"
        return choose_next(url.path + (f"?{url.query}" if url.query else ""))

    @property
    def endings(self) -> list[dict[str, Any]]:
        """What ends the viewer's session, for a notice before it does: the nearest end first, in seconds from now."""
        if self.viewer is None:
            return []
        idle, end = self.context.limits.idle, self.viewer.ends_at
        kind = "account" if end == self.viewer.account_expires_at else "session"
        found = [{"kind": kind, "at": end, "seconds": (end - self.now).total_seconds()}]
        if self.now + idle < end:
            found.append({"kind": "idle", "at": self.now + idle, "seconds": idle.total_seconds()})
        return found

    def extend_time(self, seconds: float) -> None:
        """Let this request take longer than others: for streams, which end by themselves."""
        limit: asyncio.Timeout | None = self.request.scope.get("safelane.timeout")
        if limit is not None:
            limit.reschedule(asyncio.get_running_loop().time() + seconds)


async def admit(request: Request, policy: RoutePolicy) -> PageContext:
    """Let a request in, or raise. The read event is written last, in a transaction of its own.

    Raises:
        FormOutOfDate: a form came from elsewhere, or from another session.
        SignInNeeded: a session is needed, and there is none.
        NotPermitted: none of the viewer's roles allows it.
        ConfirmationNeeded: a fresh second factor is needed.
        NotLogged: the read could not be logged.
    """
    context: ConsoleContext = request.app.state.context
    page = PageContext(context, request, policy)
    request.state.page = page
    unsafe = policy.method != "GET"
    if unsafe:
        require_same_origin(request, context.settings.public_url)
    if policy.capability is not None:
        viewer = await page.recognise()
        if viewer is None:
            raise SignInNeeded
        if not viewer.may(policy.capability):
            await _note_denial(page, viewer)
            raise NotPermitted
    if unsafe:
        await page.read_form()
    if policy.confirmed and page.user.confirmed_at + context.limits.confirmed_for <= page.now:
        raise ConfirmationNeeded
    if policy.action is not None:
        subject = policy.subject(request)
        named = subject if isinstance(subject, str) else await subject
        await context.journal.record_read(page.user.user_id, policy.action, named)
    return page


def require_same_origin(request: Request, public_url: str) -> None:
    """Return if a browser says that the request comes from our own pages.

    Raises:
        FormOutOfDate: it says that it comes from elsewhere, or says nothing of it.
    """
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site")
    if site not in (None, "same-origin") or origin not in (None, public_url) or (origin is None and site is None):
        raise FormOutOfDate


async def _note_denial(page: PageContext, viewer: Viewer) -> None:
    """Log that somebody asked for what they may not have; who does so without end is told to wait instead."""
    if page.policy is None:
        return
    context = page.context
    key = context.attempts.denial_key(str(viewer.user_id))
    async with page.transaction() as connection:
        await context.attempts.require_free(connection, {key: DENIAL}, page.now)
        await context.attempts.count_failure(connection, [key], page.now)
        await context.journal.append(
            connection, "console_denied", by=str(viewer.user_id), action=f"{page.policy.method} {page.policy.path}"
        )


def get_page(request: Request) -> PageContext:
    """Return the page that ``admit`` let in."""
    page: PageContext = request.state.page
    return page


Page = Annotated[PageContext, Depends(get_page)]
