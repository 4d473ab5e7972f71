"""The inbox: one effect per delivery, encrypted at rest, each contact's own, corrections beside what they correct."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from adapters.gateway.incoming.inbox_config import ContactConfig, FolderConfig, InboxConfig
from adapters.gateway.incoming.inbox_model import InboxFilter, Taken
from adapters.gateway.incoming.inbox_outputs import OutputQueue
from adapters.gateway.incoming.inbox_recalls import InboxRecalls
from adapters.gateway.incoming.received import ReceivedReferral
from schemas.codes import ReceiptState
from schemas.errors import Conflict, DependencyUnavailable, NotFound
from tests.support.envelopes import NOW
from tests.support.received import make_received, make_section
from tests.support.receiving import ReceivingHalf, make_receiving_half

DIGEST = "m" * 43
LEAF = "l" * 43
MESSAGES = [f"019aaf00-0000-7000-8000-00000000000{n}" for n in range(1, 6)]


def make_bound(number: int = 1, **changes: object) -> ReceivedReferral:
    """Return a received referral whose ids are those of the contract's forms."""
    return make_received(
        delivery_id=f"delivery-{number:013}",
        message_id=MESSAGES[number - 1],
        referral_id=f"referral-{number:013}",
        manifest_digest=DIGEST,
        decision_leaf=LEAF,
        sections=tuple(
            s.model_copy(update={"section_id": f"section-{n:014}"}) for n, s in enumerate(make_received().sections)
        ),
        **changes,
    )


@pytest.fixture
def half(tmp_path: Path) -> ReceivingHalf:
    return make_receiving_half(tmp_path, config=make_config(tmp_path))


def make_config(tmp_path: Path) -> InboxConfig:
    named = ContactConfig(
        contact="strategy-lead", key_file=tmp_path / "key", folder=FolderConfig(out_folder=tmp_path / "lead")
    )
    return InboxConfig(folder=FolderConfig(out_folder=tmp_path / "all"), contacts=(named,))


def test_a_delivery_has_one_effect_however_often_it_comes(half: ReceivingHalf) -> None:
    assert half.inbox.take_in(make_bound(), b"body") is Taken.STORED
    assert half.inbox.take_in(make_bound(), b"body again, with a newer proof") is Taken.REPEATED
    assert [line.release for line in half.inbox.list_entries(InboxFilter(), 10)] == [1]
    assert len(half.inbox_store.receipts.list_chain("delivery-0000000000001")) == 1
    assert half.outputs.list_outputs("delivery-0000000000001") == {"folder": "pending"}


def test_a_later_release_adds_its_sections_and_goes_out_again(half: ReceivingHalf) -> None:
    first = make_bound()
    half.inbox.take_in(first, b"body")
    (due,) = half.outputs.list_due_outputs(NOW)
    half.outputs.record_output(due, NOW)
    late = make_section("C12", "incident", "full", {"address": "late words"}).model_copy(
        update={"section_id": "section-0000000000late"}
    )
    later = first.model_copy(update={"sections": (late,), "decision_leaf": "n" * 43})
    assert half.inbox.take_in(later, b"late body") is Taken.SUPPLEMENTED
    assert half.inbox.take_in(later, b"late body") is Taken.REPEATED
    received = half.inbox.read("delivery-0000000000001", None).received
    assert received.sections == (*first.sections, late)
    assert received.release_id == "delivery-0000000000001.2"
    assert [line.release for line in half.inbox.list_entries(InboxFilter(), 10)] == [2], "a line says that more came"
    assert half.outputs.list_outputs("delivery-0000000000001") == {"folder": "pending"}
    assert len(half.inbox_store.receipts.list_chain("delivery-0000000000001")) == 1


@pytest.mark.parametrize("lost", [False, True], ids=["released later", "decided anew"])
def test_nothing_comes_back_of_what_was_deleted_after_its_recall(half: ReceivingHalf, lost: bool) -> None:
    first = make_bound()
    half.inbox.take_in(first, b"body")
    (due,) = half.outputs.list_due_outputs(NOW)
    half.outputs.record_output(due, NOW)
    recalls = InboxRecalls(half.store)
    recalls.mark_recalled("delivery-0000000000001", "{}")
    recalls.erase_content("delivery-0000000000001", NOW)
    if lost:
        half.inbox_store.mark_lost("delivery-0000000000001")
    again = first.model_copy(update={"decision_leaf": "n" * 43})
    assert half.inbox.take_in(again, b"late body") is (Taken.DECIDED_ANEW if lost else Taken.REPEATED)
    assert half.inbox.read("delivery-0000000000001", None).received.sections == ()
    (row,) = half.store.query("SELECT length(body) AS size FROM inbox_delivery")
    assert row["size"] == 0
    assert half.outputs.list_due_outputs(NOW) == []


def test_a_risk_that_is_released_later_is_added_to_the_line(half: ReceivingHalf) -> None:
    later = make_bound()
    half.inbox.take_in(later.model_copy(update={"risk": None, "sections": ()}), b"body")
    (line,) = half.inbox.list_entries(InboxFilter(), 10)
    assert (line.grade, line.immediate_danger) == (None, None)
    half.inbox.take_in(later.model_copy(update={"decision_leaf": "n" * 43}), b"late body")
    (line,) = half.inbox.list_entries(InboxFilter(), 10)
    assert (line.grade, line.immediate_danger) == ("high", True)
    assert half.inbox.read("delivery-0000000000001", None).received.risk == later.risk


