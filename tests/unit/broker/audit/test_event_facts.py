"""What a search knows of an event: each kind of the catalogue, odd payloads, and made-up kinds of referral."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from broker.audit.event_facts import OTHER, EventFacts, StoredFacts, Stream, read_facts
from broker.audit.projecting import LoggedEvent
from broker.log.events import CATALOGUE

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
MESSAGE = UUID("01930000-0000-7000-8000-000000000001")
STORED = StoredFacts(MESSAGE, "police.marchshire", "ref-1", "CP_S47", "csc.marchshire", "D5")


def facts(kind: str, stored: StoredFacts | None = STORED, **members: Any) -> EventFacts:
    return read_facts(LoggedEvent(0, UUID(int=1), kind, NOW, members), stored)


def stream(kind: str, stored: StoredFacts | None = STORED, **members: Any) -> Stream:
    return facts(kind, stored, **members).stream


def test_an_erased_event_keeps_its_kind_alone() -> None:
    event = LoggedEvent(3, UUID(int=1), "decided", NOW, None)
    assert read_facts(event, STORED) == EventFacts(Stream("decided"))


def test_a_decision_is_found_by_agencies_outcome_and_its_own_rule() -> None:
    found = facts("decided", recipient="csc.marchshire", outcome="held", row="", delivery_id="d-1")
    assert found.stream == Stream("decided", "police.marchshire", "csc.marchshire", "CP_S47", "held", "D5")
    assert (found.referral_id, found.message_id, found.delivery_id) == ("ref-1", MESSAGE, "d-1")


@pytest.mark.parametrize(
    ("kind", "members", "state"),
    [
        ("receipt", {"state": "opened", "recipient": "csc.marchshire"}, "opened"),
        ("review", {"action": "refused", "by": "p.ann"}, "refused"),
        ("told", {"code": "RECALLED", "agency": "csc.marchshire"}, "RECALLED"),
        ("clock", {"changes": [{"state": "breached"}, {"state": "met_late"}]}, "breached"),
        ("clock", {"changes": [{"state": "running"}, {"state": "met"}]}, "met"),
        ("clock", {"changes": []}, None),
        ("negative_receipt", {"last_state": None, "recipient": "csc.marchshire"}, "none"),
        ("escalated", {"clock": "la_acknowledgement", "agency": "csc.marchshire"}, "la_acknowledgement"),
        ("audit_read", {"by": "p.ann", "action": "search", "subject": "x"}, "search"),
        ("object", {"type": "recall", "sender": "police.marchshire"}, "recall"),
        ("console_login", {"by": "p.ann", "outcome": "refused"}, "refused"),
    ],
)
def test_each_kind_says_what_came_of_it(kind: str, members: dict[str, Any], state: str | None) -> None:
    assert stream(kind, **members).state == state


def test_who_was_told_is_the_other_agency_and_the_sender_is_not_its_own_other() -> None:
    assert stream("told", agency="csc.marchshire", code="X").recipient == "csc.marchshire"
    assert stream("told", agency="police.marchshire", code="X").recipient is None


def test_what_concerns_an_agency_alone_is_under_its_name() -> None:
    for kind in ("key", "enrolment", "revocation"):
        assert stream(kind, None, agency="school.oakfield").sender == "school.oakfield"


def test_made_up_kinds_and_unresolved_recipients_make_no_streams_of_their_own() -> None:
    odd = StoredFacts(MESSAGE, "police.marchshire", "ref-1", "MADE_UP_7", "unresolved:school:St Nowhere 7", "D0")
    found = stream("decided", odd, recipient="unresolved:school:St Nowhere 7", outcome="rejected")
    assert (found.referral_kind, found.recipient) == (OTHER, "unresolved:school")


@pytest.mark.parametrize("odd", [None, 7, [], {}, "", "x" * 5000, True])
def test_odd_values_never_stop_the_projector(odd: Any) -> None:
    names = ("message_id", "delivery_id", "sender", "recipient", "agency", "by", "subject", "code", "state")
    for kind in CATALOGUE:
        found = facts(kind, None, **dict.fromkeys(names, odd))
        assert all(len(value) <= 200 for value in found.stream if value is not None)
