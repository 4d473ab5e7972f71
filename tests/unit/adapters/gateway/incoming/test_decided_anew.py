"""After a loss of the log the hub decides again. The new decision may reach a recipient before its witness has entered the new epoch."""

from dataclasses import replace
from pathlib import Path

import pytest

from adapters.gateway.identity.directory_keeper import VerifiedDirectory
from adapters.gateway.incoming.receipts import ReceiptRequest
from schemas.canonical import encode_base64url
from schemas.checkpoint import write_verifier
from schemas.codes import ReceiptState
from schemas.directory import EarlierEpoch, HubKeys
from schemas.keys import public_part
from tests.support.deliveries import ORIGIN, decide, log_and_deliver, seeded_log_jwk
from tests.support.envelopes import NOW
from tests.support.receiving import (
    DELIVERY,
    make_incoming,
    make_receiving_half,
    make_verified_directory,
    seal_sample,
)

SECOND = "log.example.org/second"
SECTIONS = ("section-00000000000001", "section-00000000000003")
LONG_AGO = NOW.replace(year=NOW.year - 1)


def open_second_epoch(kept_size: int) -> VerifiedDirectory:
    """Return the directory after a loss that left ``kept_size`` entries."""
    known = make_verified_directory()
    ended = EarlierEpoch(
        epoch=1,
        log_origin=ORIGIN,
        log_verifier=known.directory.hub.log_verifier,
        kept_size=kept_size,
        kept_root=encode_base64url(bytes(32)),
    )
    hub = HubKeys(
        log_origin=SECOND,
        log_verifier=write_verifier(SECOND, public_part(seeded_log_jwk("second"))),
        epoch=2,
        starting_checkpoint="",
        earlier=(ended,),
    )
    return replace(known, directory=known.directory.model_copy(update={"hub": hub, "version": 2}))


@pytest.mark.parametrize("kept_size", [0, 100])
async def test_a_new_decision_counts_though_the_witness_is_late(tmp_path: Path, kept_size: int) -> None:
    half = make_receiving_half(tmp_path)
    verified = seal_sample()
    await half.reader.take_in(make_incoming(log_and_deliver(verified, decide(verified, DELIVERY, SECTIONS))))
    half.inbox.record_receipt(DELIVERY, None, ReceiptRequest(ReceiptState.OPENED))
    before = half.inbox_store.find_leaf(DELIVERY)
    signed = [receipt.digest for receipt in half.inbox_store.receipts.list_chain(DELIVERY)]

    half.keeper.known = open_second_epoch(kept_size)
    anew = decide(verified, DELIVERY, SECTIONS, inputs_digest="j" * 43)
    await half.reader.take_in(make_incoming(log_and_deliver(verified, anew, log_name="second", origin=SECOND)))

    chain = half.inbox_store.receipts.list_chain(DELIVERY)
    assert [receipt.state.value for receipt in chain] == ["accepted", "opened"]
    is_lost = kept_size == 0
    assert (half.inbox_store.find_leaf(DELIVERY) != before) is is_lost, "what was kept stays as it is"
    assert set(signed).isdisjoint(receipt.digest for receipt in chain) is is_lost
    due = {receipt.digest for receipt in half.inbox_store.receipts.list_to_publish(LONG_AGO)}
    assert due == {receipt.digest for receipt in chain}, "every receipt is on its way to the log"
