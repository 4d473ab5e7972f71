"""Kill -9 of a sending gateway between each pair of its steps: what it answered 202 arrives once, as the same bytes however often they are sent."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.test_gateway_send import RECIPIENTS, SENDER, SIBLINGS, take_from_intake
from tests.support.gateway_process import RECEIVED_AT, save_hub
from tests.support.gateways import StubHub, write_gateway
from tests.support.servers import RabbitVhost

ROOT = Path(__file__).parents[2]
STEPS = (
    "document_read",
    "document_stored",
    "before_plan",
    "after_plan",
    "plan_stored",
    "before_sealing_stored",
    "sealing_stored",
    "before_publish",
    "after_publish",
    "publish_recorded",
)


@pytest.fixture
async def folder(rabbit_vhost: RabbitVhost, tmp_path: Path) -> Path:
    await rabbit_vhost.administration.provision_agency(SENDER)
    hub = StubHub.make(rabbit_vhost.stack.pki.ca_file.read_text(), lambda: RECEIVED_AT)
    write_gateway(tmp_path / "others", hub, RECIPIENTS)
    amqp = {"host": "localhost", "port": rabbit_vhost.amqp_settings(SENDER).port, "vhost": rabbit_vhost.vhost}
    write_gateway(tmp_path, hub, [SENDER], amqp=amqp, pki=rabbit_vhost.stack.pki)
    save_hub(hub, tmp_path)
    return tmp_path


class Process:
    """The gateway's process."""

    def __init__(self, folder: Path, step: str = "", mutation: str = "") -> None:
        self._errors = (folder / "process.log").open("a")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.gateway_process", str(folder), step, mutation],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self._process.stdout is not None
        port = next((line for line in self._process.stdout if line.strip().isdigit()), None)
        assert port is not None, (folder / "process.log").read_text()[-2000:]
        self.port = int(port)
        self._token = (folder / SENDER / "token").read_text()

    def post(self) -> dict[str, Any] | None:
        """Hand the sample over as a record system does; none if the connection broke before the answer."""
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": "one",
            "Authorization": f"Bearer {self._token}",
        }
        try:
            answer = httpx.post(
                f"http://127.0.0.1:{self.port}/referrals", content=SIBLINGS.read_bytes(), headers=headers, timeout=20
            )
        except httpx.TransportError:
            return None
        assert answer.status_code == 202, answer.text
        return answer.json()

    def wait_until_published(self, referral_id: str) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            answer = httpx.get(
                f"http://127.0.0.1:{self.port}/referrals/{referral_id}",
                headers={"Authorization": f"Bearer {self._token}"},
            ).json()
            if answer["state"] == "published":
                return
            time.sleep(0.05)
        raise AssertionError(f"still {answer['state']}")

    def wait_until_killed(self) -> None:
        assert self._process.wait(timeout=30) == -signal.SIGKILL

    def end(self) -> None:
        self._process.kill()
        self._process.wait(timeout=10)


def kill_and_recover(folder: Path, step: str, mutation: str = "") -> None:
    """Hand a referral to a gateway that dies at ``step``, start it again, and see it published."""
    dying = Process(folder, step, mutation)
    answer = dying.post()
    dying.wait_until_killed()
    restarted = Process(folder, "", mutation)
    try:
        answer = answer or restarted.post()
        assert answer is not None
        restarted.wait_until_published(answer["referral_id"])
    finally:
        restarted.end()


async def assert_one_message(rabbit: RabbitVhost) -> None:
    messages = await take_from_intake(rabbit)
    assert messages
    assert len({message.delivery_id for message in messages}) == 1, "sealed again: another message id"
    assert len({bytes(message.body) for message in messages}) == 1, "other bytes under the same id"


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_a_step_it_arrives_once(step: str, folder: Path, rabbit_vhost: RabbitVhost) -> None:
    await asyncio.to_thread(kill_and_recover, folder, step)
    await assert_one_message(rabbit_vhost)


async def test_the_check_catches_a_gateway_that_seals_again_on_retry(folder: Path, rabbit_vhost: RabbitVhost) -> None:
    await asyncio.to_thread(kill_and_recover, folder, "after_publish", "reseal")
    with pytest.raises(AssertionError, match="sealed again"):
        await assert_one_message(rabbit_vhost)