def test_another_message_under_the_same_delivery_id_is_a_conflict(half: ReceivingHalf) -> None:
    half.inbox.take_in(make_bound(), b"body")
    with pytest.raises(Conflict):
        half.inbox.take_in(make_bound().model_copy(update={"manifest_digest": "x" * 43}), b"body")


def test_nothing_of_the_content_is_on_disk_in_clear(half: ReceivingHalf, tmp_path: Path) -> None:
    half.inbox.take_in(make_bound(), b"raw body with Sampleford in it")
    on_disk = b"".join(p.read_bytes() for p in tmp_path.glob("gateway.sqlite*"))
    assert len(on_disk) > 4096
    for word in ("Sampleford", "Siân", "Ring the aunt", "big smash", "A plate was thrown"):
        assert word.encode() not in on_disk
        assert word.encode("utf-16-le") not in on_disk


def test_it_survives_a_restart(half: ReceivingHalf, tmp_path: Path) -> None:
    half.inbox.take_in(make_bound(), b"body")
    again = make_receiving_half(tmp_path, config=make_config(tmp_path))
    item = again.inbox.read("delivery-0000000000001", None)
    assert item.received == make_bound()
    assert again.inbox.take_in(make_bound(), b"body") is Taken.REPEATED


def test_a_named_contacts_delivery_does_not_exist_for_others(half: ReceivingHalf) -> None:
    half.inbox.take_in(make_bound(contact="strategy-lead"), b"body")
    for other in (None, "strategy-deputy"):
        assert half.inbox.list_entries(InboxFilter(contact=other), 10) == []
        with pytest.raises(NotFound):
            half.inbox.read("delivery-0000000000001", other)
    assert half.inbox.read("delivery-0000000000001", "strategy-lead").received.contact == "strategy-lead"
    assert half.outputs.list_outputs("delivery-0000000000001") == {"contact-folder": "pending"}


def test_a_contact_that_nobody_configured_gets_no_common_output(half: ReceivingHalf) -> None:
    half.inbox.take_in(make_bound(contact="mace-chair"), b"body")
    assert half.outputs.list_outputs("delivery-0000000000001") == {}


def test_a_correction_stands_beside_what_it_corrects(half: ReceivingHalf) -> None:
    half.inbox.take_in(make_bound(1), b"1")
    half.inbox.take_in(make_bound(2, supersedes=MESSAGES[0]), b"2")
    assert [e.delivery_id for e in half.inbox.read("delivery-0000000000001", None).corrected_by] == [
        "delivery-0000000000002"
    ]
    assert [e.delivery_id for e in half.inbox.read("delivery-0000000000002", None).corrects] == [
        "delivery-0000000000001"
    ]


def test_a_correction_for_a_named_contact_is_not_shown_to_others(half: ReceivingHalf) -> None:
    half.inbox.take_in(make_bound(1), b"1")
    half.inbox.take_in(make_bound(2, supersedes=MESSAGES[0], contact="strategy-lead"), b"2")
    assert half.inbox.read("delivery-0000000000001", None).corrected_by == ()
    assert [e.delivery_id for e in half.inbox.read("delivery-0000000000002", "strategy-lead").corrects] == [
        "delivery-0000000000001"
    ]


def test_pages_go_on_where_the_last_one_ended(half: ReceivingHalf) -> None:
    for number in range(1, 6):
        half.inbox.take_in(make_bound(number, received_at=NOW + timedelta(minutes=number // 2)), b"%d" % number)
    seen: list[str] = []
    before: tuple[str, str] | None = None
    while page := half.inbox.list_entries(InboxFilter(before=before), 2):
        seen += [e.delivery_id for e in page]
        last = page[-1]
        before = (last.received_at.isoformat(timespec="microseconds"), last.delivery_id)
    assert seen == [f"delivery-{n:013}" for n in (5, 4, 3, 2, 1)]


def test_filters_choose(half: ReceivingHalf) -> None:
    half.inbox.take_in(make_bound(1), b"1")
    case = make_received().case.model_copy(update={"kind": "FGM"})
    half.inbox.take_in(make_bound(2, case=case, sender="health.marchshire-ft"), b"2")
    half.inbox.note_opened("delivery-0000000000001")

    def list_ids(**chosen: object) -> list[str]:
        return [e.delivery_id for e in half.inbox.list_entries(InboxFilter(**chosen), 10)]  # type: ignore[arg-type]

    assert list_ids(kinds=("FGM",)) == ["delivery-0000000000002"]
    assert list_ids(states=(ReceiptState.OPENED,)) == ["delivery-0000000000001"]
    assert list_ids(senders=("police.marchshire",)) == ["delivery-0000000000001"]
    assert list_ids(since=NOW + timedelta(days=400)) == []


def test_outputs_wait_and_end_with_a_person(half: ReceivingHalf) -> None:
    half.inbox.take_in(make_bound(), b"body")
    queue: OutputQueue = half.outputs
    (due,) = queue.list_due_outputs(NOW)
    queue.record_output_failure(due, DependencyUnavailable(), retry_at=NOW + timedelta(minutes=1))
    assert queue.list_due_outputs(NOW) == []
    (again,) = queue.list_due_outputs(NOW + timedelta(minutes=2))
    assert again.attempts == 1
    queue.record_output_failure(again, DependencyUnavailable(), retry_at=None)
    assert queue.list_due_outputs(datetime.max.replace(tzinfo=NOW.tzinfo)) == []
    assert queue.list_outputs("delivery-0000000000001") == {"folder": "failed"}
    assert queue.retry_failed_outputs(NOW) == 1
    assert len(queue.list_due_outputs(NOW)) == 1
