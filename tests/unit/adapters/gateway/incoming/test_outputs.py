"""Outputs: made once, most urgent first, tried again, and never a named contact's content in a common place."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from adapters.channels.webhook import Webhook
from adapters.gateway.incoming.inbox_config import ContactConfig, FolderConfig, InboxConfig, WebhookConfig
from adapters.gateway.incoming.outputs import OutputMaker, OutputParts
from schemas.codes import ReceiptState
from tests.support.envelopes import NOW
from tests.support.receiving import DELIVERY, ReceivingHalf, make_delivery, make_incoming, make_receiving_half


class Bench:
    """A receiving half with a folder, a webhook that answers ``status``, and a clock to turn."""

    def __init__(self, folder: Path) -> None:
        (folder / "secret").write_text("s" * 40)
        self.config = InboxConfig(
            folder=FolderConfig(out_folder=folder / "all"),
            webhook=WebhookConfig(url="http://127.0.0.1:9/in", secret_file=folder / "secret", attempts=3),
            contacts=(
                ContactConfig(
                    contact="lead", key_file=folder / "secret", folder=FolderConfig(out_folder=folder / "lead")
                ),
            ),
        )
        self.folder = folder
        self.half: ReceivingHalf = make_receiving_half(folder, config=self.config)
        self.status = 200
        self.requests: list[httpx.Request] = []
        self.now: datetime = NOW
        self.maker = self.make_maker()

    def make_maker(self) -> OutputMaker:
        webhook = self.config.webhook
        assert webhook is not None
        return OutputMaker(
            OutputParts(
                store=self.half.inbox_store,
                queue=self.half.outputs,
                inbox=self.half.inbox,
                config=self.config,
                webhook=Webhook(webhook, httpx.MockTransport(self.answer)),
                now=lambda: self.now,
                observe=self.half.steps.append,
            )
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(self.status)

    def list_written(self, name: str) -> list[Path]:
        return sorted((self.folder / name).glob("*/referral.json"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_folder_and_case_system_get_the_delivery_once(bench: Bench) -> None:
    await bench.half.reader.take_in(make_incoming(make_delivery()))
    assert await bench.maker.make_due() == 2
    assert await bench.maker.make_due() == 0
    assert len(bench.list_written("all")) == 1
    assert [r.headers["Idempotency-Key"] for r in bench.requests] == [DELIVERY]
    assert bench.half.inbox.read(DELIVERY, None).entry.state is ReceiptState.OPENED


async def test_a_case_system_that_is_down_is_asked_again_with_the_same_key(bench: Bench) -> None:
    bench.status = 503
    await bench.half.reader.take_in(make_incoming(make_delivery()))
    await bench.maker.make_due()
    assert bench.half.inbox.read(DELIVERY, None).entry.state is ReceiptState.ACCEPTED
    bench.status = 200
    assert await bench.maker.make_due() == 0  # not yet
    bench.now += timedelta(minutes=1)
    await bench.maker.make_due()
    first, second = bench.requests
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.content == second.content
    assert bench.half.outputs.list_outputs(DELIVERY) == {"folder": "done", "webhook": "done"}


async def test_a_case_system_that_refuses_in_the_end_waits_for_a_person(bench: Bench) -> None:
    bench.status = 422
    await bench.half.reader.take_in(make_incoming(make_delivery()))
    for _ in range(10):
        await bench.maker.make_due()
        bench.now += timedelta(hours=1)
    assert len(bench.requests) == 3
    assert bench.half.outputs.list_outputs(DELIVERY)["webhook"] == "failed"


async def test_a_named_contacts_delivery_goes_to_that_contact_alone(bench: Bench) -> None:
    await bench.half.reader.take_in(make_incoming(make_delivery(contact="lead")))
    await bench.maker.make_due()
    assert bench.list_written("all") == []
    assert bench.requests == []
    assert len(bench.list_written("lead")) == 1


async def test_a_crash_after_the_output_and_before_the_note_repeats_it_harmlessly(bench: Bench) -> None:
    await bench.half.reader.take_in(make_incoming(make_delivery()))

    class Killed(BaseException):
        """Stands for kill -9."""

    def die(step: str) -> None:
        if step == "output_made":
            raise Killed

    object.__setattr__(bench.maker._parts, "observe", die)
    with pytest.raises(Killed):
        await bench.maker.make_due()
    written = bench.list_written("all") or bench.requests
    assert written
    await bench.make_maker().make_due()
    assert len(bench.list_written("all")) == 1
    assert {r.headers["Idempotency-Key"] for r in bench.requests} == {DELIVERY}


async def test_the_loop_stops_when_told(bench: Bench) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(bench.maker.run(stop))
    await bench.half.reader.take_in(make_incoming(make_delivery()))
    stop.set()
    await asyncio.wait_for(task, timeout=5)


async def test_a_delivery_on_which_the_program_fails_does_not_stop_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_body: bytes, _headers: object = None) -> None:
        raise RecursionError

    monkeypatch.setattr("adapters.gateway.incoming.outputs.write_delivery", fail)
    await bench.half.reader.take_in(make_incoming(make_delivery()))
    await bench.maker.make_due()
    assert bench.half.outputs.list_outputs(DELIVERY) == {"folder": "pending", "webhook": "done"}
