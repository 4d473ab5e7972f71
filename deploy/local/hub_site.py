"""The hub of the local partnership: its files, and its programs as processes of their own."""

import asyncio
import os
import sys
from pathlib import Path

import httpx

from broker.amqp.topology import declare_topology
from broker.config import HubConfig, load_config
from deploy.local.hub_files import CONFIG_FILE, HubFiles, prepare_hub_database, write_hub_files
from deploy.local.processes import ServerProcess
from deploy.local.stack import LocalStack

CODE_ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0


class HubSite:
    """Configures the hub below ``root`` on a running stack, and starts and stops its API, its worker and its console."""

    def __init__(self, root: Path, stack: LocalStack, *, partnership: str, clock_file: Path | None) -> None:
        """Keep where things go; nothing is written or started."""
        self.root = root
        self._stack = stack
        self._clock_file = clock_file
        self._log_origin = f"log.{partnership}.example.org"
        self.config_file = root / CONFIG_FILE
        self.api = _program("hub-api", root)
        self.worker = _program("hub-worker", root)
        self.console = _program("hub-console", root)

    @property
    def config(self) -> HubConfig:
        """The configuration, as the programs read it."""
        return load_config(self.config_file)

    @property
    def url(self) -> str:
        """The API's URL, as agencies call it."""
        api = self.config.api
        return api.public_url if api else ""

    @property
    def console_url(self) -> str:
        """The console's URL, as people open it."""
        console = self.config.console
        return console.public_url if console else ""

    def configure(self, trust_file: Path) -> HubFiles:
        """Write configuration and keys, migrate the database, declare the queues; running it again changes nothing.

        Raises:
            DependencyUnavailable: PostgreSQL or RabbitMQ does not answer.
        """
        files = write_hub_files(
            self.root, self._stack, trust_file, log_origin=self._log_origin, clock_file=self._clock_file
        )
        asyncio.run(prepare_hub_database(self.root, self._stack))
        asyncio.run(declare_topology(self.config.amqp))
        return files

    def start(self) -> None:
        """Start the API and the worker, and wait until the API answers.

        Raises:
            StartFailed: a program ended, or was not ready in a minute.
        """
        start_program(self.api, "hub", "serve", "--config", str(self.config_file))
        start_program(self.worker, "hub", "worker", "--config", str(self.config_file))
        self.api.await_ready(self._answers, seconds=START_SECONDS)

    def start_console(self) -> None:
        """Start the console and wait until it answers.

        Raises:
            StartFailed: it ended, or was not ready in a minute.
        """
        start_program(self.console, "hub", "console", "--config", str(self.config_file))
        self.console.await_ready(lambda: self._reaches(self.console_url), seconds=START_SECONDS)

    def stop(self) -> None:
        """Stop all programs."""
        self.console.end()
        self.worker.end()
        self.api.end()

    def _answers(self) -> bool:
        return self._reaches(self.url)

    def _reaches(self, url: str) -> bool:
        try:
            context = httpx.create_ssl_context(verify=str(self._stack.pki.ca_file), trust_env=False)
            return httpx.get(f"{url}/healthz", verify=context, timeout=2.0, trust_env=False).is_success
        except httpx.HTTPError:
            return False


def start_program(process: ServerProcess, *arguments: str) -> None:
    """Start a ``safelane`` program that outlives us; one that runs already is left alone."""
    process.launch([sys.executable, "-m", "deploy.cli", *arguments], env=_environment(), cwd=CODE_ROOT)


def _program(name: str, root: Path) -> ServerProcess:
    return ServerProcess(name, pid_file=root / f"{name}.pid", log_file=root / "logs" / f"{name}.log")


def _environment() -> dict[str, str]:
    """Return what programs get of our environment: nothing that could configure them."""
    return {name: os.environ[name] for name in ("PATH", "LANG", "HOME", "TZ") if name in os.environ}
