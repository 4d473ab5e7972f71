"""Running workers: one process a core under uvloop, supervised by a parent that holds nothing and starts again what dies.

A worker is stateless and may be killed at any instant. The parent restarts it with growing pauses, and gives up on one thing only: a broken integrity
(exit code 4), after which nothing must be released until a person has looked. A parent that is killed takes its workers with it, so that whoever starts
it again never has twice as many.
"""

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import time
from collections.abc import Callable
from datetime import datetime
from typing import cast

import structlog
import uvloop

from broker.config import HubConfig
from broker.wiring import build_worker
from schemas.errors import IntegrityBroken, SafelaneError

_log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]

EXIT_FAILED = 1
EXIT_INTEGRITY_BROKEN = 4
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_HEALTHY_SECONDS = 60.0
_LONGEST_PAUSE = 30.0


def serve_worker(config: HubConfig, clock: Clock | None = None, *, parent: int | None = None) -> int:
    """Run one worker in this process until SIGTERM or SIGINT; return an exit code.

    ``parent`` is the reading end of a pipe that only the parent can write to: when it closes, the parent has died, and the worker ends too.
    """
    prepare_process()
    try:
        uvloop.run(_run_worker(config, clock, parent))
    except* SafelaneError as group:
        code = _read_exit_code(group)
    else:
        code = 0
    return code


def serve_workers(config: HubConfig, clock: Clock | None = None) -> int:
    """Run ``config.worker.processes`` workers until SIGTERM or SIGINT; return an exit code. With one, it runs in this process."""
    if config.worker.processes == 1:
        return serve_worker(config, clock)
    return _Supervisor(config, clock).run()


def prepare_process() -> None:
    """Tune the garbage collector and the allocator for batches.

    A batch makes many objects, nearly all of which die by reference count: full collections were a tenth of the time. And it makes buffers of
    megabytes, which glibc would give back to the kernel each time, to fault them in again for the next batch: they are kept instead.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Tell glibc's malloc (mallopt(3)) to keep what is freed; another C library has no such setting, and is left as it is."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 256 << 20)


def _read_exit_code(group: ExceptionGroup[SafelaneError]) -> int:
    """Log why a worker ended and return its exit code. A broken integrity counts before all else."""
    broken, others = group.split(IntegrityBroken)
    if broken is not None:
        _log.critical("worker.integrity-broken", failures=len(broken.exceptions))
        return EXIT_INTEGRITY_BROKEN
    _log.error("worker.failed", failures=len(others.exceptions) if others else 0)
    return EXIT_FAILED


async def _run_worker(config: HubConfig, clock: Clock | None, parent: int | None) -> None:
    worker = build_worker(config, clock)
    loop = asyncio.get_running_loop()
    for number in _STOPPING:
        loop.add_signal_handler(number, worker.stop)

    def stop_with_parent() -> None:
        _log.error("worker.parent-died")
        loop.remove_reader(cast(int, parent))
        worker.stop()

    if parent is not None:
        loop.add_reader(parent, stop_with_parent)
    await worker.run()


class _Supervisor:
    """The parent. It has no threads, connections or keys, so that forking is safe."""

    def __init__(self, config: HubConfig, clock: Clock | None) -> None:
        self._config = config
        self._clock = clock
        self._children: dict[int, tuple[int, float]] = {}
        """Process id to (slot, start)."""
        self._stopping = False
        self._failures: dict[int, int] = {}
        # Nothing is ever written: a pipe whose writing end closes tells the children that the parent is gone, however it went.
        self._living, self._lifeline = os.pipe()

    def run(self) -> int:
        """Supervise until told to stop, or until a worker reports a broken integrity."""
        for number in _STOPPING:
            signal.signal(number, self._stop)
        for slot in range(self._config.worker.processes):
            self._start(slot)
        code = 0
        while self._children:
            pid, status = os.wait()
            slot, started = self._children.pop(pid, (-1, 0.0))
            ended = os.waitstatus_to_exitcode(status)
            if slot < 0:
                continue
            if ended == EXIT_INTEGRITY_BROKEN:
                code = EXIT_INTEGRITY_BROKEN
                self._stop(signal.SIGTERM, None)
            elif not self._stopping:
                self._restart(slot, started, ended)
        return code

    def _start(self, slot: int) -> None:
        # A signal that comes between fork and the lines below would be lost: on a child that is not listed yet, or on our handler in the child.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        if self._stopping:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
            return  # nobody would tell this one
        pid = os.fork()
        if pid == 0:
            for number in _STOPPING:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
            os.close(self._lifeline)
            os._exit(serve_worker(self._config, self._clock, parent=self._living))
        self._children[pid] = (slot, time.monotonic())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)

    def _restart(self, slot: int, started: float, ended: int) -> None:
        healthy = time.monotonic() - started >= _HEALTHY_SECONDS
        self._failures[slot] = 0 if healthy else self._failures.get(slot, 0) + 1
        pause = min(_LONGEST_PAUSE, 2.0 ** self._failures[slot] / 2)
        _log.error("worker.died", slot=slot, exit=ended, restart_in=pause)
        time.sleep(pause)
        if not self._stopping:
            self._start(slot)

    def _stop(self, number: int, _frame: object) -> None:
        self._stopping = True
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
