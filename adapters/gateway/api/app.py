"""The local API as one FastAPI application for all agencies of this gateway."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, FastAPI, Request

from adapters.gateway.api import referrals
from adapters.gateway.api.access import LocalAccess
from adapters.gateway.api.log import router as log_router
from adapters.gateway.api.metrics import router as metrics_router
from adapters.gateway.api.problems import add_problem_handlers
from adapters.gateway.witnessing.log_watch import USE_THE_TELEPHONE
from schemas.errors import SafelaneError

health = APIRouter(tags=["health"])


@health.get("/healthz", summary="The process answers, and whether the log stops it from sending")
async def get_health(request: Request) -> dict[str, Any]:
    """Answer while the process lives. ``stopped``: the hub's log contradicts itself, and nothing is sent."""
    access: LocalAccess = request.app.state.access
    stopped = {g.agency: stop for g in access.list_gateways() if (stop := g.witness.watch.find_stop())}
    return {"status": "stopped", "agencies": stopped, "advice": USE_THE_TELEPHONE} if stopped else {"status": "ok"}


def create_app(access: LocalAccess, *, extra_routers: tuple[APIRouter, ...] = ()) -> FastAPI:
    """Build the application. ``extra_routers`` are the receiving half's. It listens on a loopback address only (``service``)."""
    app = FastAPI(
        title="Safelane gateway",
        summary="Hand over referrals and read what arrives. For systems on this machine.",
        version=_read_version(),
        docs_url=None,
        redoc_url=None,
    )
    app.state.access = access
    add_problem_handlers(app)
    for router in (health, metrics_router, referrals.router, log_router, *extra_routers):
        app.include_router(router, responses=_problem_responses())
    return app


def _read_version() -> str:
    try:
        return version("safelane")
    except PackageNotFoundError:
        return "0"


def _problem_responses() -> dict[int | str, dict[str, Any]]:
    described = {401: "The local token is missing or unknown.", 422: SafelaneError.public_message, 503: "Try again."}
    return {
        status: {"description": text, "content": {"application/problem+json": {}}} for status, text in described.items()
    }
