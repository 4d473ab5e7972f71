"""Questions and cursors: bounded, tied to each other, and exact to the microsecond."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.audit.filters import MAX_CHOICES, Cursor, SearchFilter
from broker.audit.scope import Permission, read_reader
from schemas.directory import Person
from schemas.errors import MalformedMessage, NotPermitted

instants = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 (bounds)


@given(instants, st.integers(0, 2**53 - 1), st.integers(0, 2**53 - 1))
def test_a_cursor_comes_back_as_it_was(at: datetime, position: int, as_of: int) -> None:
    search = SearchFilter(event=("decided",))
    cursor = Cursor.after(at, position, as_of=as_of, search=search)
    again = Cursor.read(cursor.write(), search)
    assert (again.at, again.position, again.as_of) == (at, position, as_of)
    with pytest.raises(MalformedMessage):
        Cursor.read(cursor.write(), SearchFilter())


@given(st.text(max_size=200))
def test_no_rubbish_is_a_cursor(text: str) -> None:
    with pytest.raises(MalformedMessage):
        Cursor.read(text, SearchFilter())


@pytest.mark.parametrize(
    "members",
    [
        {"agency": "two words"},
        {"agency": "x" * 101},
        {"event": ["a"] * (MAX_CHOICES + 1)},
        {"unknown": "x"},
        {"since": "2026-01-01T00:00:00"},
        {"since": "2026-01-02T00:00:00Z", "until": "2026-01-02T00:00:00Z"},
        {"id": "a\nb"},
        {"id": "-starts-with-a-sign"},
    ],
)
def test_a_question_out_of_bounds_is_refused(members: dict) -> None:
    with pytest.raises(MalformedMessage) as caught:
        SearchFilter.read(members)
    assert "two words" not in str(caught.value)


def test_what_is_empty_bounds_nothing() -> None:
    assert SearchFilter.read({"agency": "", "event": [], "since": None}) == SearchFilter()
    assert SearchFilter().digest() != SearchFilter(agency="csc.marchshire").digest()


def test_the_wider_role_counts_and_gives_no_more_than_it_has() -> None:
    def reader(*roles: str):
        return read_reader(Person(id="p.ann", agency="csc.marchshire", roles=roles))

    assert reader("auditor").agency == "csc.marchshire"
    assert reader("auditor", "partnership_auditor").agency is None
    wide = reader("auditor", "partnership_operator")
    assert wide.agency is None
    with pytest.raises(NotPermitted):
        wide.require(Permission.SEARCH)
