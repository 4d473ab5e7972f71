"""``safelane gateway``: what a person at an agency types, against a gateway that serves."""

import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from adapters.gateway import wiring
from adapters.gateway.config import load_config
from adapters.gateway.outgoing.outbox_model import OutboxState
from adapters.gateway.service import Gateway
from deploy.cli.gateway import app
from deploy.cli.gateway_call import GatewayRefused
from schemas.errors import ConfigInvalid, DependencyUnavailable, NotFound
from tests.support.gateways import SAMPLES, StubHub, write_gateway
from tests.unit.adapters.gateway.test_api import CA_PEM

POLICE = "police.marchshire"
SIBLINGS = SAMPLES / "police-ppn-json" / "ppn-0041877-s47-siblings.json"
RECEIVED_AT = datetime(2026, 11, 16, 22, 32, tzinfo=UTC)


class Serving:
    """A gateway that serves in a thread, and the command line beside it. It waits for a person before each new recipient."""

    def __init__(self, folder: Path) -> None:
        self.hub = StubHub.make(CA_PEM, lambda: RECEIVED_AT)
        (folder / "clock").write_text(RECEIVED_AT.isoformat())
        write_gateway(folder, self.hub, [POLICE], more={"confirm_new_recipients": True})
        self.config_file = folder / "gateway.yaml"
        document = json.loads(self.config_file.read_text())
        document |= {"clock_file": "clock"}
        self.config_file.write_text(json.dumps(document))
        self.gateway: Gateway | None = None
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)))
        self._thread.start()
        assert ready.wait(20)
        document["listen_port"] = self.gateway.port if self.gateway else 0
        self.config_file.write_text(json.dumps(document))

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.gateway = wiring.build_gateway(
            load_config(self.config_file),
            clock=lambda: RECEIVED_AT,
            transport=self.hub.transport(),
        )
        for agency in self.gateway.agencies.values():
            agency.keeper.accept(self.hub.directory_body())
        await self.gateway.run(self._stop, ready=lambda _port: ready.set())

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--config", str(self.config_file)])

    def stop(self) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    def wait_for(self, referral_id: str, state: OutboxState) -> dict[str, Any]:
        assert self.gateway is not None
        outbox = self.gateway.agencies[POLICE].outbox
        for _ in range(200):
            if outbox.find_referral(referral_id).state is state:
                return outbox.describe(referral_id)
            threading.Event().wait(0.05)
        raise AssertionError(outbox.describe(referral_id))


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    with capture_logs():  # its log lines would mix with what the commands print
        serving = Serving(tmp_path)
        yield serving
        serving.stop()


def test_send_confirm_status_release(serving: Serving) -> None:
    sent = serving.run("send", str(SIBLINGS))
    assert sent.exit_code == 0, sent.output
    referral_id = sent.output.split()[2]
    held = serving.wait_for(referral_id, OutboxState.HELD)
    assert held["alarm"] == "recipient-unconfirmed"
    listed = serving.run("status")
    assert referral_id in listed.output
    assert "recipient-unconfirmed" in listed.output
    assert "1 held, 1 with an alarm" in listed.output
    assert json.loads(serving.run("status", referral_id, "--json").output)["state"] == "held"
    shown = serving.run("status", referral_id).output
    assert f"{referral_id}: CP_S47, urgent, held since" in shown
    assert "alarm: recipient-unconfirmed" in shown
    for recipient in ("csc.marchshire", "health.marchshire-ft", "school.oakfield", "gp.millbrook"):
        assert "Confirmed" in serving.run("confirm", recipient, "--by", "Sgt Example").output
    serving.wait_for(referral_id, OutboxState.SEALED)  # RabbitMQ is not there in this test
    again = serving.run("send", str(SIBLINGS))
    assert "was taken in before" in again.output


def test_what_is_bad_is_named_and_the_exit_code_says_so(serving: Serving) -> None:
    result = serving.run("send", str(SAMPLES / "bad" / "ppn-empty-reason.json"))
    assert result.exit_code == 1
    assert "notif.dissem.informFamily.reason" in result.output


def test_an_unknown_referral_or_agency_is_an_error_of_ours(serving: Serving) -> None:
    assert isinstance(serving.run("status", "nothing").exception, NotFound)
    assert isinstance(serving.run("status", "--agency", "gp.millbrook").exception, ConfigInvalid)


def test_what_cannot_be_released_or_confirmed_is_an_error_of_ours(serving: Serving) -> None:
    assert isinstance(serving.run("release", "nothing").exception, NotFound)
    assert isinstance(serving.run("confirm", "nobody", "--by", "Sgt Example").exception, GatewayRefused)


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    for command in ("plan", "send"):
        result = CliRunner().invoke(app, [command, str(tmp_path / "none.json")])
        assert result.exit_code == 2
        assert "does not exist" in result.output


def test_without_a_serving_gateway_it_says_so(tmp_path: Path) -> None:
    hub = StubHub.make(CA_PEM, lambda: RECEIVED_AT)
    write_gateway(tmp_path, hub, [POLICE])
    document = json.loads((tmp_path / "gateway.yaml").read_text()) | {"listen_port": 1}
    (tmp_path / "gateway.yaml").write_text(json.dumps(document))
    result = CliRunner().invoke(app, ["status", "--config", str(tmp_path / "gateway.yaml")])
    assert isinstance(result.exception, DependencyUnavailable)


def test_plan_shows_who_would_get_what_and_sends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = StubHub.make(CA_PEM, lambda: RECEIVED_AT)
    config = write_gateway(tmp_path, hub, [POLICE])
    (tmp_path / "clock").write_text(RECEIVED_AT.isoformat())
    document = json.loads((tmp_path / "gateway.yaml").read_text()) | {"clock_file": "clock"}
    (tmp_path / "gateway.yaml").write_text(json.dumps(document))
    monkeypatch.setattr(wiring, "build_hub_client", lambda *_args, **_options: hub.client(POLICE))
    result = CliRunner().invoke(app, ["plan", str(SIBLINGS), "--config", str(tmp_path / "gateway.yaml")])
    assert result.exit_code == 0, result.output
    assert "csc.marchshire (csc, safeguard_child): delivered, D3" in result.output
    assert "held      D12  C10" in result.output
    gateway = wiring.build_gateway(config, clock=lambda: RECEIVED_AT)
    assert gateway.agencies[POLICE].outbox.list_referrals() == []


def test_every_field_of_the_configuration_is_printed() -> None:
    result = CliRunner().invoke(app, ["config"])
    assert result.exit_code == 0
    assert "agencies[].confirm_new_recipients" in result.output
