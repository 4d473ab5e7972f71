"""A real OpenID Connect provider (oidc-provider, run by the wheel's Node.js), and a console that people sign in to through it."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from deploy.console_assets import find_node
from deploy.local.pki import Pki
from deploy.local.processes import ServerProcess, accepts_connections, find_free_port
from tests.support.console import ConsoleSite, start_console, write_console_config
from tests.support.node_packages import find_packages

SCRIPT: Final = Path(__file__).parents[1] / "browser" / "provider.mjs"
TWO_FACTORS: Final = "urn:example:two-factors"


@dataclass
class OidcConsole:
    """A console with an identity provider, on the database of the session's console."""

    console: ConsoleSite
    issuer: str
    provider: ServerProcess


@pytest.fixture(scope="session")
def oidc_console(console: ConsoleSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcConsole]:
    """The provider, and a second console process that uses it. Its certificate is the first one's, which the browser trusts."""
    folder = tmp_path_factory.mktemp("oidc")
    pki = Pki(console.folder / "pki")
    port = find_free_port()
    issuer = f"https://localhost:{port}"
    secret = secrets.token_urlsafe(32)
    (folder / "client.secret").write_text(secret)
    trust = console.folder / "authority" / "trust.json"
    log_jwk = json.loads((console.folder / "log.jwk").read_text())
    oidc = {
        "issuer": issuer,
        "client_id": "safelane",
        "client_secret_file": "client.secret",
        "label": "Example provider",
        "ca_file": str(pki.ca_file),
        "acr_values": [TWO_FACTORS],
    }
    config_file, url, sealer, log = write_console_config(folder, console.dsn, pki, trust, log_jwk, oidc=oidc)
    provider = start_provider(folder, pki, port, secret, f"{url}/sign-in/organisation/answer")
    process = start_console(config_file, url, folder, pki.ca_file)
    site = replace(console, url=url, folder=folder, config_file=config_file, process=process, sealer=sealer, log=log)
    try:
        yield OidcConsole(site, issuer, provider)
    finally:
        process.end()
        provider.end()


def start_provider(folder: Path, pki: Pki, port: int, secret: str, redirect_uri: str) -> ServerProcess:
    """Start the provider and wait until it listens."""
    node, _ = find_node()
    server = pki.issue_server("console")
    modules = find_packages()
    process = ServerProcess("provider", pid_file=folder / "provider.pid", log_file=folder / "provider.log")
    arguments = [str(port), str(server.cert_file), str(server.key_file), secret, redirect_uri, str(modules)]
    process.launch([str(node), str(SCRIPT), *arguments], env={"PATH": str(node.parent)}, cwd=folder)
    process.await_ready(lambda: accepts_connections(port), seconds=30)
    return process
