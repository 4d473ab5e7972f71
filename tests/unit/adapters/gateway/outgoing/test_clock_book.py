"""What a sender sees of its clocks: started by the proven acceptance, moved by proven notices, in any order and however often."""

from pathlib import Path
from typing import Any

import pytest

from adapters.gateway.outgoing.outbox import Outbox
from adapters.gateway.store import GatewayStore
from tests.unit.adapters.gateway.outgoing.test_outbox import accept, make_record, notice, publish, receipt

CLOCK = {
    "clock": "la_acknowledgement",
    "starts_at": "2026-11-23T10:00:00+00:00",
    "due_at": "2026-11-24T17:00:00+00:00",
    "recipients": ["csc.x"],
    "assumption": "1 working days",
}
CHANGE = {"clock": "la_acknowledgement", "recipient": "csc.x", "due_at": "2026-11-24T17:00:00+00:00"}
BREACHED = {**CHANGE, "state": "breached", "at": "2026-11-24T17:00:01+00:00", "escalated_to": ["mash_manager"]}
LATE = {**CHANGE, "state": "met_late", "at": "2026-11-24T18:00:00+00:00"}


@pytest.fixture
def sent(tmp_path: Path) -> tuple[Outbox, str, str]:
    outbox = Outbox(GatewayStore(tmp_path / "gateway.sqlite", bytes(32)))
    (referral_id,) = accept(outbox, make_record())
    return outbox, publish(outbox, referral_id), referral_id


def clocks(outbox: Outbox, referral_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = outbox.describe(referral_id)["clocks"]
    return found


def test_acceptance_starts_the_clocks_and_a_repeat_changes_nothing(sent: tuple[Outbox, str, str]) -> None:
    outbox, message_id, referral_id = sent
    assert clocks(outbox, referral_id) == []
    for _ in range(2):
        notice(outbox, message_id, referral_id, clocks=[CLOCK])
    assert clocks(outbox, referral_id) == [{**CLOCK, "state": "running"}]


def test_without_proof_nothing_counts(sent: tuple[Outbox, str, str]) -> None:
    outbox, message_id, referral_id = sent
    notice(outbox, message_id, referral_id, clocks=[CLOCK], proof_verified=False)
    assert clocks(outbox, referral_id) == []
    notice(outbox, message_id, referral_id, clocks=[CLOCK])
    notice(outbox, message_id, referral_id, "clock", clocks=[BREACHED], proof_verified=False)
    assert clocks(outbox, referral_id)[0]["state"] == "running"
    assert outbox.describe(referral_id)["alarm"] is None


@pytest.mark.parametrize("order", [(BREACHED, LATE), (LATE, BREACHED), (BREACHED, LATE, BREACHED)])
def test_changes_count_by_their_logged_instant(
    sent: tuple[Outbox, str, str], order: tuple[dict[str, Any], ...]
) -> None:
    outbox, message_id, referral_id = sent
    for change in order:
        notice(outbox, message_id, referral_id, "clock", clocks=[change])
    notice(outbox, message_id, referral_id, clocks=[CLOCK])
    assert clocks(outbox, referral_id)[0]["state"] == "met_late"


def test_a_breach_raises_the_senders_alarm_until_word_comes(sent: tuple[Outbox, str, str]) -> None:
    outbox, message_id, referral_id = sent
    decision = {"delivery_id": f"{message_id}-csc.x", "outcome": "delivered"}
    notice(outbox, message_id, referral_id, clocks=[CLOCK], decisions=[decision])
    receipt(outbox, message_id, "csc.x")
    notice(outbox, message_id, referral_id, "clock", clocks=[BREACHED])
    assert outbox.describe(referral_id)["alarm"] == "clock-breached:la_acknowledgement"
    receipt(outbox, message_id, "csc.x", "opened")
    notice(outbox, message_id, referral_id, "clock", clocks=[LATE])
    assert outbox.describe(referral_id)["alarm"] is None


def test_the_gravest_of_several_recipients_counts_and_a_pause_moves_the_deadline(sent: tuple[Outbox, str, str]) -> None:
    outbox, message_id, referral_id = sent
    notice(outbox, message_id, referral_id, clocks=[{**CLOCK, "recipients": ["csc.x", "csc.y"]}])
    met = {**CHANGE, "recipient": "csc.y", "state": "met", "at": "2026-11-23T11:00:00+00:00"}
    resumed = {**CHANGE, "state": "running", "at": "2026-11-23T12:00:00+00:00", "due_at": "2026-11-25T17:00:00+00:00"}
    notice(outbox, message_id, referral_id, "clock", clocks=[met, resumed])
    (clock,) = clocks(outbox, referral_id)
    assert (clock["state"], clock["due_at"]) == ("running", "2026-11-25T17:00:00+00:00")
    assert clock["states"] == {"csc.x": "running", "csc.y": "met"}


def test_word_that_a_clock_ran_out_here_is_kept_once(sent: tuple[Outbox, str, str]) -> None:
    book = sent[0].tracking.clocks
    told = {
        "delivery_id": "d1",
        "clock": "mash_triage",
        "message_id": "m9",
        "due_at": "T1",
        "at": "T2",
        "roles": ["mash_manager"],
    }
    for _ in range(2):
        book.record_escalation(told)
    assert book.list_escalations() == [told]
