"""The outbox: one effect per record, bytes stored before they leave and sent unchanged, and an alarm when nothing comes back."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.gateway.outgoing.outbox import Outbox
from adapters.gateway.outgoing.outbox_model import (
    EarlierMessage,
    NewDelivery,
    NewDocument,
    NewReferral,
    NewSealing,
    OutboxState,
    RecordFault,
)
from adapters.gateway.outgoing.tracking import MAX_RESEALS, AlarmTimes
from adapters.gateway.store import GatewayStore
from schemas.errors import Conflict, DependencyUnavailable, NotFound, Rejected

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TIMES = AlarmTimes(5 * MINUTE, MINUTE, 240 * MINUTE, 30 * MINUTE)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(GatewayStore(tmp_path / "gateway.sqlite", bytes(32)))


def make_record(ref: str = "R1", digest: str = "d1", **changes: Any) -> NewReferral:
    values: dict[str, Any] = {"number": 1, "kind": "PPN", "urgent": False, "relates_to": None, "content": b"{}"}
    return NewReferral(native_ref=ref, native_digest=digest, **(values | changes))


def make_document(*records: NewReferral, key: str | None = None, digest: str = "b1") -> NewDocument:
    return NewDocument(b"body", digest, "rest", "corvid", records, (), key)


def accept(outbox: Outbox, *records: NewReferral, at: datetime = NOW, **options: Any) -> list[str]:
    return outbox.accept(make_document(*records, **options), received_at=at, now=at).referral_ids


def make_sealing(
    message_id: str = "m1",
    predecessor: str | None = None,
    recipients: tuple[str, ...] = ("csc.x",),
    outcome: str = "delivered",
) -> NewSealing:
    deliveries = [
        NewDelivery(f"{message_id}-{r}", r, "csc", "safeguard_child", {"row": "D5", "outcome": outcome})
        for r in recipients
    ]
    keys = {"s1": {"k": "key", "ciphertext_sha256": "c"}}
    return NewSealing(
        message_id, predecessor, b"sealed " + message_id.encode(), "digest-" + message_id, keys, deliveries
    )


def publish(outbox: Outbox, referral_id: str, **options: Any) -> str:
    outbox.record_plan(referral_id, {"plan": 1}, NOW)
    sealing = make_sealing(**options)
    outbox.record_sealing(referral_id, sealing, NOW)
    outbox.record_published(sealing.message_id, NOW)
    return sealing.message_id


def notice(outbox: Outbox, message_id: str, referral_id: str, outcome: str = "accepted", **changes: Any) -> bool:
    values: dict[str, Any] = {"decisions": [], "retryable": False, "proof_verified": True, "body": b"n", "now": NOW}
    return outbox.record_notice(message_id=message_id, referral_id=referral_id, outcome=outcome, **(values | changes))


def receipt(outbox: Outbox, message_id: str, recipient: str, state: str = "accepted", **changes: Any) -> bool:
    values: dict[str, Any] = {"reason_code": None, "receipt_digest": "r", "body": state.encode(), "at": NOW, "now": NOW}
    return outbox.record_receipt(
        message_id=message_id, delivery_id=f"{message_id}-{recipient}", state=state, **(values | changes)
    )


def delivered(message_id: str, recipient: str, outcome: str = "delivered") -> dict[str, Any]:
    return {"delivery_id": f"{message_id}-{recipient}", "outcome": outcome}


def state(outbox: Outbox, referral_id: str) -> OutboxState:
    return outbox.find_referral(referral_id).state


def test_the_same_record_keeps_its_referral_id(outbox: Outbox) -> None:
    [first] = accept(outbox, make_record())
    [again] = accept(outbox, make_record(number=7), digest="b2")
    [changed] = accept(outbox, make_record(digest="d2"), digest="b3")
    assert first == again
    assert changed != first
    assert len(outbox.list_referrals()) == 2


def test_an_idempotency_key_gives_the_same_answer_and_refuses_another_document(outbox: Outbox) -> None:
    first = outbox.accept(make_document(make_record(), key="k"), received_at=NOW, now=NOW)
    again = outbox.accept(make_document(make_record(), key="k"), received_at=NOW, now=NOW)
    assert again.repeated
    assert again.answer == first.answer
    with pytest.raises(Conflict):
        accept(outbox, make_record("R2"), key="k", digest="other")
    assert len(outbox.list_referrals()) == 1


def test_good_records_are_taken_in_beside_bad_ones(outbox: Outbox) -> None:
    fault = RecordFault(2, "R2", "rejected", "NHS_NO", "fails its check digit")
    document = NewDocument(b"body", "b1", "folder", "wayfarer", (make_record(),), (fault,), None)
    answer = outbox.accept(document, received_at=NOW, now=NOW).answer
    assert [r["number"] for r in answer["referrals"]] == [1]
    assert answer["errors"][0]["field"] == "NHS_NO"


def test_urgent_ones_go_first_then_the_longest_waiting(outbox: Outbox) -> None:
    [early] = accept(outbox, make_record("R1"))
    [late] = accept(outbox, make_record("R2"), at=NOW + MINUTE, digest="b2")
    [urgent] = accept(outbox, make_record("R3", urgent=True), at=NOW + 2 * MINUTE, digest="b3")
    order = []
    for _ in range(3):
        item = outbox.next_to_send(NOW + 3 * MINUTE)
        assert item is not None
        order.append(item.referral_id)
        outbox.postpone(item.referral_id, NOW + 60 * MINUTE, DependencyUnavailable())
    assert order == [urgent, early, late]
    assert outbox.next_to_send(NOW + 3 * MINUTE) is None


def test_sealed_bytes_are_stored_once_and_never_change(outbox: Outbox) -> None:
    [referral_id] = accept(outbox, make_record())
    publish(outbox, referral_id)
    outbox.record_sealing(referral_id, NewSealing("m2", None, b"other", "x", {}, ()), NOW)
    assert outbox.read_sealed("m1").body == b"sealed m1"
    with pytest.raises(NotFound):
        outbox.read_sealed("m2")
    assert state(outbox, referral_id) is OutboxState.PUBLISHED


def test_accepted_counts_with_a_proof_only(outbox: Outbox) -> None:
    [referral_id] = accept(outbox, make_record())
    publish(outbox, referral_id)
    notice(outbox, "m1", referral_id, proof_verified=False)
    assert state(outbox, referral_id) is OutboxState.PUBLISHED
    assert outbox.describe(referral_id)["alarm"] == "accepted-without-proof"
    notice(outbox, "m1", referral_id, decisions=[delivered("m1", "csc.x")])
    assert state(outbox, referral_id) is OutboxState.ACCEPTED
    assert outbox.describe(referral_id)["alarm"] is None


def test_a_proof_that_comes_before_the_confirm_is_not_undone_by_it(outbox: Outbox) -> None:
    [referral_id] = accept(outbox, make_record())
    outbox.record_plan(referral_id, {}, NOW)
    outbox.record_sealing(referral_id, make_sealing(), NOW)
    notice(outbox, "m1", referral_id, decisions=[delivered("m1", "csc.x")])
    outbox.record_published("m1", NOW)
    assert state(outbox, referral_id) is OutboxState.ACCEPTED
    assert outbox.next_to_send(NOW) is None


def test_it_is_done_when_every_delivery_has_a_receipt_or_a_final_no(outbox: Outbox) -> None:
    [referral_id] = accept(outbox, make_record())
    publish(outbox, referral_id, recipients=("csc.x", "gp.y", "idva.z"))
    decisions = [delivered("m1", "csc.x"), delivered("m1", "gp.y"), delivered("m1", "idva.z", "withheld")]
    notice(outbox, "m1", referral_id, decisions=decisions)
    receipt(outbox, "m1", "csc.x")
    assert state(outbox, referral_id) is OutboxState.RECEIPTED
    receipt(outbox, "m1", "gp.y", "opened")
    assert state(outbox, referral_id) is OutboxState.DONE


def test_a_delivery_that_policy_holds_keeps_it_open_until_somebody_decides(outbox: Outbox) -> None:
    [referral_id] = accept(outbox, make_record())
    publish(outbox, referral_id)
    notice(outbox, "m1", referral_id, decisions=[delivered("m1", "csc.x", "held")])
    assert state(outbox, referral_id) is OutboxState.ACCEPTED
    notice(outbox, "m1", referral_id, "updated", decisions=[delivered("m1", "csc.x", "withheld")], body=b"n2")
    assert state(outbox, referral_id) is OutboxState.DONE


def test_receipts_move_forward_only_and_a_refusal_alarms(outbox: Outbox) -> None:
    [referral_id] = accept(outbox, make_record())
    publish(outbox, referral_id)
    notice(outbox, "m1", referral_id, decisions=[delivered("m1", "csc.x")])
    receipt(outbox, "m1", "csc.x", "opened")
    receipt(outbox, "m1", "csc.x", "accepted")
    assert outbox.describe(referral_id)["deliveries"][0]["receipt"]["state"] == "opened"
    receipt(outbox, "m1", "csc.x", "refused", reason_code="wrong_child")
    described = outbox.describe(referral_id)
    assert described["alarm"] == "recipient-refused:wrong_child"
    assert described["deliveries"][0]["receipt"]["state"] == "refused"


def test_a_delivery_that_was_to_arrive_and_did_not_alarms_and_goes_on_alarming(outbox: Outbox) -> None:
    """The recipient was revoked between plan and intake: the referral ends ``done``, and its sender must find another way."""
    [referral_id] = accept(outbox, make_record())
    publish(outbox, referral_id)
    before = outbox.describe(referral_id)["deliveries"]
    stopped = [delivered("m1", d["recipient"], "withheld") for d in before]
    notice(outbox, "m1", referral_id, decisions=stopped)
    assert state(outbox, referral_id) is OutboxState.DONE
    alarm = outbox.describe(referral_id)["alarm"]
    assert alarm in {f"not-delivered:{d['recipient']}" for d in before}
    notice(outbox, "m1", referral_id, "duplicate", decisions=stopped)
    assert outbox.describe(referral_id)["alarm"] == alarm
    assert [r["alarm"] for r in outbox.list_alarms()] == [alarm]


def test_another_alarm_never_takes_the_place_of_who_did_not_get_it(outbox: Outbox) -> None:
    """A clock's breach comes and goes; each of two recipients who do not get the referral is named before, meanwhile and after."""
    [referral_id] = accept(outbox, make_record())
    publish(outbox, referral_id, recipients=("csc.x", "gp.y", "idva.z"))
    outcomes = {"csc.x": "delivered", "gp.y": "withheld", "idva.z": "rejected"}
    clock = {"clock": "la_acknowledgement", "starts_at": "2026-11-23T09:00:00+00:00", "assumption": "a"}
    started = [clock | {"due_at": "2026-11-24T09:00:00+00:00", "recipients": ["csc.x"]}]
    decisions = [delivered("m1", name, outcome) for name, outcome in outcomes.items()]
    notice(outbox, "m1", referral_id, decisions=decisions, clocks=started)
    missed = ["not-delivered:gp.y", "not-delivered:idva.z"]
    breach = {"clock": "la_acknowledgement", "recipient": "csc.x", "at": "2026-11-24T09:00:00+00:00"}
    notice(outbox, "m1", referral_id, "clock", clocks=[breach | {"state": "breached"}], body=b"n2")
    described = outbox.describe(referral_id)
    assert [a["code"] for a in described["alarms"]] == [*missed, "clock-breached:la_acknowledgement"]
    assert described["alarm"] == missed[0]
    assert sorted(r["alarm"] for r in outbox.list_alarms()) == ["clock-breached:la_acknowledgement", *missed]
    assert outbox.list_referrals()[0].alarm == missed[0]
    late = breach | {"state": "met_late", "at": "2026-11-24T10:00:00+00:00"}
    notice(outbox, "m1", referral_id, "clock", clocks=[late], body=b"n3")
    receipt(outbox, "m1", "csc.x")
    assert [a["code"] for a in outbox.describe(referral_id)["alarms"]] == missed
    notice(outbox, "m1", referral_id, "updated", decisions=[delivered("m1", "gp.y")], body=b"n4")
    assert [a["code"] for a in outbox.describe(referral_id)["alarms"]] == missed[1:]


