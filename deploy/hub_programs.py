"""Runs the hub's programs: API and console under uvicorn with TLS 1.3, and the worker. Crash-only: killing either at any instant is safe."""

import asyncio
import signal
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from broker.amqp.topology import declare_topology
from broker.api.settings import ApiSettings
from broker.api.wiring import open_api, read_clock
from broker.config import HubConfig, read_log_key
from broker.console.settings import ConsoleSettings
from broker.console.wiring import open_console
from broker.log import LogWriter
from broker.log.configuration import note_configuration
from broker.store import open_pool, translate_errors, upgrade_database
from deploy.clock import build_business_clock
from deploy.console_services import build_console_services
from deploy.http_deadlines import DeadlinedProtocol
from schemas.canonical import sha256_base64url
from schemas.errors import ConfigInvalid

KEEP_ALIVE_SECONDS = 15
GRACE_SECONDS = 10
MAX_HEADER_BYTES = 16 * 1024


async def prepare_hub(config: HubConfig) -> str:
    """Migrate the database as its owner, declare RabbitMQ's topology, and return the schema's revision.

    Raises:
        ConfigInvalid: the owner's DSN is not set.
        DependencyUnavailable: PostgreSQL or RabbitMQ does not answer.
    """
    revision = await upgrade_database(config.postgres.read_dsn("owner"))
    await declare_topology(config.amqp)
    return revision


def run_api(config: HubConfig, *, on_listening: Callable[[str], None]) -> None:
    """Serve the API until SIGTERM or SIGINT; ``on_listening`` is told the address.

    Raises:
        ConfigInvalid: the configuration is wrong, or a certificate cannot be read.
        DependencyUnavailable: PostgreSQL cannot be reached at the start.
    """
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(serve_api(config, on_listening=on_listening))


async def serve_api(config: HubConfig, *, on_listening: Callable[[str], None]) -> None:
    """Serve the API in the running loop."""
    settings = config.api
    if settings is None:
        raise ConfigInvalid("is not set", field="api")
    business_clock = build_business_clock(config.clock_file, config.environment)
    await log_configuration(config)
    async with open_api(config, business_clock) as application:
        await _serve(application, settings, "api", on_listening)


def run_console(config: HubConfig, *, on_listening: Callable[[str], None]) -> None:
    """Serve the console until SIGTERM or SIGINT; ``on_listening`` is told the address.

    Raises:
        ConfigInvalid: the configuration is wrong, or a certificate or the design system's assets cannot be read.
        DependencyUnavailable: PostgreSQL cannot be reached at the start.
    """
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(serve_console(config, on_listening=on_listening))


async def serve_console(config: HubConfig, *, on_listening: Callable[[str], None]) -> None:
    """Serve the console in the running loop."""
    settings = config.console
    if settings is None:
        raise ConfigInvalid("is not set", field="console")
    business_clock = build_business_clock(config.clock_file, config.environment)
    async with open_console(config, business_clock, build_console_services(config)) as application:
        await _serve(application, settings, "console", on_listening)


async def log_configuration(config: HubConfig) -> bool:
    """Log the digest of the configuration if it is another than the last one logged; return whether it is.

    Secrets are no part of it: they are in files of their own, or masked.

    Raises:
        StoreUnavailable: PostgreSQL does not answer.
    """
    digest = sha256_base64url(config.model_dump_json().encode())
    log = LogWriter(config.log.origin, read_log_key(config.log.key_file), epoch=config.log.epoch)
    pool = await open_pool(config.postgres.read_dsn("api"), name="safelane-start", most=1)
    try:
        with translate_errors():
            async with pool.acquire(timeout=10) as connection:
                return await note_configuration(connection, log, digest, by="hub serve", now=read_clock())
    finally:
        await pool.close()


def run_worker(config: HubConfig) -> int:
    """Run the configured number of workers until SIGTERM or SIGINT; return an exit code.

    Raises:
        ConfigInvalid: the configuration is wrong.
    """
    from broker.serving import serve_workers

    return serve_workers(config, build_business_clock(config.clock_file, config.environment))


async def _serve(
    application: FastAPI, settings: ApiSettings | ConsoleSettings, field: str, on_listening: Callable[[str], None]
) -> None:
    server_config = uvicorn.Config(
        application,
        host=settings.listen_host,
        port=settings.listen_port,
        http=DeadlinedProtocol,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        ws="none",
        lifespan="off",
        ssl_certfile=str(settings.certificate_file),
        ssl_keyfile=str(settings.key_file),
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=settings.concurrent_requests,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    _load_tls(server_config, f"{field}.certificate_file")
    server = _Server(server_config, on_listening)
    for stop in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(stop, server.stop)
    await server.serve()


class _Server(uvicorn.Server):
    """Says where it listens, once it does (with port 0 nobody else knows), and ends with exit code 0 when it is told to stop."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[str], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    def stop(self) -> None:
        """Finish the requests under way and end."""
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the loop: uvicorn would raise them again after its orderly end."""
        yield

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Start listening, then say so."""
        await super().startup(sockets)  # type: ignore[arg-type]
        for server in self.servers:
            host, port = server.sockets[0].getsockname()[:2]
            self._on_listening(f"https://{host}:{port}")


def _load_tls(server_config: uvicorn.Config, field: str) -> None:
    try:
        server_config.load()
    except (OSError, ssl.SSLError):
        raise ConfigInvalid("the certificate or its key cannot be read", field=field) from None
    if server_config.ssl is None:
        raise ConfigInvalid("it is served over TLS only", field=field)
    server_config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3


def _new_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()
