"""The local API as one FastAPI application for all agencies of this gateway."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, FastAPI

from adapters.gateway.api import referrals
from adapters.gateway.api.access import LocalAccess
from adapters.gateway.api.problems import add_problem_handlers
from schemas.errors import SafelaneError

health = APIRouter(tags=["health"])


@health.get("/healthz", summary="The process answers")
async def get_health() -> dict[str, str]:
    """Answer while the process lives."""
    return {"status": "ok"}


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
    for router in (health, referrals.router, *extra_routers):
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