def test_a_delivery_that_the_plan_withheld_does_not_alarm(outbox: Outbox) -> None:
    [referral_id] = accept(outbox, make_record())
    publish(outbox, referral_id, outcome="held")
    kept = [delivered("m1", d["recipient"], "held") for d in outbox.describe(referral_id)["deliveries"]]
    notice(outbox, "m1", referral_id, decisions=kept)
    notice(outbox, "m1", referral_id, "refused", decisions=[d | {"outcome": "withheld"} for d in kept])
    assert outbox.describe(referral_id)["alarm"] is None


def test_what_is_not_ours_changes_nothing(outbox: Outbox) -> None:
    [referral_id] = accept(outbox, make_record())
    publish(outbox, referral_id)
    assert not notice(outbox, "m9", referral_id)
    assert not notice(outbox, "m1", "another")
    assert not receipt(outbox, "m1", "nobody")
    assert outbox.knows_delivery("m1", "m1-csc.x") == "csc.x"
    assert outbox.knows_delivery("m1", "m1-nobody") is None
    assert outbox.manifest_digest("m1") == "digest-m1"


def test_a_retryable_rejection_seals_anew_naming_its_predecessor(outbox: Outbox) -> None:
    [referral_id] = accept(outbox, make_record())
    publish(outbox, referral_id)
    notice(outbox, "m1", referral_id, "rejected", retryable=True)
    item = outbox.next_to_send(NOW)
    assert item is not None
    assert (item.state, item.message_id, item.reseals) == (OutboxState.RECEIVED, "m1", 1)
    publish(outbox, referral_id, message_id="m2", predecessor="m1")
    notice(outbox, "m1", referral_id, "rejected", retryable=True, body=b"again")  # late news of the old one
    assert state(outbox, referral_id) is OutboxState.PUBLISHED
    assert outbox.read_sealed("m1").body == b"sealed m1"


