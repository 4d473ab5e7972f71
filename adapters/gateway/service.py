"""Running a gateway: all loops of all agencies under one supervisor, and the local API. Crash-only: stopping is only quicker than being killed."""

import asyncio
import contextlib
import random
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import structlog
import uvicorn
from fastapi import FastAPI

from adapters.gateway.agency import AgencyGateway
from adapters.gateway.config import GatewayConfig
from schemas.errors import ConfigInvalid, SafelaneError

_log = structlog.get_logger(__name__)

LONGEST_PAUSE = 30.0
STOP_TIMEOUT = 10.0
REQUEST_DRAIN = 5

Loop = Callable[[asyncio.Event], Awaitable[None]]


@dataclass(slots=True)
class Gateway:
    """The gateway program: its agencies and its local API. ``loops`` are further loops by name (drop folders)."""

    config: GatewayConfig
    agencies: dict[str, AgencyGateway]
    app: FastAPI
    loops: dict[str, Loop] = field(default_factory=dict)
    port: int = 0
    """The port of the local API once it is bound."""

    async def run(self, stop: asyncio.Event, *, ready: Callable[[int], None] | None = None) -> None:
        """Run until ``stop`` is set. ``ready`` is called with the local API's port once it is bound.

        Raises:
            ConfigInvalid: the local API's address is taken.
        """
        listener = bind_listener(self.config.listen_host, self.config.listen_port)
        self.port = listener.getsockname()[1]
        loops = dict(self.loops)
        for agency, gateway in self.agencies.items():
            loops[f"{agency}/upkeep"] = gateway.upkeep.run
            loops[f"{agency}/witness"] = gateway.witness.run
            loops[f"{agency}/sender"] = gateway.sender.run
            loops[f"{agency}/receiving"] = gateway.receiving.run
        tasks = [asyncio.create_task(supervise(name, loop, stop), name=name) for name, loop in loops.items()]
        tasks.append(asyncio.create_task(self._serve(listener, stop), name="api"))
        if ready is not None:
            ready(self.port)
        try:
            await stop.wait()
        finally:
            stop.set()
            _, late = await asyncio.wait(tasks, timeout=STOP_TIMEOUT)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.close()

    async def close(self) -> None:
        """Close connections and files."""
        for gateway in self.agencies.values():
            await gateway.parts.publisher.close()
            await gateway.parts.hub.close()
            gateway.parts.store.close()

    async def _serve(self, listener: socket.socket, stop: asyncio.Event) -> None:
        server = _LocalServer(
            uvicorn.Config(
                self.app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=REQUEST_DRAIN,
                limit_concurrency=200,
                lifespan="off",
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await stop.wait()
        server.should_exit = True
        await serving


class _LocalServer(uvicorn.Server):
    """uvicorn without its own signal handlers: the program's are in the command line."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def supervise(name: str, loop: Loop, stop: asyncio.Event) -> None:
    """Run ``loop`` until ``stop`` is set; when it ends or fails, start it again after a pause that grows, with jitter."""
    failures = 0
    while not stop.is_set():
        try:
            await loop(stop)
            failures = 0
        except SafelaneError as error:
            failures += 1
            _log.error("loop_failed", loop=name, code=error.code, field=error.field)
        except Exception as error:  # noqa: BLE001 - whatever it was, the loop starts again; the type alone is logged
            failures += 1
            cause = _first_cause(error)
            if isinstance(cause, SafelaneError):
                _log.error("loop_failed", loop=name, code=cause.code, field=cause.field)
            else:
                _log.error("loop_crashed", loop=name, error=type(cause).__name__, at=_where(cause))
        if not stop.is_set():
            pause = min(LONGEST_PAUSE, 0.2 * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), timeout=pause)


def bind_listener(host: str, port: int) -> socket.socket:
    """Bind the local API's socket.

    Raises:
        ConfigInvalid: the address is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise ConfigInvalid("the address is taken or not ours", field="listen_port") from None
    listener.listen(128)
    return listener


def _first_cause(error: BaseException) -> BaseException:
    """Return the first error in a group of errors, as a task group raises it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _where(error: BaseException) -> str:
    """Return file and line of the innermost frame: enough to find a fault, without arguments or text that may hold content."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"
