"""The hub of the local partnership: its configuration, keys and certificates, and its programs as processes of their own."""

import asyncio
import json
import os
import sys
from pathlib import Path
from urllib.parse import quote, urlsplit

import asyncpg
import httpx
import yaml

from broker.config import HubConfig, load_config
from deploy.hub_programs import prepare_hub
from deploy.local.files import read_or_make_secret, write_secret
from deploy.local.processes import ServerProcess, find_free_port
from deploy.local.stack import LocalStack
from schemas.checkpoint import write_verifier
from schemas.keys import KeyUse, generate_ed25519_jwk

CODE_ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
_ROLES = ("worker", "api")


class HubSite:
    """Configures the hub below ``root`` on a running stack, and starts and stops its API and its worker."""

    def __init__(self, root: Path, stack: LocalStack, *, partnership: str, clock_file: Path | None) -> None:
        """Keep where things go; nothing is written or started."""
        self.root = root
        self._stack = stack
        self._clock_file = clock_file
        self.log_origin = f"log.{partnership}.example.org"
        self.config_file = root / "hub.yaml"
        self.verifier_file = root / "log.vkey"
        self.api = _program("hub-api", root)
        self.worker = _program("hub-worker", root)

    @property
    def url(self) -> str:
        """The API's URL, as agencies call it."""
        api = self.config.api
        return api.public_url if api else ""

    @property
    def config(self) -> HubConfig:
        """The configuration, as the programs read it."""
        return load_config(self.config_file)

    def configure(self, trust_file: Path) -> None:
        """Write configuration and keys once, migrate the database, and let the programs' roles in with passwords of their own.

        Raises:
            DependencyUnavailable: PostgreSQL or RabbitMQ does not answer.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._write_log_key()
        for role in _ROLES:
            write_secret(self.root / f"{role}.dsn", self._role_dsn(role))
        write_secret(self.root / "owner.dsn", self._stack.addresses.postgres_dsn)
        if not self.config_file.exists():
            document = yaml.safe_dump(self._describe(trust_file), sort_keys=False)
            write_secret(self.config_file, document)
        asyncio.run(prepare_hub(self.config))
        asyncio.run(self._set_passwords())

    def start(self) -> None:
        """Start the API and the worker, and wait until the API answers.

        Raises:
            StartFailed: a program ended, or was not ready in a minute.
        """
        start_program(self.api, "hub", "serve", "--config", str(self.config_file))
        start_program(self.worker, "hub", "worker", "--config", str(self.config_file))
        self.api.await_ready(self._answers, seconds=START_SECONDS)

    def stop(self) -> None:
        """Stop both programs."""
        self.worker.end()
        self.api.end()

    def _answers(self) -> bool:
        try:
            context = httpx.create_ssl_context(verify=str(self._stack.pki.ca_file), trust_env=False)
            return httpx.get(f"{self.url}/healthz", verify=context, timeout=2.0, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def _write_log_key(self) -> None:
        key_file = self.root / "log.key.json"
        if key_file.exists():
            return
        jwk = generate_ed25519_jwk(KeyUse.LOG)
        write_secret(self.verifier_file, write_verifier(self.log_origin, jwk))
        write_secret(key_file, json.dumps(jwk))

    def _role_dsn(self, role: str) -> str:
        address = urlsplit(self._stack.addresses.postgres_dsn)
        password = read_or_make_secret(self.root / f"{role}.password")
        return f"postgresql://safelane_{role}:{quote(password)}@127.0.0.1:{address.port}{address.path}"

    async def _set_passwords(self) -> None:
        connection = await asyncpg.connect(self._stack.addresses.postgres_dsn, timeout=10)
        try:
            for role in _ROLES:
                password = read_or_make_secret(self.root / f"{role}.password")
                # ALTER ROLE takes no parameters; format() quotes the secret on the server.
                statement = await connection.fetchval(
                    "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)", f"safelane_{role}", password
                )
                await connection.execute(statement)
        finally:
            await connection.close(timeout=10)

    def _describe(self, trust_file: Path) -> dict[str, object]:
        """Return the configuration file's content."""
        certificate = self._stack.pki.issue_server("hub-api")
        amqp = self._stack.amqp_settings("hub")
        administration = self._stack.administration_settings()
        port = find_free_port()
        return {
            "environment": "test",
            "trust_file": str(trust_file),
            **({"clock_file": str(self._clock_file)} if self._clock_file else {}),
            "postgres": {f"{role}_dsn_file": f"{role}.dsn" for role in (*_ROLES, "owner")},
            "amqp": amqp.model_dump(mode="json"),
            "log": {"origin": self.log_origin, "key_file": "log.key.json"},
            "api": {
                "public_url": f"https://localhost:{port}",
                "listen_port": port,
                "certificate_file": str(certificate.cert_file),
                "key_file": str(certificate.key_file),
                "agencies_amqp_port": amqp.port,
                "agencies_amqp_vhost": amqp.vhost,
                "administration": {
                    **administration.model_dump(mode="json", exclude={"password"}),
                    "password": administration.password.get_secret_value(),
                },
            },
        }


def start_program(process: ServerProcess, *arguments: str) -> None:
    """Start a ``safelane`` program that outlives us; one that runs already is left alone."""
    process.launch([sys.executable, "-m", "deploy.cli", *arguments], env=_environment(), cwd=CODE_ROOT)


def _program(name: str, root: Path) -> ServerProcess:
    return ServerProcess(name, pid_file=root / f"{name}.pid", log_file=root / "logs" / f"{name}.log")


def _environment() -> dict[str, str]:
    """Return what programs get of our environment: nothing that could configure them."""
    return {name: os.environ[name] for name in ("PATH", "LANG", "HOME", "TZ") if name in os.environ}
