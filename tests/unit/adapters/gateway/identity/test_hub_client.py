"""What a hub that lies may answer: without end, packed to swell, or with a redirect. The gateway's memory and time stay bounded."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from adapters.gateway.identity import hub_client
from adapters.gateway.identity.hub_client import HubClient
from deploy.local.pki import Pki
from schemas.errors import DependencyUnavailable
from schemas.keys import KeyUse, generate_ed25519_jwk

CHUNK = b" " * (1 << 20)


class Endless(httpx.AsyncByteStream):
    """An answer that never ends; ``sent`` counts its chunks."""

    def __init__(self) -> None:
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.sent < 2_000:
            self.sent += 1
            yield CHUNK


@pytest.fixture
def connect(tmp_path: Path) -> Callable[[Callable[[httpx.Request], httpx.Response]], HubClient]:
    ca_pem = Pki(tmp_path).ca_file.read_text()
    key = generate_ed25519_jwk(KeyUse.API)
    return lambda answer: HubClient(
        "https://hub.example.org",
        agency="police.marchshire",
        ca_pem=ca_pem,
        api_key=lambda: key,
        clock=lambda: datetime.now(UTC),
        attempts=1,
        transport=httpx.MockTransport(answer),
    )


async def test_an_answer_without_end_is_not_read_to_its_end(connect: Callable[..., HubClient]) -> None:
    stream = Endless()
    hub = connect(lambda _request: httpx.Response(200, stream=stream))
    with pytest.raises(DependencyUnavailable):
        await hub.agency()
    assert stream.sent <= hub_client.MAX_ANSWER_BYTES // len(CHUNK) + 2


async def test_a_packed_answer_is_not_unpacked(connect: Callable[..., HubClient]) -> None:
    packed = gzip.compress(b'{"queue":"x"}')
    hub = connect(lambda _request: httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=packed))
    with pytest.raises(DependencyUnavailable):
        await hub.agency()


async def test_an_answer_that_drips_ends_with_the_time_for_it(
    connect: Callable[..., HubClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Drip(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0.05)
                yield b" "

    monkeypatch.setattr(hub_client, "_LONGEST_EXCHANGE", 0.3)
    hub = connect(lambda _request: httpx.Response(200, stream=Drip()))
    with pytest.raises(DependencyUnavailable):
        await asyncio.wait_for(hub.agency(), timeout=5)


async def test_an_honest_answer_is_read(connect: Callable[..., HubClient]) -> None:
    hub = connect(lambda _request: httpx.Response(200, json={"queue": "x"}))
    assert await hub.agency() == {"queue": "x"}
