"""One referral, one case: a hub that says "rejected" of what it handed over gets the sender to seal again, and that is not handed over again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.gateway.incoming.inbox_config import FolderConfig, InboxConfig
from adapters.gateway.incoming.inbox_model import InboxFilter
from adapters.gateway.incoming.receipts import ReceiptRequest
from adapters.gateway.incoming.sealed_twice import SealedTwice
from schemas.codes import ReceiptState
from schemas.envelope import parse_envelope, seal, verify_envelope
from schemas.keys import public_part
from schemas.objects import peek_object
from tests.support.deliveries import decide, log_and_deliver
from tests.support.envelopes import MESSAGE_ID, NOW, SeededBytes, build_sample, seeded_encryption_jwk
from tests.support.receiving import (
    DELIVERY,
    RECIPIENT,
    FakeKeystore,
    ReceivingHalf,
    make_delivery,
    make_incoming,
    make_receiving_half,
)

SECOND_MESSAGE = "019aaf00-0000-7000-8000-0000000000f2"
SECOND_DELIVERY = "delivery-00000000csc02"
SECTIONS = ("section-00000000000001", "section-00000000000003")


@pytest.fixture
def half(tmp_path: Path) -> ReceivingHalf:
    return make_receiving_half(tmp_path, config=InboxConfig(folder=FolderConfig(out_folder=tmp_path / "out")))


def seal_again(*, purpose: str = "safeguard_child", contact: str | None = None, **facts: Any) -> bytes:
    """Return what a second sealing brings: other message and delivery ids, the first named as predecessor, all well signed and logged."""
    sample = build_sample(**({"message_id": SECOND_MESSAGE, "reseals": MESSAGE_ID} | facts))
    draft = sample.draft
    header = draft.header.model_copy(
        update={
            "deliveries": tuple(
                d.model_copy(update={"delivery_id": SECOND_DELIVERY, "purpose": purpose, "contact": contact})
                if d.delivery_id == DELIVERY
                else d
                for d in draft.header.deliveries
            )
        }
    )
    grants = {SECOND_DELIVERY if d == DELIVERY else d: granted for d, granted in draft.grants.items()}
    keys = {SECOND_DELIVERY if d == DELIVERY else d: public_part(jwk) for d, jwk in sample.encryption.items()}
    sealed = seal(replace(draft, header=header, grants=grants), sample.signer, keys, rng=SeededBytes("second"))
    verified = verify_envelope(parse_envelope(sealed.body), (sample.signer.public,), now=NOW)
    return log_and_deliver(verified, decide(verified, SECOND_DELIVERY, SECTIONS))


def list_deliveries(half: ReceivingHalf) -> set[str]:
    return {entry.delivery_id for entry in half.inbox.list_entries(InboxFilter(contact="lead"), 10)}


async def test_a_second_sealing_of_what_was_handed_over_is_kept_refused_and_alarmed(half: ReceivingHalf) -> None:
    await half.reader.take_in(make_incoming(make_delivery()))
    half.inbox.record_receipt(DELIVERY, None, ReceiptRequest(ReceiptState.OPENED))
    for receipt in half.inbox_store.receipts.list_chain(DELIVERY):
        half.inbox_store.receipts.record_published(receipt.receipt_id, NOW)
    second = seal_again()
    for _ in range(2):  # and however often it comes
        await half.reader.take_in(make_incoming(second))
    assert list_deliveries(half) == {DELIVERY}
    assert half.outputs.list_outputs(SECOND_DELIVERY) == {}
    (kept,) = half.quarantine.list_messages()
    assert (kept.code, kept.field, kept.arrivals) == ("sealed-twice", "manifest.message_id", 2)
    assert half.quarantine.read_body(kept.digest) == second
    (refusal,) = half.inbox_store.receipts.list_chain(SECOND_DELIVERY)
    assert (refusal.state, refusal.reason_code) == (ReceiptState.REFUSED, "duplicate")
    assert peek_object(refusal.body)["message_id"] == SECOND_MESSAGE
    chain = half.inbox_store.receipts.list_chain(DELIVERY)
    assert [r.state for r in chain] == [ReceiptState.ACCEPTED, ReceiptState.OPENED], "the first chain is as it was"
    due = {r.delivery_id for r in half.inbox_store.receipts.list_to_publish(NOW)}
    assert due == {DELIVERY, SECOND_DELIVERY}, "the sender hears of both"


async def test_a_person_cannot_bring_it_in_from_the_quarantine(half: ReceivingHalf) -> None:
    await half.reader.take_in(make_incoming(make_delivery()))
    await half.reader.take_in(make_incoming(seal_again()))
    (kept,) = half.quarantine.list_messages()
    with pytest.raises(SealedTwice):
        await half.reader.try_again(kept.digest)
    assert list_deliveries(half) == {DELIVERY}


async def test_the_first_sealing_after_the_second_is_the_duplicate(half: ReceivingHalf) -> None:
    await half.reader.take_in(make_incoming(seal_again()))
    await half.reader.take_in(make_incoming(make_delivery()))
    assert list_deliveries(half) == {SECOND_DELIVERY}


async def test_a_reseal_of_what_never_came_arrives(half: ReceivingHalf) -> None:
    await half.reader.take_in(make_incoming(seal_again()))
    assert half.inbox.read(SECOND_DELIVERY, None).entry.message_id == SECOND_MESSAGE
    assert half.quarantine.list_messages() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"revision": 2},
        {"referral_id": "referral-0000000000002"},
        {"purpose": "promote_welfare"},
        {"contact": "lead"},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_another_revision_referral_purpose_or_contact_arrives(
    half: ReceivingHalf, changes: dict[str, Any]
) -> None:
    await half.reader.take_in(make_incoming(make_delivery()))
    await half.reader.take_in(make_incoming(seal_again(**changes)))
    assert list_deliveries(half) == {DELIVERY, SECOND_DELIVERY}


async def test_what_could_not_be_opened_was_not_handed_over(tmp_path: Path) -> None:
    wrong = FakeKeystore(encryption={seeded_encryption_jwk(RECIPIENT)["kid"]: seeded_encryption_jwk("wrong")})
    half = make_receiving_half(tmp_path, keystore=wrong)
    await half.reader.take_in(make_incoming(make_delivery()))
    wrong.encryption = FakeKeystore().encryption
    await half.reader.take_in(make_incoming(seal_again()))
    assert list_deliveries(half) == {SECOND_DELIVERY}
