"""The embedded stack: one PostgreSQL and one RabbitMQ node under one folder, with their keys and certificates.

Ports and secrets are kept in that folder, so that a stack that was stopped or killed comes back at the same addresses with the same data.
"""

import asyncio
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.amqp.administration import AdministrationSettings, RabbitAdministration
from broker.amqp.settings import AmqpSettings
from deploy.local.files import write_secret
from deploy.local.install import ensure_rabbitmq
from deploy.local.pki import Credential, Pki
from deploy.local.postgres import EmbeddedPostgres
from deploy.local.processes import accepts_connections, find_free_port
from deploy.local.rabbitmq import VHOST, EmbeddedRabbit

_PORT_NAMES = ("amqps", "management", "distribution", "epmd", "postgres")


@dataclass(frozen=True, slots=True)
class StackAddresses:
    """Where things are.

    Attributes:
        amqp_port: loopback port of AMQP over TLS.
        vhost: RabbitMQ virtual host.
        management_url: management API (HTTPS).
        postgres_port: loopback port of PostgreSQL.
        postgres_dsn: superuser's connection string for database ``safelane``: a secret.
        ca_file: certificate authority of all of them.
    """

    amqp_port: int
    vhost: str
    management_url: str
    postgres_port: int
    postgres_dsn: str
    ca_file: Path


@dataclass(frozen=True, slots=True)
class StackStatus:
    """Process ids of what runs; ``None`` for what does not."""

    rabbitmq_pid: int | None
    postgres_pid: int | None

    @property
    def running(self) -> bool:
        """Whether both servers run."""
        return self.rabbitmq_pid is not None and self.postgres_pid is not None


class LocalStack:
    """Starts, stops and finds again the servers under ``root``."""

    def __init__(self, root: Path) -> None:
        """Open ``root``, made when missing; nothing is started."""
        self.root = root.resolve()
        self.root.mkdir(parents=True, exist_ok=True, mode=0o711)
        ports = self._ports()
        self.pki = Pki(self.root / "pki")
        self.rabbitmq = EmbeddedRabbit(self.root / "rabbitmq", pki=self.pki, ports=ports)
        self.postgres = EmbeddedPostgres(self.root / "postgres", port=ports["postgres"])

    @property
    def addresses(self) -> StackAddresses:
        """Where things are, running or not."""
        return StackAddresses(
            amqp_port=self.rabbitmq.port,
            vhost=VHOST,
            management_url=self.rabbitmq.administration_settings().url,
            postgres_port=self.postgres.port,
            postgres_dsn=self.postgres.dsn(),
            ca_file=self.pki.ca_file,
        )

    def start(self, on_progress: Callable[[str], None] | None = None) -> StackAddresses:
        """Start what does not run, prepare the virtual host and the database, and return the addresses.

        Safe to call again, also after either server was killed. ``on_progress`` gets one line a step.

        Raises:
            ConfigInvalid: RabbitMQ or PostgreSQL is missing and cannot be installed.
            StartFailed: a server did not start.
        """
        tell = on_progress or (lambda _line: None)
        with self._alone():
            ensure_rabbitmq(tell)
            tell("Starting RabbitMQ and PostgreSQL")
            self.rabbitmq.launch()  # takes seconds: PostgreSQL starts meanwhile
            self.postgres.start()
            tell("PostgreSQL is ready")
            self.rabbitmq.await_ready()
            with ThreadPoolExecutor(max_workers=1) as aside:  # the caller may have an event loop of its own
                aside.submit(asyncio.run, _prepare(self.administration_settings())).result()
            tell("RabbitMQ is ready")
        return self.addresses

    def stop(self) -> None:
        """Stop both servers in order; data stays."""
        with self._alone():
            self.rabbitmq.stop()
            self.postgres.stop()

    def destroy(self) -> None:
        """Stop both servers and remove ``root``."""
        self.rabbitmq.destroy()
        self.postgres.destroy()
        shutil.rmtree(self.root, ignore_errors=True)

    def status(self) -> StackStatus:
        """Return what runs."""
        return StackStatus(rabbitmq_pid=self.rabbitmq.pid, postgres_pid=self.postgres.pid)

    @property
    def data_folders(self) -> tuple[Path, ...]:
        """Folders that hold everything that the servers have written: data, write-ahead logs, logs. For searching."""
        return (self.rabbitmq.folder, self.postgres.data_folder, self.root / "postgres")

    def credential(self, name: str) -> Credential:
        """Return the TLS client certificate of ``name``: an agency id, or ``hub``."""
        return self.pki.issue_client(name)

    def amqp_settings(self, name: str, *, vhost: str = VHOST, port: int | None = None) -> AmqpSettings:
        """Return the way into RabbitMQ as ``name``; ``port`` points to a proxy instead."""
        credential = self.credential(name)
        return AmqpSettings(
            port=port or self.rabbitmq.port,
            vhost=vhost,
            ca_file=credential.ca_file,
            cert_file=credential.cert_file,
            key_file=credential.key_file,
            name=name,
        )

    def administration_settings(self, *, vhost: str = VHOST) -> AdministrationSettings:
        """Return the administrator's way into the management API."""
        return self.rabbitmq.administration_settings(vhost)

    def _ports(self) -> dict[str, int]:
        """Return our ports, chosen once; those of servers that do not run are chosen again when somebody else has taken them."""
        path = self.root / "ports.json"
        ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        running = any((self.root / name).exists() for name in ("rabbitmq/pid", "postgres/pid"))
        if not running or set(ports) != set(_PORT_NAMES):
            ports = {name: _keep_or_find(ports.get(name)) for name in _PORT_NAMES}
            write_secret(path, json.dumps(ports))
        return ports

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep a second ``start`` or ``stop`` of the same folder out meanwhile."""
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _keep_or_find(port: int | None) -> int:
    return port if port is not None and not accepts_connections(port) else find_free_port()


async def _prepare(settings: AdministrationSettings) -> None:
    administration = RabbitAdministration(settings)
    try:
        await administration.prepare_vhost()
    finally:
        await administration.close()
