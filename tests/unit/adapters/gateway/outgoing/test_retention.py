"""What is over is erased, and only that; evidence of what was sent stays."""

from datetime import timedelta
from pathlib import Path

import pytest

from adapters.gateway.outgoing.outbox import Outbox
from adapters.gateway.outgoing.outbox_model import NewDocument, OutboxState, RecordFault
from adapters.gateway.outgoing.retention import RetentionTimes, erase_what_is_over
from adapters.gateway.store import GatewayStore
from schemas.errors import Rejected
from tests.unit.adapters.gateway.outgoing.test_outbox import (
    NOW,
    accept,
    delivered,
    make_record,
    notice,
    publish,
    receipt,
    state,
)

TIMES = RetentionTimes(timedelta(days=30), timedelta(days=10))
CANARY = b"SYNTHETIC canary"


@pytest.fixture
def store(tmp_path: Path) -> GatewayStore:
    return GatewayStore(tmp_path / "gateway.sqlite", bytes(32))


def finish(outbox: Outbox, ref: str, message_id: str) -> str:
    [referral_id] = accept(outbox, make_record(ref, content=CANARY), digest=ref)
    publish(outbox, referral_id, message_id=message_id)
    notice(outbox, message_id, referral_id, decisions=[delivered(message_id, "csc.x")], body=ref.encode())
    receipt(outbox, message_id, "csc.x")
    assert state(outbox, referral_id) is OutboxState.DONE
    return referral_id


def test_a_finished_referral_loses_its_content_and_keeps_its_evidence(store: GatewayStore) -> None:
    outbox = Outbox(store)
    referral_id = finish(outbox, "R1", "m1")
    assert erase_what_is_over(store, TIMES, NOW + timedelta(days=29)) == 0
    assert outbox.read_content(referral_id) == CANARY
    assert erase_what_is_over(store, TIMES, NOW + timedelta(days=31)) == 1
    for query in (
        "SELECT content FROM referral",
        "SELECT body FROM sealing",
        "SELECT section_keys FROM sealing",
        "SELECT body FROM document",
    ):
        assert [bytes(row[0]) for row in store.query(query)] == [b""]
    described = outbox.describe(referral_id)
    assert described["deliveries"][0]["receipt"]["state"] == "accepted"
    assert erase_what_is_over(store, TIMES, NOW + timedelta(days=31)) == 0


def test_the_same_record_again_has_no_second_effect_after_erasure(store: GatewayStore) -> None:
    outbox = Outbox(store)
    referral_id = finish(outbox, "R1", "m1")
    erase_what_is_over(store, TIMES, NOW + timedelta(days=31))
    assert accept(outbox, make_record("R1"), digest="later") == [referral_id]


def test_what_is_not_done_stays_however_old(store: GatewayStore) -> None:
    outbox = Outbox(store)
    [waiting] = accept(outbox, make_record("R1", content=CANARY))
    [held] = accept(outbox, make_record("R2", content=CANARY), digest="b2")
    outbox.stop(held, OutboxState.HELD, Rejected("x"), NOW)
    erase_what_is_over(store, TIMES, NOW + timedelta(days=4000))
    assert outbox.read_content(waiting) == CANARY
    assert outbox.read_content(held) == CANARY


def test_a_refused_document_is_kept_for_its_time(store: GatewayStore) -> None:
    outbox = Outbox(store)
    fault = RecordFault(None, None, "rejected", "(document)", "is not UTF-8")
    outbox.accept(NewDocument(b"bad", "b", "folder", "", (), (fault,)), received_at=NOW, now=NOW)
    erase_what_is_over(store, TIMES, NOW + timedelta(days=9))
    assert len(store.query("SELECT 1 FROM document")) == 1
    erase_what_is_over(store, TIMES, NOW + timedelta(days=11))
    assert store.query("SELECT 1 FROM document") == []
