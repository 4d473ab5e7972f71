"""The hub's own files on the embedded stack: log key, database logins, certificates and ``hub.yaml``, made once and then used again."""

import base64
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import yaml

from broker.store import translate_errors, upgrade_database
from deploy.local.files import read_or_make_secret, write_secret
from deploy.local.processes import find_free_port
from deploy.local.stack import LocalStack
from schemas.canonical import canonical_bytes, parse_object
from schemas.checkpoint import write_verifier
from schemas.keys import KeyUse, generate_ed25519_jwk, public_part

CONFIG_FILE = "hub.yaml"
ROLES = ("worker", "api", "console", "eraser")


@dataclass(frozen=True, slots=True)
class HubFiles:
    """Where the hub's configuration is, how agencies call it, and what the authority must put in the directory."""

    config_file: Path
    public_url: str
    log_origin: str
    log_verifier: str


def write_hub_files(
    folder: Path,
    stack: LocalStack,
    trust_file: Path,
    *,
    log_origin: str,
    clock_file: Path | None = None,
    settings: dict[str, Any] | None = None,
) -> HubFiles:
    """Write ``hub.yaml`` with everything it names into ``folder``; ``prepare_hub_database`` makes the logins that it names.

    ``settings`` replaces top-level members of the configuration (``worker``, ``policy_pack`` …). Running it again keeps keys, passwords and port.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for role in ROLES:
        password = quote(read_or_make_secret(folder / f"{role}.secret"), safe="")
        address = f"127.0.0.1:{stack.addresses.postgres_port}/safelane"
        write_secret(folder / f"{role}.dsn", f"postgresql://safelane_{role}:{password}@{address}")
    log_key = _read_or_make_log_key(folder / "log.key.json")
    server = stack.pki.issue_server("hub-api")
    amqp = stack.amqp_settings("hub")
    administration = stack.administration_settings()
    port = int(read_or_make(folder / "port", str(find_free_port())))
    read_or_make(folder / "console-secret.b64", base64.b64encode(secrets.token_bytes(32)).decode())
    public_url = f"https://localhost:{port}"
    document: dict[str, Any] = {
        "environment": "test",
        "trust_file": str(trust_file.resolve()),
        "clock_file": str(clock_file.resolve()) if clock_file else None,
        "postgres": {
            "worker_dsn_file": "worker.dsn",
            "api_dsn_file": "api.dsn",
            "console_dsn_file": "console.dsn",
            "eraser_dsn_file": "eraser.dsn",
            "owner_dsn_file": "owner.dsn",
        },
        "amqp": amqp.model_dump(mode="json"),
        "log": {"origin": log_origin, "key_file": "log.key.json"},
        "api": {
            "public_url": public_url,
            "listen_host": "127.0.0.1",
            "listen_port": port,
            "certificate_file": str(server.cert_file),
            "key_file": str(server.key_file),
            "agencies_amqp_host": "localhost",
            "agencies_amqp_port": amqp.port,
            "agencies_amqp_vhost": amqp.vhost,
            "administration": administration.model_dump(mode="json")
            | {"password": administration.password.get_secret_value()},
        },
        "console": _describe_console(folder, stack),
        # Everything of the partnership shares this machine: one worker is enough for what a person tries.
        "worker": {"processes": 1},
    } | (settings or {})
    write_secret(folder / "owner.dsn", stack.addresses.postgres_dsn)
    write_secret(folder / CONFIG_FILE, yaml.safe_dump(document, sort_keys=False))
    return HubFiles(folder / CONFIG_FILE, public_url, log_origin, write_verifier(log_origin, public_part(log_key)))


def _describe_console(folder: Path, stack: LocalStack) -> dict[str, Any]:
    server = stack.pki.issue_server("console")
    port = int(read_or_make(folder / "console.port", str(find_free_port())))
    return {
        "public_url": f"https://localhost:{port}",
        "listen_host": "127.0.0.1",
        "listen_port": port,
        "certificate_file": str(server.cert_file),
        "key_file": str(server.key_file),
        "secret_file": "console-secret.b64",
        "help_text": "This is a demonstration: see the text that `make up` printed.",
    }


def read_or_make(path: Path, text: str) -> str:
    """Return the file's text, having written ``text`` where there was none."""
    if not path.exists():
        write_secret(path, text)
    return path.read_text(encoding="utf-8").strip()


async def prepare_hub_database(folder: Path, stack: LocalStack) -> str:
    """Migrate the stack's database, give the hub's roles the passwords kept in ``folder``, and return the schema's revision.

    Raises:
        DependencyUnavailable: PostgreSQL does not answer.
    """
    dsn = stack.addresses.postgres_dsn
    revision = await upgrade_database(dsn)
    with translate_errors():
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            for role in ROLES:
                password = read_or_make_secret(folder / f"{role}.secret")
                literal = await connection.fetchval("SELECT quote_literal($1)", password)
                await connection.execute(f"ALTER ROLE safelane_{role} PASSWORD {literal}", timeout=10)
        finally:
            await connection.close(timeout=5)
    return revision


def _read_or_make_log_key(path: Path) -> dict[str, Any]:
    if not path.exists():
        write_secret(path, canonical_bytes(generate_ed25519_jwk(KeyUse.LOG)).decode())
    return parse_object(path.read_bytes(), max_bytes=4096, field="log.key_file")
