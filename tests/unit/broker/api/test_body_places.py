"""Slow posters keep nobody out: whoever has been reading longest gives up its place."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from broker.api.body_places import BodyPlaces, PlaceTaken
from schemas.errors import TooLarge


def post(*chunks: bytes, stalls: bool = False) -> Request:
    """Return a request whose body arrives in chunks, and, if it stalls, never ends."""
    coming = list(chunks)

    async def receive() -> dict[str, Any]:
        if coming:
            chunk = coming.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(coming) or stalls}
        await asyncio.sleep(3600)
        raise AssertionError

    return Request({"type": "http", "method": "POST", "path": "/v1/directory", "headers": []}, receive)


async def test_a_quick_body_is_read_past_any_number_of_slow_ones() -> None:
    places = BodyPlaces(3)
    slow = [asyncio.create_task(places.read(post(b"x", stalls=True), max_bytes=10)) for _ in range(3)]
    await asyncio.sleep(0.01)
    async with asyncio.timeout(1):
        assert await places.read(post(b"dire", b"ctory"), max_bytes=10) == b"directory"
    with pytest.raises(PlaceTaken):
        await slow[0]
    assert not slow[1].done()
    for number in range(5):
        slow.append(asyncio.create_task(places.read(post(b"y", stalls=True), max_bytes=10)))
        await asyncio.sleep(0)
        async with asyncio.timeout(1):
            assert await places.read(post(b"%d" % number), max_bytes=10) == b"%d" % number
    assert sum(not task.done() for task in slow) <= 3
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def test_a_body_over_the_limit_frees_its_place() -> None:
    places = BodyPlaces(1)
    with pytest.raises(TooLarge):
        await places.read(post(b"x" * 11), max_bytes=10)
    assert await places.read(post(b"ok"), max_bytes=10) == b"ok"


async def test_a_caller_who_goes_away_frees_its_place() -> None:
    places = BodyPlaces(1)
    gone = asyncio.create_task(places.read(post(stalls=True), max_bytes=10))
    await asyncio.sleep(0.01)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await places.read(post(b"ok"), max_bytes=10) == b"ok"
