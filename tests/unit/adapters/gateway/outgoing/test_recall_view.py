"""What a sender sees of its recall: each recipient's own signed word, and nobody else's."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from adapters.gateway.outgoing.recall_view import add_recalls
from schemas.canonical import canonical_bytes, parse_object
from schemas.keys import KeyUse, SigningKeys
from schemas.objects import sign_object
from schemas.objects.control import DeletionConfirmedControl
from schemas.objects.correspondence import Recall

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MESSAGE = "0193c0de-0000-7000-8000-000000000001"
CSC, SCHOOL = "csc.marchshire", "school.st-hilda"
DELIVERIES = {CSC: "delivery-0000000000csc", SCHOOL: "delivery-000000school1"}
SIGNERS = {agency: SigningKeys.generate(KeyUse.SIGNING)[0] for agency in DELIVERIES}


def word(agency: str, exception: str | None = None, *, by: str | None = None, about: str | None = None) -> bytes:
    done = DeletionConfirmedControl(
        agency=agency,
        recall_id="recall-000000000000001",
        message_id=MESSAGE,
        delivery_id=about or DELIVERIES[agency],
        deleted_at=NOW,
        exceptions_code=exception,
    )
    statement = parse_object(sign_object("control", done, SIGNERS[by or agency]), max_bytes=1 << 20)
    return canonical_bytes({"code": "DELETION_CONFIRMED", "statement": statement})


def look(*words: bytes, known: bool = True, recalled: bool = True) -> dict[str, dict[str, Any]]:
    recall = Recall(
        recall_id="recall-000000000000001",
        sender="police.marchshire",
        message_id=MESSAGE,
        referral_id="referral-0000000000001",
        manifest_digest="m" * 43,
        reason_code="wrong_child",
        issued_at=NOW,
        delete_by=NOW + timedelta(days=1),
    )
    said = SimpleNamespace(
        body=sign_object("recall", recall, SIGNERS[CSC])
    )  # whose key it is does not matter: it is our own
    book: Any = SimpleNamespace(find_last=lambda *_: said if recalled else None, list_told_about=lambda *_: list(words))
    keys = {agency: signer.public for agency, signer in SIGNERS.items()}
    directory: Any = SimpleNamespace(signing_keys={a: (public,) for a, public in keys.items()}) if known else None
    deliveries = [
        {"delivery_id": delivery, "recipient": agency, "outcome": "delivered"}
        for agency, delivery in DELIVERIES.items()
    ]
    deliveries.append({"delivery_id": "delivery-000000held001", "recipient": "gp.millbrook", "outcome": "held"})
    view = add_recalls({"message_id": MESSAGE, "deliveries": deliveries}, book, directory)
    return {d["recipient"]: d for d in view["deliveries"]}


def test_each_delivery_shows_whether_it_was_recalled_deleted_or_kept() -> None:
    found = look(word(CSC, "legal_hold"), word(CSC), word(SCHOOL, "legal_hold"))
    at = "2026-11-20T12:00:00Z"
    assert [(d["recalled"], d["deleted"], d["kept_for"]) for d in found.values()] == [
        (at, at, None),
        (at, None, "legal_hold"),
        (None, None, None),
    ]


def test_nobody_confirms_for_another_and_nothing_is_shown_of_what_was_not_recalled() -> None:
    forged = look(word(CSC, by=SCHOOL), word(SCHOOL, about=DELIVERIES[CSC]), b'{"statement": null}', b"{}")
    assert [d["deleted"] for d in forged.values()] == [None, None, None]
    assert look(word(CSC), known=False)[CSC]["deleted"] is None
    never = look(word(CSC), recalled=False)[CSC]
    assert (never["recalled"], never["deleted"]) == (None, None)
