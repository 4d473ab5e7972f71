"""Prometheus metrics of a gateway, read when they are asked for: what waits, what a person must look at, whether it may send. Counts and ages
by agency, never an id, a person or content."""

import asyncio
from collections.abc import Iterable, Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from adapters.gateway.agency import AgencyGateway
from adapters.gateway.api.access import LocalAccess
from schemas.errors import SafelaneError

router = APIRouter(tags=["health"])


class GatewayCollector(Collector):
    """Reads every agency's store once a scrape."""

    def __init__(self, gateways: Iterable[AgencyGateway]) -> None:
        """Keep the agencies' gateways."""
        self._gateways = list(gateways)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield each metric with a sample an agency."""
        waiting = _gauge("waiting_referrals", "Taken in and not yet proven in the hub's log", "state")
        oldest = _gauge("oldest_waiting_seconds", "Age of the oldest of them; 0 where none waits")
        alarms = _gauge("alarms", "Alarms of referrals: each means the telephone")
        attention = _gauge("attention", "What waits for a person, at most 1,000", "what")
        stopped = _gauge("sending_stopped", "1 if the hub's log contradicts itself and nothing is sent")
        expires = _gauge("directory_expires_in_seconds", "Time until the directory expires; 0 without one")
        for gateway in self._gateways:
            agency, now = gateway.agency, gateway.parts.real_clock()
            backlog = gateway.outbox.count_backlog()
            for state, count in backlog.by_state.items():
                waiting.add_metric([agency, state], count)
            age = (now - backlog.oldest_at).total_seconds() if backlog.oldest_at else 0.0
            oldest.add_metric([agency], max(age, 0.0))
            alarms.add_metric([agency], len(gateway.outbox.list_alarms(limit=1000)))
            for what, count in _count_attention(gateway).items():
                attention.add_metric([agency, what], count)
            stopped.add_metric([agency], int(gateway.witness.watch.find_stop() is not None))
            expires.add_metric([agency], _find_seconds_left(gateway))
        yield from (waiting, oldest, alarms, attention, stopped, expires)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def get_metrics(request: Request) -> Response:
    """Return counts and ages of every agency of this gateway. It listens on this machine alone, and they name agencies and nobody else."""
    access: LocalAccess = request.app.state.access
    registry = CollectorRegistry()
    registry.register(GatewayCollector(access.list_gateways()))
    text = await asyncio.to_thread(generate_latest, registry)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _gauge(name: str, described: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"safelane_gateway_{name}", described, labels=["agency", *labels])


def _count_attention(gateway: AgencyGateway) -> dict[str, int]:
    receiving = gateway.receiving
    return {
        "quarantine": len(receiving.quarantine.list_messages(limit=1000)),
        "failed_outputs": len(receiving.outputs.list_failed(limit=1000)),
        "overdue_clocks": len(gateway.outbox.tracking.clocks.list_escalations()),
    }


def _find_seconds_left(gateway: AgencyGateway) -> float:
    try:
        directory = gateway.keeper.current().directory
    except SafelaneError:
        return 0.0
    return max((directory.expires_at - gateway.parts.real_clock()).total_seconds(), 0.0)
