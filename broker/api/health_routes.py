"""For operators and load balancers: alive, ready, metrics. None of them says anything of a referral or an agency."""

from typing import Any

from fastapi import APIRouter, Response

from broker.api.answers import answer_json, describe
from broker.api.context import Context
from broker.audit import ProjectionState, read_projections
from broker.log.timestamping import read_timestamp_state
from broker.log.witnessing import read_witness_state
from broker.registry import versions
from broker.store.pool import translate_errors
from schemas.errors import SafelaneError

router = APIRouter(tags=["operation"])

READY_EXAMPLE = {"ready": True, "checks": {"postgresql": "ok", "log": "ok", "directory": "ok", "rabbitmq": "ok"}}


@router.get("/healthz", summary="The process answers", openapi_extra=describe(answer={"alive": True}))
async def get_health() -> Response:
    """Return that the process is alive; nothing else is looked at, so that a restart is not tried where it cannot help."""
    return answer_json({"alive": True})


@router.get("/readyz", summary="The process can do its work", openapi_extra=describe(answer=READY_EXAMPLE))
async def get_readiness(context: Context) -> Response:
    """Check PostgreSQL, the message log, the directory's date and RabbitMQ; 503 if one of them fails, with the reason in words.

    ``intake`` says how many workers take referrals in. None of them is for an operator to hear, not for a load balancer: the API can do its work.
    """
    results = await context.readiness.check()
    ready = all(result.ready for result in results)
    checks = {result.name: "ok" if result.ready else result.code for result in results}
    answer: dict[str, Any] = {"ready": ready, "checks": checks}
    if not ready:
        answer["why"] = {result.name: result.why for result in results if not result.ready}
    if intake := _describe_intake(context):
        answer["intake"] = intake
    if checks.get("postgresql") == "ok":
        answer["log"] = await _describe_log(context)
        answer["audit"] = {
            state.name: {
                "position": state.position,
                "behind": state.behind,
                "lag_seconds": round(state.lag_seconds()),
            }
            for state in await _read_projections(context)
        }
    return answer_json(answer, status=200 if ready else 503)


@router.get("/metrics", summary="Prometheus metrics", openapi_extra=describe(answer="…", media_type="text/plain"))
async def get_metrics(context: Context) -> Response:
    """Return counts and times, by route template."""
    try:
        snapshot = await context.registry.current()
        left = (snapshot.directory.expires_at - context.clock()).total_seconds()
    except SafelaneError:
        left = 0.0
    context.metrics.directory_seconds.set(left)
    for check in await context.readiness.check():
        context.metrics.ready.labels(check=check.name).set(int(check.ready))
    watch = context.readiness.lock_watch
    context.metrics.lock_held.set(watch.held_seconds if watch else 0.0)
    context.metrics.workers.set(_describe_intake(context).get("workers", 0))
    described = await _describe_log(context)
    context.metrics.unwitnessed.set(described.get("size", 0) - described.get("witnessed_size", 0))
    if "seconds_since_checkpoint" in described:
        context.metrics.checkpoint_age.set(described["seconds_since_checkpoint"])
    context.metrics.timestamps_late.set(described.get("timestamps", {}).get("late_seconds", 0))
    for state in await _read_projections(context):
        context.metrics.projection_behind.labels(projection=state.name).set(state.behind)
        context.metrics.projection_lag.labels(projection=state.name).set(state.lag_seconds())
    return Response(context.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _describe_intake(context: Context) -> dict[str, int]:
    """Return how many workers there are and what waits in each lane, as last seen; nothing where RabbitMQ did not answer."""
    watch = context.readiness.intake_watch
    if watch is None or not watch.lanes:
        return {}
    return {"workers": watch.workers} | {lane: state.waiting for lane, state in watch.lanes.items()}


async def _read_projections(context: Context) -> list[ProjectionState]:
    """Return how far searches are behind the log; nothing while PostgreSQL is away, which the check of that name says."""
    names = [projection.name for projection in context.projector.projections]
    try:
        with translate_errors():
            async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
                return await read_projections(connection, names)
    except SafelaneError:
        return []


async def _describe_log(context: Context) -> dict[str, Any]:
    """Return how far the log and its witnesses are. Late cosignatures and timestamps are told of here and never make the hub unready."""
    try:
        directory = (await context.registry.current()).directory
        with translate_errors():
            async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
                state = await read_witness_state(connection, directory)
                stamps = await read_timestamp_state(connection) if context.timestamper else None
    except SafelaneError as error:
        return {"code": error.code}
    described: dict[str, Any] = {
        "size": state.newest_size,
        "witnessed_size": state.witnessed_size,
        "quorum": state.quorum,
        "witnesses": len(directory.witnesses.agencies),
        "witnesses_heard": len(state.cosigned_at),
    }
    if state.newest_at is not None:
        described["seconds_since_checkpoint"] = round((context.clock() - state.newest_at).total_seconds())
    if stamps is not None and context.timestamper is not None:
        late = stamps.late_by(context.clock(), context.timestamper.late_after)
        described["timestamps"] = {"size": stamps.stamped_size, "late_seconds": round(late.total_seconds())}
    return described
