"""The receiving half against the real hub: what the hub hands out is opened, its receipts are logged, proven and reach the sender."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.gateway.identity.directory_keeper import DirectoryKeeper
from adapters.gateway.identity.trust import read_trust_file
from adapters.gateway.incoming.consumer import DeliveryConsumer
from adapters.gateway.incoming.inbox_model import InboxFilter
from adapters.gateway.incoming.outputs import ReceiptSender
from adapters.gateway.incoming.receipts import ReceiptRequest
from adapters.gateway.outgoing.publisher import Publisher
from broker.amqp.consumer import BatchConsumer
from schemas.canonical import parse_object
from schemas.codes import Form, ReceiptState
from schemas.keys import SigningKeys
from tests.support.authority import AgencyKit
from tests.support.hub_world import CSC, HEALTH, POLICE, SCHOOL, Draft, HubWorld, open_hub_world
from tests.support.receiving import ReceivingHalf, make_receiving_half
from tests.support.servers import RabbitVhost


@dataclass
class KitKeystore:
    """A keystore over a test kit's own keys."""

    kit: AgencyKit

    def signing_keys(self) -> SigningKeys:
        return self.kit.signer

    def encryption_private_jwks(self, _now: datetime) -> dict[str, dict[str, Any]]:
        return {self.kit.encryption_jwk["kid"]: self.kit.encryption_jwk}


@dataclass
class SentBySender:
    """What the sender's outbox knows, and what it is told."""

    deliveries: dict[tuple[str, str], str]
    digests: dict[str, str]
    notices: list[dict[str, Any]] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)

    def manifest_digest(self, message_id: str) -> str | None:
        return self.digests.get(message_id)

    def knows_delivery(self, message_id: str, delivery_id: str) -> str | None:
        return self.deliveries.get((message_id, delivery_id))

    def record_notice(self, **told: Any) -> bool:
        self.notices.append(told)
        return True

    def record_receipt(self, **told: Any) -> bool:
        self.receipts.append(told)
        return True


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub") as world:
        yield world


@asynccontextmanager
async def running_half(world: HubWorld, agency: str, sent: SentBySender | None = None) -> AsyncIterator[ReceivingHalf]:
    """Run an agency's receiving half: its directory verified from the authority's signature, its own certificate and queue."""
    folder = world.folder / "agencies" / agency
    folder.mkdir(parents=True, exist_ok=True)
    keeper = DirectoryKeeper(folder / "directory.json", read_trust_file(world.config.trust_file), None, now)
    body = await world.owner.fetchval("SELECT body FROM directory_versions ORDER BY version DESC LIMIT 1")
    keeper.accept({"directory": parse_object(body, max_bytes=10_000_000, field="directory"), "keys": []})
    half = make_receiving_half(
        folder, agency=agency, keeper=keeper, keystore=KitKeystore(world.kits[agency]), clock=now
    )
    if sent is not None:
        for name in ("manifest_digest", "knows_delivery", "record_notice", "record_receipt"):
            setattr(half.outbox, name, getattr(sent, name))
    settings = world.rabbit.amqp_settings(agency)
    publisher = Publisher(agency, settings)
    consumer = BatchConsumer(settings, [world.queues[agency]], prefetch=20)
    stop = asyncio.Event()
    sender = ReceiptSender(
        half.inbox_store.receipts, publisher, now=now, poll=timedelta(milliseconds=100), observe=half.steps.append
    )
    tasks = [
        asyncio.create_task(DeliveryConsumer(half.reader, consumer, observe=half.steps.append).run(stop)),
        asyncio.create_task(sender.run(stop)),
    ]
    try:
        yield half
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)
        await publisher.close()


async def wait_until(holds: Callable[[], Any], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for is on disk
            await asyncio.sleep(0.05)


def list_ids(half: ReceivingHalf) -> list[str]:
    return [entry.delivery_id for entry in half.inbox.list_entries(InboxFilter(), 10)]


def is_logged(half: ReceivingHalf, count: int) -> bool:
    rows = half.store.query("SELECT count(*) AS n FROM inbox_receipt WHERE logged_at IS NOT NULL")
    return bool(rows[0]["n"] == count)


async def test_each_agency_opens_its_part_and_its_receipts_come_back_proven(world: HubWorld) -> None:
    draft = Draft()
    sealed = world.seal(draft)
    sent = SentBySender(
        {(sealed.message_id, d.delivery_id): d.agency for d in draft.header().deliveries},
        {sealed.message_id: sealed.manifest_digest},
    )
    async with (
        world.running_worker(),
        running_half(world, CSC) as csc,
        running_half(world, SCHOOL) as school,
        running_half(world, HEALTH) as health,
        running_half(world, POLICE, sent) as police,
    ):
        await world.publish(POLICE, [sealed.body])
        await wait_until(lambda: all(list_ids(half) for half in (csc, school, health)))
        (delivery_id,) = list_ids(csc)
        csc.inbox.record_receipt(delivery_id, None, ReceiptRequest(ReceiptState.ACTIONED))
        await wait_until(lambda: len(sent.receipts) == 5)
        await wait_until(lambda: is_logged(csc, 3) and is_logged(school, 1))

    for half in (csc, school, health, police):
        assert [(m.type, m.code, m.field) for m in half.quarantine.list_messages()] == []
    received = csc.inbox.read(delivery_id, None).received
    assert {(s.compartment.value, s.form) for s in received.sections} >= {("C01", Form.FULL), ("C17", Form.SUMMARY)}
    assert received.recipient_name == "Marchshire County Council, Children's Social Care (MASH)"
    assert {d.clock for d in received.deadlines} == {"la_acknowledgement", "strategy_discussion"}
    pupil = school.inbox.read(list_ids(school)[0], None).received
    assert [s.subject_id for s in pupil.subjects] == ["subject-000000000child"]
    assert "CANARYsibling" not in pupil.model_dump_json()
    assert [n["outcome"] for n in sent.notices if n["outcome"] != "clock"] == ["accepted"]
    assert all(n["proof_verified"] for n in sent.notices)
    by_agency = sorted((sent.deliveries[(r["message_id"], r["delivery_id"])], r["state"]) for r in sent.receipts)
    assert by_agency == sorted(
        [(CSC, "accepted"), (CSC, "opened"), (CSC, "actioned"), (SCHOOL, "accepted"), (HEALTH, "accepted")]
    )
    states = await world.owner.fetch("SELECT recipient, state FROM deliveries")
    assert {r["recipient"]: r["state"] for r in states} == {CSC: "actioned", SCHOOL: "accepted", HEALTH: "accepted"}


async def test_a_refusal_reaches_the_sender_with_its_reason(world: HubWorld) -> None:
    draft = Draft()
    sealed = world.seal(draft)
    sent = SentBySender(
        {(sealed.message_id, d.delivery_id): d.agency for d in draft.header().deliveries},
        {sealed.message_id: sealed.manifest_digest},
    )
    async with (
        world.running_worker(),
        running_half(world, SCHOOL) as school,
        running_half(world, POLICE, sent),
    ):
        await world.publish(POLICE, [sealed.body])
        await wait_until(lambda: list_ids(school))
        school.inbox.record_receipt(
            list_ids(school)[0], None, ReceiptRequest(ReceiptState.REFUSED, "not_our_child", "dsl-1")
        )
        await wait_until(lambda: len(sent.receipts) == 2)
    assert [(r["state"], r["reason_code"]) for r in sent.receipts] == [("accepted", None), ("refused", "not_our_child")]
