"""The hub's HTTP API as an application: routes, problem documents, guards. ``broker.wiring`` gives it its context."""

from fastapi import FastAPI

from broker.api import (
    audit_routes,
    chronology_routes,
    directory_routes,
    enrolment_routes,
    health_routes,
    log_routes,
    policy_routes,
    referral_routes,
    report_routes,
    review_routes,
)
from broker.api.context import ApiContext
from broker.api.guard import REQUEST_SECONDS, Guard
from broker.api.problems import install_problem_handlers

DESCRIPTION = """
Agencies' gateways call this API for plans, the directory, keys, enrolment and the state of their own referrals; referrals themselves travel
over RabbitMQ. Callers authenticate by `Authorization: Bearer <JWT>`: Ed25519, signed with the agency's API key, `iss` = `sub` = agency id,
`aud` = this hub's URL, at most five minutes long, each `jti` used once. Every failure is a problem document (RFC 9457).
"""


def create_app(context: ApiContext, *, request_seconds: float = REQUEST_SECONDS) -> FastAPI:
    """Return the application. It holds no state of its own: any number of processes may serve it."""
    app = FastAPI(
        title="Safelane hub",
        version="1",
        description=DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.context = context
    install_problem_handlers(app)
    for module in (
        directory_routes,
        enrolment_routes,
        referral_routes,
        review_routes,
        audit_routes,
        report_routes,
        policy_routes,
        chronology_routes,
        log_routes,
        health_routes,
    ):
        app.include_router(module.router)
    app.add_middleware(Guard, metrics=context.metrics, seconds=request_seconds)
    return app
