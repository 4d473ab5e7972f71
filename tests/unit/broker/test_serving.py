"""The parent of workers: no stop is lost, whenever it comes."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from broker import serving
from broker.serving import _Supervisor

CHILD = 4242


@pytest.fixture(autouse=True)
def own_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_stop_that_comes_while_a_worker_is_started_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []

    def fork_and_be_stopped() -> int:
        signal.raise_signal(signal.SIGTERM)
        return CHILD

    config: Any = None
    supervisor = _Supervisor(config, None)
    signal.signal(signal.SIGTERM, supervisor._stop)
    monkeypatch.setattr(serving.os, "fork", fork_and_be_stopped)
    monkeypatch.setattr(serving.os, "kill", lambda pid, _number: told.append(pid))
    supervisor._start(0)
    assert told == [CHILD]
    supervisor._start(1)  # nothing is started after a stop: nobody would tell it
    assert list(supervisor._children) == [CHILD]
