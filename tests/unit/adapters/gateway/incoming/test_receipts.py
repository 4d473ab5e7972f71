"""Receipts: a signed chain that can only go forward, bound to what was received, sent until it is logged."""

import contextlib
import itertools
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.gateway.incoming.inbox_model import StoredReceipt
from adapters.gateway.incoming.opening import DeliveryBinding
from adapters.gateway.incoming.outputs import RESEND_UNLOGGED, ReceiptSender
from adapters.gateway.incoming.receipts import REFUSAL_REASONS, ReceiptRequest
from schemas.codes import ReceiptState
from schemas.errors import Conflict, DependencyUnavailable, NotFound, Rejected
from schemas.objects.receipt import Receipt, check_next_receipt
from schemas.objects.registry import read_object
from tests.support.envelopes import NOW, seeded_signer
from tests.support.receiving import (
    DELIVERY,
    RECIPIENT,
    ReceivingHalf,
    make_delivery,
    make_incoming,
    make_receiving_half,
)


@pytest.fixture
async def half(tmp_path: Path) -> ReceivingHalf:
    made = make_receiving_half(tmp_path)
    await made.reader.take_in(make_incoming(make_delivery()))
    return made


def read_chain(half: ReceivingHalf, delivery_id: str = DELIVERY) -> list[tuple[str, Receipt]]:
    """Return the chain after checking each signature and link as the hub and sender would."""
    chain: list[tuple[str, Receipt]] = []
    for stored in half.inbox_store.receipts.list_chain(delivery_id):
        receipt = read_object("receipt", stored.body, (seeded_signer(RECIPIENT).public,))
        assert isinstance(receipt, Receipt)
        check_next_receipt(receipt, chain)
        chain.append((stored.digest, receipt))
    return chain


def record(half: ReceivingHalf, state: ReceiptState, reason: str | None = None) -> list[StoredReceipt]:
    return half.inbox.record_receipt(DELIVERY, None, ReceiptRequest(state, reason))[0]


async def test_storing_signs_accepted_bound_to_manifest_leaf_and_sections(half: ReceivingHalf) -> None:
    ((_, receipt),) = read_chain(half)
    received = half.inbox.read(DELIVERY, None).received
    assert receipt.state is ReceiptState.ACCEPTED
    assert receipt.manifest_digest == received.manifest_digest
    assert receipt.decision_leaf == received.decision_leaf
    assert receipt.sections == ("section-00000000000001", "section-00000000000003")
    assert (receipt.recipient, receipt.at, receipt.previous) == (RECIPIENT, NOW, None)


async def test_the_chain_goes_on_and_the_same_again_adds_nothing(half: ReceivingHalf) -> None:
    assert len(record(half, ReceiptState.OPENED)) == 1
    assert record(half, ReceiptState.OPENED) == []
    assert len(record(half, ReceiptState.ACTIONED)) == 1
    assert record(half, ReceiptState.OPENED) == []
    assert [r.state for _, r in read_chain(half)] == ["accepted", "opened", "actioned"]


async def test_acting_on_an_unopened_delivery_opens_it_first(half: ReceivingHalf) -> None:
    record(half, ReceiptState.ACTIONED)
    assert [r.state for _, r in read_chain(half)] == ["accepted", "opened", "actioned"]


@pytest.mark.parametrize("reason", sorted(REFUSAL_REASONS))
async def test_a_refusal_ends_the_chain(half: ReceivingHalf, reason: str) -> None:
    record(half, ReceiptState.REFUSED, reason)
    with pytest.raises(Conflict):
        record(half, ReceiptState.ACTIONED)
    assert read_chain(half)[-1][1].reason_code == reason


@pytest.mark.parametrize("reason", [None, "because the mother is my cousin", "other"])
async def test_a_refusal_without_a_known_code_is_rejected(half: ReceivingHalf, reason: str | None) -> None:
    with pytest.raises(Rejected) as caught:
        record(half, ReceiptState.REFUSED, reason)
    assert caught.value.field == "reason_code"
    assert "cousin" not in str(caught.value)