def test_resealing_ends(outbox: Outbox) -> None:
    [referral_id] = accept(outbox, make_record())
    for number in range(MAX_RESEALS + 1):
        publish(outbox, referral_id, message_id=f"m{number}")
        notice(outbox, f"m{number}", referral_id, "rejected", retryable=True, body=str(number).encode())
    assert state(outbox, referral_id) is OutboxState.FAILED


def test_a_final_rejection_fails_with_the_hubs_reason_and_an_alarm(outbox: Outbox) -> None:
    [referral_id] = accept(outbox, make_record())
    publish(outbox, referral_id)
    notice(outbox, "m1", referral_id, "rejected", error={"code": "signature-invalid", "detail": "x", "field": None})
    described = outbox.describe(referral_id)
    assert described["state"] == "failed"
    assert described["reason"]["code"] == "signature-invalid"
    assert described["alarm"]
    assert outbox.release(referral_id, NOW) is OutboxState.RECEIVED


def test_release_sends_the_same_bytes_when_the_hub_never_answered(outbox: Outbox) -> None:
    [referral_id] = accept(outbox, make_record())
    outbox.record_plan(referral_id, {}, NOW)
    outbox.record_sealing(referral_id, make_sealing(), NOW)
    outbox.stop(referral_id, OutboxState.HELD, Rejected("x"), NOW)
    assert outbox.release(referral_id, NOW) is OutboxState.SEALED
    assert outbox.find_referral(referral_id).message_id == "m1"
    with pytest.raises(Conflict):
        outbox.release(referral_id, NOW)


