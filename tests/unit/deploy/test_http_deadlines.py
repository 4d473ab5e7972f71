"""Connections that never finish a request's head are dropped; those that do are not, however slow their answer is."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from deploy.http_deadlines import DeadlinedProtocol

SECONDS = 0.05


class Wire(asyncio.Transport):
    """A connection that notes how it ended."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 4321), "sockname": ("192.0.2.2", 443), "sslcontext": None})
        self.dropped = False
        self.sent = b""

    def abort(self) -> None:
        self.dropped = True

    def close(self) -> None:
        self.dropped = True

    def is_closing(self) -> bool:
        return self.dropped

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


async def answer_slowly(_scope: Any, _receive: Any, send: Any) -> None:
    await asyncio.sleep(3 * SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def wait_for(happened: Callable[[], bool]) -> None:
    """Wait at most ten seconds: the machine may be busy."""
    async with asyncio.timeout(10):
        while not happened():  # noqa: ASYNC110 - the protocol under test has no event to wait for
            await asyncio.sleep(SECONDS / 5)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(DeadlinedProtocol, "head_seconds", SECONDS)

    def make() -> tuple[DeadlinedProtocol, Wire]:
        config = uvicorn.Config(answer_slowly, http=DeadlinedProtocol, ws="none", lifespan="off", log_config=None)
        config.load()
        protocol, wire = DeadlinedProtocol(config, ServerState(), {}, asyncio.get_running_loop()), Wire()
        protocol.connection_made(wire)
        return protocol, wire

    return make


async def test_who_sends_nothing_is_dropped(connect: Any) -> None:
    protocol, wire = connect()
    assert protocol._deadline is not None
    await wait_for(lambda: wire.dropped)


async def test_a_byte_now_and_then_does_not_help(connect: Any) -> None:
    protocol, wire = connect()
    first = protocol._deadline
    for byte in b"GET / HT":
        protocol.data_received(bytes([byte]))
        assert protocol._deadline is first
    await wait_for(lambda: wire.dropped)


async def test_a_whole_head_is_answered_however_long_it_takes_and_the_next_has_a_deadline_of_its_own(
    connect: Any,
) -> None:
    protocol, wire = connect()
    protocol.data_received(b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n")
    assert protocol._deadline is None
    await wait_for(lambda: wire.sent.endswith(b"ok"))
    assert wire.sent.startswith(b"HTTP/1.1 200")
    assert not wire.dropped
    protocol.data_received(b"GET / HTTP/1.1\r\nHo")
    await wait_for(lambda: wire.dropped)
    protocol.connection_lost(None)
