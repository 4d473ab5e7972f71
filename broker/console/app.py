"""The console as an application: groups of pages, problem pages, guards. ``broker.console.wiring`` gives it its context."""

from collections.abc import Sequence
from http import HTTPStatus

from fastapi import FastAPI, Response
from fastapi.routing import APIRoute

from broker.console.context import ConsoleContext
from broker.console.page import Page
from broker.console.pages import PAGES
from broker.console.problems import install_problem_pages, show_fault
from broker.console.route_policy import RoutePolicy
from broker.console.routing import Pages
from broker.console.security import REQUEST_SECONDS, Guard
from broker.store.pool import translate_errors
from schemas.errors import NotFound, SafelaneError

FOR_GOOD = "public, max-age=31536000, immutable"

ground = Pages("")


@ground.public("/static/{digest}/{name:path}")
async def get_asset(page: Page, digest: str, name: str) -> Response:
    """Return a style, script or picture, for browsers to keep for good."""
    assets = page.context.assets
    asset = assets.files.get(name)
    if asset is None or digest != assets.digest:
        raise NotFound("there is no such file", field="name")
    return Response(asset.content, media_type=asset.media_type, headers={"Cache-Control": FOR_GOOD})


@ground.public("/healthz")
async def get_health(page: Page) -> Response:
    """Return that the process is alive; nothing else is looked at."""
    return Response('{"alive":true}', media_type="application/json")


@ground.public("/readyz")
async def get_readiness(page: Page) -> Response:
    """Return whether the database and the log can be used; 503 if not."""
    ready = False
    try:
        with translate_errors():
            ready = await page.context.pool.fetchval(
                "SELECT NOT pg_is_in_recovery() AND has_table_privilege('log_entries', 'INSERT')", timeout=5
            )
    except SafelaneError:
        ready = False
    text = '{"ready":true}' if ready else '{"ready":false}'
    return Response(text, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, media_type="application/json")


def create_app(
    context: ConsoleContext, *, groups: Sequence[Pages] = PAGES, request_seconds: float = REQUEST_SECONDS
) -> FastAPI:
    """Return the application. It holds no state of its own: any number of processes may serve it.

    Raises:
        RuntimeError: a route came in without a policy.
    """
    app = FastAPI(title="Safelane console", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.context = context
    everything = (ground, *groups)
    for group in everything:
        app.router.routes.extend(group.router.routes)
    app.state.navigation = sorted(
        (group.navigation for group in groups if group.navigation is not None), key=lambda item: item.order
    )
    require_policies(app, list_policies(everything))
    install_problem_pages(app)
    app.add_middleware(Guard, public_url=context.settings.public_url, show_fault=show_fault, seconds=request_seconds)
    return app


def list_policies(groups: Sequence[Pages] = (ground, *PAGES)) -> list[RoutePolicy]:
    """Return the policy of every route."""
    return [policy for group in groups for policy in group.policies]


def require_policies(app: FastAPI, policies: Sequence[RoutePolicy]) -> None:
    """Return if every route says who may use it, and every page what is logged before it is shown.

    Raises:
        RuntimeError: one does not.
    """
    known = {(policy.method, policy.path) for policy in policies}
    for route in app.routes:
        methods = route.methods if isinstance(route, APIRoute) else set()
        if not methods or any((method, route.path) not in known for method in methods):  # type: ignore[attr-defined]
            raise RuntimeError(f"a route was not registered through Pages: {getattr(route, 'path', '?')}")
    for policy in policies:
        if policy.method == "GET" and policy.capability is not None and not policy.action:
            raise RuntimeError(f"a page does not say what is logged before it is shown: {policy.path}")
