"""Hub workers with every check on, timed from the first message to the last confirmed delivery.

``python -m bench.worker CONFIG COUNT PROCESSES [PROFILE]`` writes one JSON line: seconds, messages, and processor seconds of all its processes.
"""

import asyncio
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Sequence
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import structlog
import uvloop

from broker.config import load_config
from broker.serving import prepare_process
from broker.wiring import build_worker

_LONGEST_SECONDS = 300


class Slot:
    """What one process tells the others."""

    def __init__(self) -> None:
        """Start with nothing taken. Values are shared with processes that are forked later."""
        self.taken: Synchronized[int] = multiprocessing.Value("q", 0)
        self.publishing: Synchronized[int] = multiprocessing.Value("q", 0)
        self.first_at: Synchronized[float] = multiprocessing.Value("d", float("inf"))
        self.last_at: Synchronized[float] = multiprocessing.Value("d", 0.0)
        self.cpu_seconds: Synchronized[float] = multiprocessing.Value("d", 0.0)


async def measure(config: Path, count: int, mine: Slot, slots: Sequence[Slot]) -> None:
    """Run a worker until all together have acked ``count`` messages, and what they release is published and settled."""
    started: list[float] = []

    def observe(step: str) -> None:
        if step == "received" and not started:
            mine.first_at.value = time.perf_counter()
            started.append(_read_cpu_seconds())
        elif step == "acked":
            mine.publishing.value = 1
        elif step == "settled" and worker.loop is not None:
            mine.taken.value, mine.last_at.value = worker.loop.taken, time.perf_counter()
            mine.publishing.value = int(not worker.loop.idle)

    worker = build_worker(load_config(config), observe=observe)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(_LONGEST_SECONDS):
        while sum(slot.taken.value for slot in slots) < count or any(slot.publishing.value for slot in slots):
            await asyncio.sleep(0.01)
            if running.done():
                await running
                raise RuntimeError("the worker has ended")
    mine.cpu_seconds.value = _read_cpu_seconds() - started[0] if started else 0.0
    worker.stop()
    await running


def _read_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _run(config: Path, count: int, mine: Slot, slots: Sequence[Slot], profile: str | None) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    prepare_process()
    if profile is None:
        uvloop.run(measure(config, count, mine, slots))
        return
    import cProfile

    with cProfile.Profile() as recorder:
        uvloop.run(measure(config, count, mine, slots))
    recorder.dump_stats(profile)


def main() -> None:
    config, count, processes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    profile = sys.argv[4] if len(sys.argv) > 4 else None
    slots = [Slot() for _ in range(processes)]
    fork: Any = multiprocessing.get_context("fork")  # as `safelane hub worker` starts its processes
    children = [
        fork.Process(target=_run, args=(config, count, slot, slots, profile if number == 0 else None))
        for number, slot in enumerate(slots)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(_LONGEST_SECONDS + 30)
        if child.exitcode != 0:
            raise SystemExit(f"a worker ended with {child.exitcode}")
    print(
        json.dumps(
            {
                "seconds": max(slot.last_at.value for slot in slots) - min(slot.first_at.value for slot in slots),
                "messages": count,
                "cpu_seconds": sum(slot.cpu_seconds.value for slot in slots),
            }
        )
    )


if __name__ == "__main__":
    main()
