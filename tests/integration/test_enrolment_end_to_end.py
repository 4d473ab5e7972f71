"""An agency joins, as people do it: every step a command, real TLS, RabbitMQ and PostgreSQL, nothing in process."""

import asyncio
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from broker.amqp.connection import BrokerRefused, BrokerUnavailable
from broker.amqp.queue_state import read_queue
from broker.amqp.settings import AmqpSettings
from deploy.local.hub_files import HubFiles, prepare_hub_database, write_hub_files
from deploy.local.stack import LocalStack

ROOT = Path(__file__).parents[2]
PARTNERSHIP = ROOT / "deploy" / "local" / "samples" / "partnership.yaml"
OFFICERS = ("--passphrase-file", "ann=ann.pw", "--passphrase-file", "ben=ben.pw")
SCHOOL = "school.oakfield"
pytestmark = pytest.mark.timeout(300)
"""Some twenty programs start one after another, each with its passphrases to derive keys from."""


@dataclass
class Setting:
    """A folder in which commands run, the servers, and the hub's files."""

    folder: Path
    stack: LocalStack
    hub: HubFiles

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run ``safelane`` with these arguments, expect its exit code, and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout


def start_api(setting: Setting) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", "hub", "serve", "--config", str(setting.hub.config_file)],
        cwd=setting.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=(setting.folder / "api.log").open("ab"),
    )
    context = ssl.create_default_context(cafile=str(setting.stack.pki.ca_file))
    with httpx.Client(verify=context, trust_env=False, timeout=5) as client:
        for _ in range(150):
            try:
                if client.get(f"{setting.hub.public_url}/healthz").status_code == 200:
                    return process
            except httpx.HTTPError:
                assert process.poll() is None, (setting.folder / "api.log").read_text()
            time.sleep(0.2)
    raise AssertionError("the API did not start")


@pytest.fixture
def setting(own_stack: LocalStack, tmp_path: Path) -> Setting:
    for name in ("ann", "ben"):
        path = tmp_path / f"{name}.pw"
        path.write_text(f"the long passphrase of {name}")
        path.chmod(0o600)
    setting = Setting(tmp_path, own_stack, HubFiles(Path(), "", "", ""))
    pki = own_stack.root / "pki"
    setting.run(
        "authority", "init", "authority", "--partnership", str(PARTNERSHIP),
        "--officer", "ann@csc.marchshire", "--officer", "ben@police.marchshire",
        "--ca-certificate", str(pki / "ca.pem"), "--ca-key", str(pki / "ca.key"), *OFFICERS,
    )  # fmt: skip
    hub_folder = tmp_path / "hub"
    setting.hub = write_hub_files(
        hub_folder, own_stack, tmp_path / "authority" / "trust.json", log_origin="log.example.org/test"
    )
    asyncio.run(prepare_hub_database(hub_folder, own_stack))
    return setting


@pytest.fixture
def api(setting: Setting) -> Iterator[subprocess.Popen[bytes]]:
    process = start_api(setting)
    yield process
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def await_check(client: httpx.Client, url: str, name: str, wanted: str) -> None:
    """Wait until a readiness check gives ``wanted``."""
    for _ in range(60):
        found = client.get(f"{url}/readyz").json()["checks"][name]
        if found == wanted:
            return
        time.sleep(0.5)
    raise AssertionError(f"{name} is {found}, not {wanted}")


def agency_amqp(setting: Setting, data: Path, ca_file: Path) -> AmqpSettings:
    return AmqpSettings(
        port=setting.stack.addresses.amqp_port,
        ca_file=ca_file,
        cert_file=data / "client.pem",
        key_file=data / "client.key",
    )