async def test_nobody_can_refuse_what_was_actioned(half: ReceivingHalf) -> None:
    record(half, ReceiptState.ACTIONED)
    with pytest.raises(Conflict):
        record(half, ReceiptState.REFUSED, "duplicate")


async def test_a_receipt_of_nothing_is_not_found(half: ReceivingHalf) -> None:
    with pytest.raises(NotFound):
        half.inbox.record_receipt("delivery-000000000none", None, ReceiptRequest(ReceiptState.OPENED))


async def test_any_order_of_requests_leaves_a_valid_chain(half: ReceivingHalf) -> None:
    choices = [(ReceiptState.REFUSED, "duplicate"), (ReceiptState.ACTIONED, None), (ReceiptState.OPENED, None)]
    for number, order in enumerate(itertools.permutations(choices)):
        delivery_id = f"delivery-{number:013}"
        half.inbox.take_in(
            half.inbox.read(DELIVERY, None).received.model_copy(update={"delivery_id": delivery_id}), b""
        )
        for state, reason in order:
            with contextlib.suppress(Conflict):
                half.inbox.record_receipt(delivery_id, None, ReceiptRequest(state, reason))
            assert len(read_chain(half, delivery_id)) >= 2


async def test_a_delivery_that_cannot_be_opened_is_refused_once(half: ReceivingHalf) -> None:
    received = half.inbox.read(DELIVERY, None).received
    binding = DeliveryBinding(
        "delivery-000000000shut",
        received.message_id,
        "referral-0000000000001",
        "m" * 43,
        "l" * 43,
        "police.marchshire",
        RECIPIENT,
        ("s" * 22,),
    )
    half.inbox.refuse(binding, "cannot_open")
    half.inbox.refuse(binding, "cannot_open")
    (refusal,) = half.inbox_store.receipts.list_chain("delivery-000000000shut")
    assert (refusal.state, refusal.reason_code) == (ReceiptState.REFUSED, "cannot_open")


class Recorder:
    """A publisher that keeps what it is given; ``broken`` makes it fail."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, str]] = []
        self.broken = False

    async def publish(self, message_type: str, body: bytes, message_id: str) -> None:
        if self.broken:
            raise DependencyUnavailable
        self.sent.append((message_type, body, message_id))


async def test_receipts_leave_in_order_unchanged_and_again_until_they_are_logged(half: ReceivingHalf) -> None:
    record(half, ReceiptState.ACTIONED)
    chain = half.inbox_store.receipts.list_chain(DELIVERY)
    now = [NOW]
    wire = Recorder()
    sender = ReceiptSender(
        half.inbox_store.receipts,
        wire,  # type: ignore[arg-type]
        now=lambda: now[0],
        poll=timedelta(seconds=1),
        observe=half.steps.append,
    )
    wire.broken = True
    with pytest.raises(DependencyUnavailable):
        await sender.send_due()
    wire.broken = False
    assert await sender.send_due() == 3
    expected = [("receipt", r.body, r.receipt_id) for r in chain]
    assert wire.sent == expected
    assert await sender.send_due() == 0
    half.inbox.record_logged(DELIVERY, chain[0].digest)
    now[0] += RESEND_UNLOGGED + timedelta(seconds=1)
    assert await sender.send_due() == 2
    assert wire.sent[3:] == expected[1:]


async def test_an_offer_of_the_same_delivery_sends_the_chain_again(half: ReceivingHalf) -> None:
    wire = Recorder()
    sender = ReceiptSender(
        half.inbox_store.receipts,
        wire,  # type: ignore[arg-type]
        now=lambda: NOW,
        poll=timedelta(seconds=1),
        observe=half.steps.append,
    )
    await sender.send_due()
    await half.reader.take_in(make_incoming(make_delivery()))
    assert await sender.send_due() == 1
    assert wire.sent[0] == wire.sent[1]
