"""The catalogue: what must be salted is salted, and the log sees a commitment only."""

import pytest

from broker.log.events import CATALOGUE, NewEvent
from schemas.canonical import parse_object
from schemas.errors import MalformedMessage
from schemas.log_entry import commit_event

MEMBERS = {"at": "2026-11-23T10:00:00+00:00", "by": "person-1"}


def test_a_salted_event_enters_as_a_commitment() -> None:
    event = NewEvent.salted("audit_read", MEMBERS)
    assert event.salt is not None
    assert event.entry() == commit_event(event.event, event.salt)
    assert b"person-1" not in event.entry()
    assert parse_object(event.event, max_bytes=1000) == MEMBERS | {"event": "audit_read", "version": 1}


def test_the_same_event_twice_has_two_entries() -> None:
    assert NewEvent.salted("audit_read", MEMBERS).entry() != NewEvent.salted("audit_read", MEMBERS).entry()


def test_a_clear_event_is_its_own_entry() -> None:
    event = NewEvent.clear("directory", {"at": MEMBERS["at"], "version_number": 1, "sha256": "x"})
    assert event.entry() == event.event


@pytest.mark.parametrize("kind", [name for name, kind in CATALOGUE.items() if not kind.clear])
def test_what_concerns_people_cannot_be_clear(kind: str) -> None:
    with pytest.raises(MalformedMessage):
        NewEvent.clear(kind, MEMBERS)


def test_an_event_outside_the_catalogue_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        NewEvent.salted("gossip", MEMBERS)
