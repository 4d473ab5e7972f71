"""One hub worker with every check on, timed from its first message to the last confirmed delivery.

``python -m bench.worker CONFIG COUNT`` writes one JSON line: seconds and messages.
"""

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

import structlog
import uvloop

from broker.config import load_config
from broker.serving import prepare_process
from broker.wiring import build_worker


async def measure(config: Path, count: int) -> dict[str, float]:
    """Run a worker until ``count`` messages are acked and what they release is published and settled."""
    marks: dict[str, float] = {}
    settled = asyncio.Event()

    def observe(step: str) -> None:
        marks.setdefault(step, time.perf_counter())
        if step == "received":
            used = resource.getrusage(resource.RUSAGE_SELF)
            marks.setdefault("cpu", used.ru_utime + used.ru_stime)
        if step == "settled" and worker.loop is not None and worker.loop.taken >= count and worker.loop.idle:
            settled.set()

    worker = build_worker(load_config(config), observe=observe)
    running = asyncio.create_task(worker.run())
    await asyncio.wait_for(settled.wait(), 120)
    seconds = time.perf_counter() - marks["received"]
    worker.stop()
    await running
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"seconds": seconds, "messages": count, "cpu_seconds": used.ru_utime + used.ru_stime - marks["cpu"]}


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    prepare_process()
    config, count = Path(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) > 3:
        import cProfile

        with cProfile.Profile() as profile:
            result = uvloop.run(measure(config, count))
        profile.dump_stats(sys.argv[3])
    else:
        result = uvloop.run(measure(config, count))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
