"""Taking in: whatever arrives is stored or quarantined before it is acknowledged, and goes back when it cannot be."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from adapters.gateway.incoming.consumer import DeliveryConsumer
from broker.amqp.consumer import Incoming
from schemas.canonical import canonical_bytes, encode_base64url, parse_object, sha256_base64url
from schemas.checkpoint import Checkpoint, sign_checkpoint, write_proof
from schemas.codes import ReceiptState
from schemas.errors import DependencyUnavailable
from schemas.log_entry import commit_event
from schemas.merkle import RightEdge, hash_leaf
from schemas.objects import digest_object, sign_object
from schemas.objects.receipt import Receipt
from tests.support.deliveries import ORIGIN, seeded_log_jwk
from tests.support.envelopes import MESSAGE_ID, NOW, SENDER, SeededBytes, seeded_encryption_jwk, seeded_signer
from tests.support.receiving import (
    DELIVERY,
    RECIPIENT,
    FakeKeeper,
    FakeKeystore,
    ReceivingHalf,
    make_delivery,
    make_incoming,
    make_receiving_half,
    make_verified_directory,
)


@pytest.fixture
def half(tmp_path: Path) -> ReceivingHalf:
    return make_receiving_half(tmp_path)


def list_codes(half: ReceivingHalf) -> list[tuple[str, str, int]]:
    return [(m.type, m.code, m.arrivals) for m in half.quarantine.list_messages()]


async def test_a_delivery_is_stored_with_its_receipt(half: ReceivingHalf) -> None:
    await half.reader.take_in(make_incoming(make_delivery()))
    assert half.inbox.read(DELIVERY, None).entry.state is ReceiptState.ACCEPTED
    assert half.steps == ["incoming_received", "incoming_stored"]
    assert list_codes(half) == []


@pytest.mark.parametrize(
    ("message_type", "body", "code"),
    [
        ("delivery", b"\x00 not JSON", "malformed"),
        ("receipt", b"{}", "malformed"),
        ("notice", b'{"outcome": 1}', "malformed"),
        ("keyring_addendum", b"{}", "unknown-type"),
        ("", b"", "unknown-type"),
    ],
)
async def test_poison_is_kept_whole_with_its_reason(
    half: ReceivingHalf, message_type: str, body: bytes, code: str
) -> None:
    await half.reader.take_in(make_incoming(body, message_type))
    await half.reader.take_in(make_incoming(body, message_type))
    ((kept_type, kept_code, arrivals),) = list_codes(half)
    assert (kept_type, kept_code, arrivals) == (message_type, code, 2)
    assert half.quarantine.read_body(half.quarantine.list_messages()[0].digest) == body


async def test_a_full_quarantine_leaves_messages_in_rabbitmq(tmp_path: Path) -> None:
    half = make_receiving_half(tmp_path, limit=1)
    await half.reader.take_in(make_incoming(b"one"))
    with pytest.raises(DependencyUnavailable):
        await half.reader.take_in(make_incoming(b"two"))


async def test_a_fault_of_our_own_reader_is_quarantined_not_a_crash(
    half: ReceivingHalf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("Sampleford")

    monkeypatch.setattr(half.inbox, "take_in", fail)
    await half.reader.take_in(make_incoming(make_delivery()))
    assert list_codes(half) == [("delivery", "reader-failed", 1)]


async def test_a_newer_directory_is_fetched_before_a_sender_is_refused(tmp_path: Path) -> None:
    keeper = FakeKeeper(make_verified_directory(left_out=(SENDER,)), newer=make_verified_directory())
    half = make_receiving_half(tmp_path, keeper=keeper)
    await half.reader.take_in(make_incoming(make_delivery()))
    assert half.inbox.read(DELIVERY, None)
    assert keeper.fetched == 1


async def test_a_revoked_sender_is_quarantined(tmp_path: Path) -> None:
    half = make_receiving_half(tmp_path, keeper=FakeKeeper(make_verified_directory(left_out=(SENDER,))))
    await half.reader.take_in(make_incoming(make_delivery()))
    assert list_codes(half) == [("delivery", "sender-unknown", 1)]


async def test_what_was_quarantined_and_then_heals_leaves_the_quarantine(tmp_path: Path) -> None:
    keeper = FakeKeeper(make_verified_directory(left_out=(SENDER,)))
    half = make_receiving_half(tmp_path, keeper=keeper)
    body = make_delivery()
    await half.reader.take_in(make_incoming(body))
    keeper.known = make_verified_directory()
    await half.reader.take_in(make_incoming(body))
    assert list_codes(half) == []


async def test_a_delivery_that_does_not_open_is_kept_and_refused(tmp_path: Path) -> None:
    kid = seeded_encryption_jwk(RECIPIENT)["kid"]
    half = make_receiving_half(tmp_path, keystore=FakeKeystore(encryption={kid: seeded_encryption_jwk("wrong")}))
    await half.reader.take_in(make_incoming(make_delivery()))
    assert list_codes(half) == [("delivery", "cannot-open", 1)]
    (refusal,) = half.inbox_store.receipts.list_chain(DELIVERY)
    assert (refusal.state, refusal.reason_code) == (ReceiptState.REFUSED, "cannot_open")


def prove(event: dict[str, Any], log_name: str = "hub") -> dict[str, str]:
    """Log an event as the hub does and return the members that carry its proof."""
    data, salt = canonical_bytes(event), SeededBytes("notice")(32)
    after = RightEdge().append([hash_leaf(commit_event(data, salt))])
    note = sign_checkpoint(Checkpoint(ORIGIN, after.after.size, after.after.root()), seeded_log_jwk(log_name))
    proof = write_proof(0, after.prove_inclusion(0), note)
    return {"event": encode_base64url(data), "salt": encode_base64url(salt), "proof": proof}


def make_notice(**changes: Any) -> dict[str, Any]:
    return {
        "notice": 1,
        "message_id": MESSAGE_ID,
        "referral_id": "referral-0000000000001",
        "outcome": "accepted",
        "retryable": False,
        "decisions": [],
    } | changes


async def test_a_notice_with_proof_reaches_the_outbox(half: ReceivingHalf, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(half.outbox, "record_notice", lambda **told: seen.append(told))
    notice = make_notice()
    event = {"event": "accepted", "notice_sha256": sha256_base64url(canonical_bytes(notice))}
    await half.reader.take_in(make_incoming(canonical_bytes(notice | prove(event)), "notice"))
    await half.reader.take_in(make_incoming(canonical_bytes(notice), "notice"))
    error = {"code": "not-fresh", "detail": "d", "field": None, "retryable": True}
    await half.reader.take_in(make_incoming(canonical_bytes(make_notice(outcome="rejected", error=error)), "notice"))
    assert [(n["message_id"], n["outcome"], n["proof_verified"], n["error"]) for n in seen] == [
        (MESSAGE_ID, "accepted", True, None),
        (MESSAGE_ID, "accepted", False, None),
        (MESSAGE_ID, "rejected", False, error),
    ]
    assert list_codes(half) == []


async def test_acceptance_of_another_manifest_proves_nothing(
    half: ReceivingHalf, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(half.outbox, "record_notice", lambda **told: seen.append(told))
    monkeypatch.setattr(half.outbox, "manifest_digest", lambda _: "m" * 43)
    for digest in ("m" * 43, "x" * 43):
        notice = make_notice(manifest_digest=digest)
        event = {"event": "accepted", "notice_sha256": sha256_base64url(canonical_bytes(notice))}
        await half.reader.take_in(make_incoming(canonical_bytes(notice | prove(event)), "notice"))
    assert [n["proof_verified"] for n in seen] == [True, False]


@pytest.mark.parametrize("log_name", ["hub", "another hub"])
async def test_a_proof_of_something_else_is_refused(half: ReceivingHalf, log_name: str) -> None:
    event = {"event": "accepted", "notice_sha256": sha256_base64url(canonical_bytes(make_notice(outcome="rejected")))}
    await half.reader.take_in(make_incoming(canonical_bytes(make_notice() | prove(event, log_name)), "notice"))
    assert list_codes(half) == [("notice", "proof-invalid", 1)]


async def test_word_that_our_receipt_is_logged_ends_its_resending(half: ReceivingHalf) -> None:
    await half.reader.take_in(make_incoming(make_delivery()))
    (receipt,) = half.inbox_store.receipts.list_chain(DELIVERY)
    members = {"outcome": "recorded", "delivery_id": DELIVERY, "receipt_digest": receipt.digest}
    event = {"event": "receipt", "delivery_id": DELIVERY, "receipt_digest": receipt.digest}
    assert len(half.inbox_store.receipts.list_to_publish(NOW)) == 1
    await half.reader.take_in(make_incoming(canonical_bytes(make_notice(**members)), "notice"))
    assert len(half.inbox_store.receipts.list_to_publish(NOW)) == 1  # no proof, no end
    await half.reader.take_in(make_incoming(canonical_bytes(make_notice(**members) | prove(event)), "notice"))
    assert half.inbox_store.receipts.list_to_publish(NOW) == []


def make_receipt_body(signer: str = RECIPIENT, **changes: Any) -> bytes:
    receipt = Receipt(
        **{
            "receipt_id": "receipt-00000000000001",
            "delivery_id": DELIVERY,
            "message_id": MESSAGE_ID,
            "referral_id": "referral-0000000000001",
            "manifest_digest": "m" * 43,
            "decision_leaf": "l" * 43,
            "sender": SENDER,
            "recipient": RECIPIENT,
            "state": ReceiptState.ACCEPTED,
            "at": NOW,
            "sections": (),
        }
        | changes  # type: ignore[arg-type]
    )
    signed = sign_object("receipt", receipt, seeded_signer(signer))
    event = {"event": "receipt", "delivery_id": DELIVERY, "receipt_digest": digest_object(signed)}
    return canonical_bytes({"receipt": parse_object(signed, max_bytes=100_000, field="r")} | prove(event))


@pytest.fixture
def sent(half: ReceivingHalf, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Make the outbox one that has sealed the sample's delivery, and keep what it is told."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(half.outbox, "manifest_digest", lambda _: "m" * 43)
    monkeypatch.setattr(
        half.outbox, "knows_delivery", lambda m, d: RECIPIENT if (m, d) == (MESSAGE_ID, DELIVERY) else None
    )

    def keep(**told: Any) -> bool:
        seen.append(told)
        return True

    monkeypatch.setattr(half.outbox, "record_receipt", keep)
    return seen


async def test_a_recipients_receipt_reaches_the_outbox(half: ReceivingHalf, sent: list[dict[str, Any]]) -> None:
    await half.reader.take_in(make_incoming(make_receipt_body(), "receipt"))
    assert [(r["delivery_id"], r["state"], r["at"]) for r in sent] == [(DELIVERY, "accepted", NOW)]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"signer": "school.one"}, "signature-invalid"),
        ({"signer": "school.one", "recipient": "school.one"}, "signature-invalid"),
        ({"recipient": "school.one"}, "receipt-refused"),
        ({"manifest_digest": "x" * 43}, "receipt-refused"),
        ({"delivery_id": "delivery-00000000other"}, "receipt-refused"),
    ],
)
async def test_a_receipt_that_is_not_ours_is_refused(
    half: ReceivingHalf, sent: list[dict[str, Any]], changes: dict[str, Any], code: str
) -> None:
    await half.reader.take_in(make_incoming(make_receipt_body(**changes), "receipt"))
    assert sent == []
    assert list_codes(half) == [("receipt", code, 1)]


@dataclass
class FakeBatch:
    messages: list[Incoming]
    settled: list[str] = field(default_factory=list)

    async def ack(self, messages: list[Incoming]) -> bool:
        self.settled += [f"ack {m.delivery_id}" for m in messages]
        return True

    async def reject(self, messages: list[Incoming], *, requeue: bool) -> bool:
        self.settled += [f"{'back' if requeue else 'dead'} {m.delivery_id}" for m in messages]
        return True


async def test_nothing_is_acknowledged_that_is_not_stored(half: ReceivingHalf, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = half.steps
    stop = asyncio.Event()
    batch = FakeBatch([make_incoming(make_delivery()), make_incoming(b"poison"), make_incoming(b"later")])
    batch.settled = order

    class Once:
        async def next_batch(self, **_: Any) -> FakeBatch:
            stop.set()
            return batch

        async def close(self) -> None:
            order.append("closed")

    keep = half.quarantine.keep

    def keep_or_fail(body: bytes, **told: Any) -> None:
        if body == b"later":
            raise DependencyUnavailable
        keep(body, **told)

    monkeypatch.setattr(half.quarantine, "keep", keep_or_fail)
    await DeliveryConsumer(half.reader, Once(), observe=order.append).run(stop)  # type: ignore[arg-type]
    assert order == [
        *("incoming_received", "incoming_stored", "ack amqp-id", "incoming_acked"),
        *("incoming_received", "incoming_stored", "ack amqp-id", "incoming_acked"),
        *("incoming_received", "back amqp-id", "closed"),
    ]