def test_our_own_clock_raises_the_alarm_sooner_for_urgent_ones(outbox: Outbox) -> None:
    [routine] = accept(outbox, make_record("R1"))
    [urgent] = accept(outbox, make_record("R2", urgent=True), digest="b2")
    tracking = outbox.tracking
    assert tracking.raise_due_alarms(TIMES, NOW + MINUTE) == []
    assert tracking.raise_due_alarms(TIMES, NOW + 2 * MINUTE) == [urgent]
    assert tracking.raise_due_alarms(TIMES, NOW + 6 * MINUTE) == [routine]
    assert tracking.raise_due_alarms(TIMES, NOW + 7 * MINUTE) == []
    assert outbox.describe(urgent)["alarm"] == "not-accepted"


def test_silence_of_a_recipient_raises_the_alarm(outbox: Outbox) -> None:
    [referral_id] = accept(outbox, make_record())
    publish(outbox, referral_id)
    notice(outbox, "m1", referral_id, decisions=[delivered("m1", "csc.x")])
    assert outbox.tracking.raise_due_alarms(TIMES, NOW + 239 * MINUTE) == []
    assert outbox.tracking.raise_due_alarms(TIMES, NOW + 241 * MINUTE) == [referral_id]


def test_an_unanswered_message_is_found_again(outbox: Outbox) -> None:
    [referral_id] = accept(outbox, make_record(urgent=True))
    publish(outbox, referral_id)
    assert outbox.unanswered(NOW) == []
    [message] = outbox.unanswered(NOW + MINUTE)
    assert (message.message_id, message.publications, message.urgent) == ("m1", 1, True)
    notice(outbox, "m1", referral_id, decisions=[delivered("m1", "csc.x")])
    assert outbox.unanswered(NOW + MINUTE) == []


