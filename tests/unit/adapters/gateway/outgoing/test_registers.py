"""What the hub tells of recalls: only one that the delivery's sender signed is kept, so that another cannot take its place."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from adapters.gateway.incoming.inbox_recalls import InboxRecalls
from adapters.gateway.outgoing.registers import RegisterDesk
from schemas.canonical import canonical_bytes, parse_object
from schemas.keys import KeyUse, SigningKeys
from schemas.objects import sign_object
from schemas.objects.correspondence import Recall
from tests.support.receiving import make_receiving_half

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
POLICE, DELIVERY = "police.marchshire", "delivery-0000000000001"
MESSAGE = "0193c0de-0000-7000-8000-000000000001"


def tell(signer: SigningKeys, message_id: str = MESSAGE) -> bytes:
    recall = Recall(
        recall_id="recall-000000000000001",
        sender=POLICE,
        message_id=message_id,
        referral_id="referral-0000000000001",
        manifest_digest="m" * 43,
        reason_code="sent_in_error",
        issued_at=NOW,
        delete_by=NOW + timedelta(days=1),
    )
    statement = parse_object(sign_object("recall", recall, signer), max_bytes=1 << 20)
    told = {"code": "RECALLED", "delivery_id": DELIVERY, "message_id": MESSAGE, "statement": statement}
    return canonical_bytes(told)


def test_a_recall_that_its_sender_did_not_sign_does_not_take_the_place_of_the_one_that_it_did(tmp_path: Path) -> None:
    signer, _ = SigningKeys.generate(KeyUse.SIGNING)
    stranger, _ = SigningKeys.generate(KeyUse.SIGNING)
    recalls = InboxRecalls(make_receiving_half(tmp_path).store)
    directory = SimpleNamespace(signing_keys={POLICE: (signer.public,)})
    absent: Any = None
    anything: Any = SimpleNamespace(
        current=lambda _now: directory,
        find_entry=lambda _id: SimpleNamespace(sender=POLICE, message_id=MESSAGE),
        record_told=lambda *_: None,
    )
    desk = RegisterDesk(
        agency="csc.marchshire",
        statements=anything,
        releases=absent,
        tickets=absent,
        outbox=absent,
        inbox=anything,
        recalls=recalls,
        requests=absent,
        keeper=anything,
        clock=lambda: NOW,
        real_clock=lambda: NOW,
        erase_files=lambda _: 0,
    )
    other = "0193c0de-0000-7000-8000-000000000002"
    for bogus in (tell(stranger), tell(signer, other), canonical_bytes({"code": "RECALLED", "delivery_id": DELIVERY})):
        assert desk.hear(bogus, "told", proven=True)
        assert recalls.find_recall(DELIVERY) is None
    real = tell(signer)
    desk.hear(real, "told", proven=True)
    assert json.loads(recalls.find_recall(DELIVERY) or "null") == json.loads(real)["statement"]
