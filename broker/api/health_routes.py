"""For operators and load balancers: alive, ready, metrics. None of them says anything of a referral or an agency."""

from fastapi import APIRouter, Response

from broker.api.answers import answer_json, describe
from broker.api.context import Context
from schemas.errors import SafelaneError

router = APIRouter(tags=["operation"])

READY_EXAMPLE = {"ready": True, "checks": {"postgresql": "ok", "log": "ok", "directory": "ok", "rabbitmq": "ok"}}


@router.get("/healthz", summary="The process answers", openapi_extra=describe(answer={"alive": True}))
async def get_health() -> Response:
    """Return that the process is alive; nothing else is looked at, so that a restart is not tried where it cannot help."""
    return answer_json({"alive": True})


@router.get("/readyz", summary="The process can do its work", openapi_extra=describe(answer=READY_EXAMPLE))
async def get_readiness(context: Context) -> Response:
    """Check PostgreSQL, the message log, the directory's date and RabbitMQ; 503 if one of them fails."""
    results = await context.readiness.check()
    ready = all(result.ready for result in results)
    checks = {result.name: "ok" if result.ready else result.code for result in results}
    return answer_json({"ready": ready, "checks": checks}, status=200 if ready else 503)


@router.get("/metrics", summary="Prometheus metrics", openapi_extra=describe(answer="…", media_type="text/plain"))
async def get_metrics(context: Context) -> Response:
    """Return counts and times, by route template."""
    try:
        snapshot = await context.registry.current()
        left = (snapshot.directory.expires_at - context.clock()).total_seconds()
    except SafelaneError:
        left = 0.0
    context.metrics.directory_seconds.set(left)
    return Response(context.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