def test_an_agency_joins_by_commands(setting: Setting, api: subprocess.Popen[bytes]) -> None:
    url, config = setting.hub.public_url, str(setting.hub.config_file)
    (setting.folder / "log.vkey").write_text(setting.hub.log_verifier)
    setting.run(
        "authority", "set-hub", "authority", "--log-origin", setting.hub.log_origin, "--log-verifier-file", "log.vkey"
    )
    setting.run("authority", "sign", "authority", "--officer", "ann", "--officer", "ben", "--hub", url, *OFFICERS)
    assert "known" in setting.run("hub", "agencies", "--config", config)
    setting.run("hub", "invite", "nobody.here", "--config", config, code=1)
    setting.run("hub", "invite", SCHOOL, "--config", config, "--out", "invitation.json")
    assert (setting.folder / "invitation.json").stat().st_mode & 0o077 == 0

    trust = "authority/trust.json"
    setting.run("gateway", "init", "gw", "--agency", SCHOOL, "--hub", url, "--trust", trust)
    asked = setting.run("gateway", "enrol", "--config", "gw/gateway.yaml", "--invitation", "invitation.json", code=3)
    enrolment_id = re.search(r"enr_[\w-]+", asked)
    fingerprint = re.search(r"([0-9a-f]{4} ){7}[0-9a-f]{4}", asked)
    assert enrolment_id is not None
    assert fingerprint is not None

    one = ("--hub", url, "--officer", "ann", "--passphrase-file", "ann=ann.pw")
    assert fingerprint[0] in setting.run("authority", "pending", "authority", *one)
    wrong = ("--fingerprint", "0000 " * 8)
    setting.run("authority", "approve", "authority", enrolment_id[0], *one, *wrong, code=1)
    setting.run("authority", "approve", "authority", enrolment_id[0], *one, "--fingerprint", fingerprint[0])
    setting.run("gateway", "enrol", "--config", "gw/gateway.yaml", code=3)
    setting.run("authority", "sign", "authority", "--officer", "ben", "--officer", "ann", "--hub", url, *OFFICERS)
    setting.run("gateway", "enrol", "--config", "gw/gateway.yaml")

    agencies = setting.run("hub", "agencies", "--config", config)
    row = next(line for line in agencies.splitlines() if line.startswith(SCHOOL))
    queue = row.split()[-1]
    assert row.split()[1] == "enrolled"
    assert "enrolments pending     0" in setting.run("hub", "status", "--config", config, code=3), "no worker runs here"
    data = setting.folder / "gw" / "data"
    own = agency_amqp(setting, data, setting.stack.pki.ca_file)
    state = asyncio.run(read_queue(own, queue))
    assert state is not None
    assert state.waiting == 0

    setting.run(
        "authority", "revoke", "authority", SCHOOL, "--officer", "ann", "--officer", "ben", "--hub", url, *OFFICERS
    )
    assert "revoked" in next(
        line for line in setting.run("hub", "agencies", "--config", config).splitlines() if SCHOOL in line
    )
    with pytest.raises((BrokerRefused, BrokerUnavailable)):
        asyncio.run(read_queue(own, queue))
    setting.run("gateway", "enrol", "--config", "gw/gateway.yaml", code=1)


def test_the_api_speaks_tls_1_3_only_and_recovers_from_kill(setting: Setting) -> None:
    process = start_api(setting)
    process.kill()
    process.wait(10)
    process = start_api(setting)
    try:
        old = ssl.create_default_context(cafile=str(setting.stack.pki.ca_file))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(httpx.ConnectError), httpx.Client(verify=old, trust_env=False) as client:
            client.get(f"{setting.hub.public_url}/healthz")
        context = ssl.create_default_context(cafile=str(setting.stack.pki.ca_file))
        with httpx.Client(verify=context, trust_env=False) as client:
            ready = client.get(f"{setting.hub.public_url}/readyz")
            assert ready.status_code == 503
            assert ready.json()["checks"] == {
                "postgresql": "ok", "log": "ok", "directory": "no-directory", "rabbitmq": "ok",
            }  # fmt: skip
            assert client.get(f"{setting.hub.public_url}/openapi.json").status_code == 404
            openapi = client.get(f"{setting.hub.public_url}/v1/openapi.json").json()
        assert "/v1/plan" in openapi["paths"]
        setting.stack.postgres.kill()
        with httpx.Client(verify=context, trust_env=False, timeout=30) as client:
            await_check(client, setting.hub.public_url, "postgresql", "store-unavailable")
            assert client.get(f"{setting.hub.public_url}/healthz").status_code == 200
            setting.stack.postgres.start()
            await_check(client, setting.hub.public_url, "postgresql", "ok")
        lines = (setting.folder / "api.log").read_text().splitlines()
        assert all(json.loads(line) for line in lines if line.startswith("{"))
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