def test_a_correction_joins_the_conversation_of_what_it_corrects(outbox: Outbox) -> None:
    [first] = accept(outbox, make_record("R1"))
    publish(outbox, first)
    [correction] = accept(outbox, make_record("R2", relates_to="R1"), digest="b2")
    assert outbox.find_referral(correction).conversation == outbox.find_referral(first).conversation
    earlier = outbox.find_earlier("R1", other_than=correction)
    assert earlier == EarlierMessage("m1", outbox.find_referral(first).conversation)


def test_a_correction_that_comes_at_once_waits_for_what_it_corrects(outbox: Outbox) -> None:
    [first] = accept(outbox, make_record("R1"))
    [correction] = accept(outbox, make_record("R2", relates_to="R1"), digest="b2")
    earlier = outbox.find_earlier("R1", other_than=correction)
    assert earlier is not None
    assert earlier.is_being_prepared
    assert outbox.find_referral(correction).conversation == outbox.find_referral(first).conversation
    outbox.stop(first, OutboxState.FAILED, Rejected("x"), NOW)
    earlier = outbox.find_earlier("R1", other_than=correction)
    assert earlier is not None
    assert not earlier.is_being_prepared


def test_what_somebody_works_on_is_passed_over(outbox: Outbox) -> None:
    [first] = accept(outbox, make_record("R1"))
    [second] = accept(outbox, make_record("R2"), digest="b2")
    item = outbox.next_to_send(NOW, other_than={first})
    assert item is not None
    assert item.referral_id == second
    assert outbox.next_to_send(NOW, other_than={first, second}) is None


@pytest.mark.parametrize(("outcome", "retryable"), [("rejected", True), ("rejected", False), ("quarantined", False)])
def test_a_rejection_without_its_proof_changes_nothing_and_raises_the_alarm(
    outbox: Outbox, outcome: str, retryable: bool
) -> None:
    """A hub that lies could else have the same referral sealed twice, or given up, and leave no trace."""
    [referral_id] = accept(outbox, make_record())
    publish(outbox, referral_id)
    notice(outbox, "m1", referral_id, outcome, retryable=retryable, proof_verified=False)
    assert state(outbox, referral_id) is OutboxState.PUBLISHED
    assert outbox.describe(referral_id)["alarm"] == "notice-without-proof"
