"""What the hub tells: a recall counts only as the delivery's sender signed it, and a refusal ends what was asked."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from adapters.gateway.incoming.inbox_recalls import InboxRecalls
from adapters.gateway.outgoing.registers import RegisterDesk
from adapters.gateway.outgoing.releases import ReleaseDesk, ReleaseParts
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


def make_desk(*, anything: Any, recalls: Any = None, releases: Any = None) -> RegisterDesk:
    absent: Any = None
    return RegisterDesk(
        agency="csc.marchshire",
        statements=anything,
        releases=releases,
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


def test_a_refusal_ends_what_was_asked_of_that_delivery_and_of_no_other(tmp_path: Path) -> None:
    store = make_receiving_half(tmp_path).store
    absent: Any = None
    releases = ReleaseDesk(ReleaseParts("police.marchshire", store, absent, absent), automatic=False)
    other = "delivery-0000000000002"
    with store.transaction() as db:
        for digest, delivery_id, state in (
            ("a", DELIVERY, "waiting"),
            ("b", DELIVERY, "given"),
            ("c", other, "waiting"),
        ):
            db.execute(
                "INSERT INTO release_request (digest, message_id, delivery_id, recipient, cause, asked_at, state, body)"
                " VALUES (?, ?, ?, 'csc.marchshire', 'release', '2026-11-20T12:00:00Z', ?, x'00')",
                (digest, MESSAGE, delivery_id, state),
            )

    def list_rows() -> list[Any]:
        return list(store.query("SELECT digest, state, decided_by, code FROM release_request"))

    desk = make_desk(anything=SimpleNamespace(record_told=lambda *_: None), releases=releases)
    refused = {
        "outcome": "refused",
        "message_id": MESSAGE,
        "delivery_id": DELIVERY,
        "reason_code": "source_at_risk",
        "decided_by": "ann.lee",
    }
    desk.hear(canonical_bytes(refused), "refused", proven=False)
    assert {row["digest"]: row["state"] for row in list_rows()} == {
        "a": "waiting",
        "b": "given",
        "c": "waiting",
    }
    desk.hear(canonical_bytes(refused), "refused", proven=True)
    found = {row["digest"]: row for row in list_rows()}
    assert {digest: row["state"] for digest, row in found.items()} == {"a": "refused", "b": "given", "c": "waiting"}
    assert (found["a"]["decided_by"], found["a"]["code"]) == ("ann.lee", "source_at_risk")


def test_a_recall_that_its_sender_did_not_sign_does_not_take_the_place_of_the_one_that_it_did(tmp_path: Path) -> None:
    signer, _ = SigningKeys.generate(KeyUse.SIGNING)
    stranger, _ = SigningKeys.generate(KeyUse.SIGNING)
    recalls = InboxRecalls(make_receiving_half(tmp_path).store)
    directory = SimpleNamespace(signing_keys={POLICE: (signer.public,)})
    anything: Any = SimpleNamespace(
        current=lambda _now: directory,
        find_entry=lambda _id: SimpleNamespace(sender=POLICE, message_id=MESSAGE),
        record_told=lambda *_: None,
    )
    desk = make_desk(recalls=recalls, anything=anything)
    other = "0193c0de-0000-7000-8000-000000000002"
    for bogus in (tell(stranger), tell(signer, other), canonical_bytes({"code": "RECALLED", "delivery_id": DELIVERY})):
        assert desk.hear(bogus, "told", proven=True)
        assert recalls.find_recall(DELIVERY) is None
    real = tell(signer)
    desk.hear(real, "told", proven=True)
    assert json.loads(recalls.find_recall(DELIVERY) or "null") == json.loads(real)["statement"]
