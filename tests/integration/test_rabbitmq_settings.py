"""RabbitMQ starts with the settings and definitions that ``deploy/rabbitmq`` gives to operators, and lets the hub in."""

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from broker.amqp.queue_state import QueueState, read_queue
from broker.amqp.topology import QUARANTINE_QUEUE, declare_topology
from deploy.local.install import ensure_rabbitmq
from deploy.local.processes import find_free_port
from deploy.local.stack import LocalStack
from tests.support import servers

GIVEN = Path(__file__).parents[2] / "deploy" / "rabbitmq"


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LocalStack, int]]:
    """A node with the given settings, on free ports, with this stack's certificates and a known administrator."""
    ensure_rabbitmq(print)
    stack = servers._new_stack("given")
    rabbit, metrics_port = stack.rabbitmq, find_free_port()
    write_own = rabbit._configure

    def write_given() -> None:
        write_own()
        server, admin = stack.pki.issue_server("rabbitmq"), rabbit.administration_settings()
        definitions = json.loads((GIVEN / "definitions.json").read_text())
        definitions["users"][0] |= {"password": admin.password.get_secret_value()}
        del definitions["users"][0]["password_hash"]
        (rabbit.folder / "definitions.json").write_text(json.dumps(definitions))
        settings = (GIVEN / "rabbitmq.conf").read_text()
        for given, own in {
            "/etc/safelane/ca.pem": server.ca_file.resolve(),
            "/etc/safelane/rabbitmq.pem": server.cert_file.resolve(),
            "/etc/safelane/rabbitmq.key": server.key_file.resolve(),
            "/etc/safelane/definitions.json": rabbit.folder / "definitions.json",
            "ssl.1 = 5671": f"ssl.1 = 127.0.0.1:{rabbit.port}",
            "port = 15671": f"port = {admin.url.rpartition(':')[2]}",
            "port = 15691": f"port = {metrics_port}",
            "absolute = 5GB": "absolute = 50MB",
        }.items():
            assert given in settings
            settings = settings.replace(given, str(own))
        (rabbit.folder / "rabbitmq.conf").write_text(settings)
        (rabbit.folder / "enabled_plugins").write_text((GIVEN / "enabled_plugins").read_text())

    monkeypatch.setattr(rabbit, "_configure", write_given)
    try:
        rabbit.launch()
        rabbit.await_ready()
        yield stack, metrics_port
    finally:
        stack.destroy()


async def test_rabbitmq_starts_with_the_given_settings(stack: tuple[LocalStack, int]) -> None:
    node, metrics_port = stack
    hub = node.amqp_settings("hub")
    await declare_topology(hub, settle=0)
    assert await read_queue(hub, QUARANTINE_QUEUE) == QueueState(waiting=0, consumers=0)
    context = ssl.create_default_context(cafile=str(node.pki.ca_file))
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        metrics = (await client.get(f"https://localhost:{metrics_port}/metrics")).text
    assert "rabbitmq_alarms_free_disk_space_watermark 0" in metrics
