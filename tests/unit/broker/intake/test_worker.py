"""The loop keeps its batch through an outage, gives back what is stuck, acks only what is committed, and bounds what is under way."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from broker.intake import worker as worker_module
from broker.intake.batch import Taken
from broker.intake.refusals import Stuck
from broker.intake.worker import IntakeLoop
from broker.store.pool import StoreUnavailable
from schemas.errors import IntegrityBroken


class Batch:
    def __init__(self, messages: Sequence[Any]) -> None:
        self.messages = messages
        self.log: list[str] = []

    async def ack(self, messages: Sequence[Any]) -> bool:
        self.log.append(f"ack {len(messages)}")
        return True

    async def reject(self, messages: Sequence[Any], *, requeue: bool) -> bool:
        self.log.append(f"reject {len(messages)} {requeue}")
        return True


class Message:
    def __init__(self, tag: int) -> None:
        self.tag = tag


class Consumer:
    """Hands out its batches, then nothing, and asks the loop to stop."""

    def __init__(self, batches: Sequence[Batch], stop: asyncio.Event, *, linger: int = 5) -> None:
        self.batches = list(batches)
        self.stop = stop
        self.linger = linger

    async def next_batch(self, **_options: Any) -> Batch:
        if self.batches:
            return self.batches.pop(0)
        await asyncio.sleep(0.01)
        self.linger -= 1
        if self.linger <= 0:
            self.stop.set()
        return Batch([])


class Intake:
    def __init__(self, answer: Callable[[int], Any]) -> None:
        self.answer = answer
        self.calls = 0

    async def take(self, messages: Sequence[Any]) -> Taken:
        self.calls += 1
        result = self.answer(self.calls)
        if isinstance(result, Exception):
            raise result
        return result


class Dispatcher:
    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self.gate = gate
        self.under_way = self.most = self.published = 0

    async def publish(self, parcels: Sequence[Any]) -> int:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if self.gate:
            await self.gate.wait()
        self.under_way -= 1
        self.published += len(parcels)
        return len(parcels)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def pause(_stop: asyncio.Event, _seconds: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(worker_module, "pause", pause)


def build_loop(
    batches: Sequence[Batch], intake: Intake, stop: asyncio.Event, dispatcher: Any = None, **more: Any
) -> IntakeLoop:
    return IntakeLoop(
        consumer=Consumer(batches, stop, **more),
        intake=intake,
        dispatcher=dispatcher or Dispatcher(),
        observe=lambda _step: None,
        batch_messages=8,
        batch_linger_seconds=0,
        most_under_way=2,
    )


async def test_a_long_outage_keeps_the_batch_and_never_gives_it_back() -> None:
    batch, stop = Batch([Message(1)]), asyncio.Event()
    intake = Intake(lambda call: StoreUnavailable() if call < 60 else Taken())
    await build_loop([batch], intake, stop, linger=100).run(stop)
    assert intake.calls == 60
    assert batch.log == ["ack 1"]


async def test_what_is_stuck_is_given_back_so_that_rabbitmq_counts_it() -> None:
    batch, stop = Batch([Message(1)]), asyncio.Event()
    await build_loop([batch], Intake(lambda _call: Stuck()), stop).run(stop)
    assert batch.log == ["reject 1 True"]


async def test_an_outage_at_the_end_gives_the_batch_back() -> None:
    batch, stop = Batch([Message(1)]), asyncio.Event()
    await build_loop([batch], Intake(lambda _call: StoreUnavailable()), stop, linger=1).run(stop)
    assert batch.log == ["reject 1 True"]


async def test_deferred_receipts_are_handed_out_again_and_the_rest_is_acked() -> None:
    messages = [Message(tag) for tag in range(3)]
    batch, stop = Batch(messages), asyncio.Event()
    await build_loop([batch], Intake(lambda _call: Taken(deferred=[messages[1]])), stop).run(stop)
    assert batch.log == ["ack 2", "reject 1 True"]


async def test_a_broken_integrity_ends_the_loop_unacked() -> None:
    batch, stop = Batch([Message(1)]), asyncio.Event()
    with pytest.raises(ExceptionGroup) as caught:
        await build_loop([batch], Intake(lambda _call: IntegrityBroken()), stop, linger=50).run(stop)
    assert caught.group_contains(IntegrityBroken)
    assert batch.log == ["reject 1 True"]


async def test_batches_that_wait_to_be_published_are_bounded() -> None:
    gate, stop = asyncio.Event(), asyncio.Event()
    batches = [Batch([Message(n)]) for n in range(20)]
    intake, dispatcher = Intake(lambda _call: Taken(parcels=["parcel"])), Dispatcher(gate)
    loop = build_loop(batches, intake, stop, dispatcher, linger=30)
    running = asyncio.create_task(loop.run(stop))
    await asyncio.sleep(0.1)
    assert intake.calls == 4  # two that are being published, two that wait for their turn
    assert dispatcher.most == 2
    gate.set()
    await running
    assert dispatcher.published == 20
