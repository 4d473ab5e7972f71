"""Pages for what goes wrong: plain words, what to do next, and the same page for what is not there and what may not be known of."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from broker.console.addresses import choose_next, with_next
from broker.console.kept_forms import RESUME_PATH, KeptForm, keep_form
from broker.console.page import ConfirmationNeeded, PageContext, SignInNeeded
from broker.console.visits import SESSION_COOKIE
from schemas.errors import IntegrityBroken, SafelaneError

RETRY_AFTER_SECONDS: Final = "30"

HEADINGS: Final[Mapping[int, str]] = {
    400: "There is a problem with this address",
    403: "You cannot do this",
    404: "Page not found",
    405: "Page not found",
    409: "This has changed meanwhile",
    413: "This is too large",
    414: "This address is too long",
    422: "There is a problem with what you sent",
    429: "Too many attempts",
    500: "Sorry, there is a problem with the service",
    503: "Sorry, the service is not available",
}

HEADINGS_OF_CODES: Final[Mapping[str, str]] = {
    "link-spent": "This link no longer works",
    "two-must-approve": "Two people must approve this",
}
"""Of errors that say more than their status."""

log = structlog.get_logger("safelane.console")


class PageFault(SafelaneError):
    """A fault that is not one of ours by name: shown by its status alone."""

    code = "page-fault"

    def __init__(self, status: int) -> None:
        """Take the status."""
        super().__init__()
        self.shown_status = status


async def answer_problem(request: Request, error: SafelaneError) -> Response:
    """Return the page for an error; who must sign in or confirm first is sent there."""
    context = request.app.state.context
    page: PageContext = getattr(request.state, "page", None) or PageContext(context, request, None)
    if isinstance(error, SignInNeeded):
        return RedirectResponse(with_next("/sign-in", _find_way_back(request)), HTTPStatus.SEE_OTHER)
    if isinstance(error, ConfirmationNeeded):
        following = await _keep_form(page) if request.method == "POST" else _find_way_back(request)
        return RedirectResponse(with_next("/account/confirm", following), HTTPStatus.SEE_OTHER)
    if isinstance(error, IntegrityBroken):
        log.error("integrity_broken", code=error.code, field=error.field)
    if page.viewer is None and request.cookies.get(SESSION_COOKIE):
        await _recognise(page)
    return render_problem(page, error)


def show_fault(request: Request, status: HTTPStatus) -> Response:
    """Return the page of a fault that is known by its status alone, without asking the database who is looking."""
    return render_problem(PageContext(request.app.state.context, request, None), PageFault(status))


def render_problem(page: PageContext, error: SafelaneError) -> Response:
    """Return the page for an error."""
    context = page.context
    status = getattr(error, "shown_status", error.status)
    page.form.errors.clear()
    text = context.renderer.render(
        "problem.html",
        page=page,
        form=page.form,
        now=page.now,
        notice=None,
        heading=HEADINGS_OF_CODES.get(error.code) or HEADINGS.get(status, HEADINGS[500]),
        status=status,
        error=error,
        help_text=context.settings.help_text,
    )
    response = Response(text, status_code=status, media_type="text/html; charset=utf-8")
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        response.headers["Retry-After"] = RETRY_AFTER_SECONDS
    return response


def install_problem_pages(app: FastAPI) -> None:
    """Make ``app`` answer every failure with a page."""

    @app.exception_handler(SafelaneError)
    async def answer_ours(request: Request, error: SafelaneError) -> Response:
        return await answer_problem(request, error)

    @app.exception_handler(RequestValidationError)
    async def answer_validation(request: Request, _error: RequestValidationError) -> Response:
        return await answer_problem(request, PageFault(HTTPStatus.NOT_FOUND))

    @app.exception_handler(HTTPException)
    async def answer_http(request: Request, error: HTTPException) -> Response:
        return await answer_problem(request, PageFault(error.status_code))


async def _recognise(page: PageContext) -> None:
    """Find out who is looking, for the navigation; where even that fails, the page says so without it."""
    try:
        await page.recognise()
    except SafelaneError as error:
        log.warning("viewer_unknown", code=error.code)


async def _keep_form(page: PageContext) -> str:
    """Keep what was typed until the person has confirmed that it is they; return where it is then handed back."""
    values = {name: texts for name, texts in page.form.values.items() if name != "form_token"}
    form = KeptForm(quote(page.request.url.path), values)
    async with page.connection() as connection:
        await keep_form(connection, page.context.sealer, page.user.session_id, form, page.now)
    return RESUME_PATH


def _find_way_back(request: Request) -> str:
    """Return where to go afterwards: the page itself or, of a form's target, the page of ours that the form was on."""
    if request.method == "GET":
        return PageContext(request.app.state.context, request, None).own_address
    origin, _, path = request.headers.get("referer", "").partition(request.app.state.context.settings.public_url)
    return choose_next(path) if path and not origin else request.url.path
