"""Claim tickets: what cannot be collected now is collected later; what cannot be read is put aside, never lost."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.gateway.identity.hub_client import HubAnswer
from adapters.gateway.incoming.tickets import TicketDesk
from adapters.gateway.store import GatewayStore
from schemas.errors import Conflict, DependencyUnavailable, NotAuthenticated, NotFound, NotPermitted, SafelaneError
from tests.support.receiving import make_incoming, make_receiving_half

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


class Hub:
    """Answers with ``failure`` until it is none."""

    failure: SafelaneError | None = None

    async def request(self, _method: str, _path: str, _body: Any = None) -> HubAnswer:
        if self.failure is not None:
            raise self.failure
        return HubAnswer(200, {"delivery": "x"}, None)


class Desk:
    def __init__(self, folder: Path) -> None:
        self.hub, self.now = Hub(), START
        self.store = GatewayStore(folder / "gateway.sqlite", b"k" * 32)
        self.desk = TicketDesk(self.store, self.hub, lambda: self.now)  # type: ignore[arg-type]
        self.taken: list[bytes] = []

    async def collect(self) -> str:
        await self.desk.collect_due(self.take_in)
        (ticket,) = self.desk.list_tickets()
        return str(ticket["state"])

    async def take_in(self, body: bytes) -> None:
        self.taken.append(body)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.desk.take_in("delivery-0000000000001", "message-1")
    return made


@pytest.mark.parametrize("failure", [DependencyUnavailable(), NotAuthenticated()])
async def test_what_cannot_be_collected_now_is_collected_later(desk: Desk, failure: SafelaneError) -> None:
    desk.hub.failure = failure
    assert await desk.collect() == "waiting"
    desk.hub.failure = None
    desk.now += timedelta(minutes=10)
    assert await desk.collect() == "collected"
    assert len(desk.taken) == 1


@pytest.mark.parametrize("failure", [NotFound(), Conflict(), NotPermitted()])
async def test_what_policy_no_longer_releases_is_gone(desk: Desk, failure: SafelaneError) -> None:
    desk.hub.failure = failure
    assert await desk.collect() == "gone"


async def test_a_collected_delivery_that_cannot_be_read_is_put_aside(tmp_path: Path) -> None:
    half = make_receiving_half(tmp_path)
    body = make_incoming(b'{"not":"a delivery"}').body
    await half.reader.take_in_collected(body)
    (kept,) = half.quarantine.list_messages()
    assert kept.type == "delivery"
