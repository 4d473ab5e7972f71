"""Whom a received referral is about: only what the delivered sections say, of each child by itself, never of one that was not delivered."""

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.gateway.incoming.inbox_recalls import InboxRecalls
from adapters.gateway.incoming.received import INCIDENT, ReceivedReferral, ReceivedSection
from adapters.gateway.incoming.received_subjects import ReceivedSubjects, read_identifiers
from schemas.codes import Compartment, Form
from schemas.errors import Conflict, NotFound, Rejected
from tests.support.receiving import DELIVERY, ReceivingHalf, make_delivery, make_incoming, make_receiving_half

NUMBER = "999 000 1375"
DIGITS = "9990001375"
CHILD, OTHER = "subject-000000000child", "subject-000000000other"


def section(subject: str, compartment: Compartment, form: Form = Form.FULL, **said: Any) -> ReceivedSection:
    statements = [{"label": label.replace("_", " "), "value": value, "basis": "fact"} for label, value in said.items()]
    content = {"statements": statements} if form is Form.FULL else {"summary": NUMBER}
    return ReceivedSection(
        section_id=f"section-{subject[-5:]}-{compartment}",
        compartment=compartment,
        subject=subject,
        form=form,
        media_type="application/json",
        content=content,
    )


@pytest.fixture
async def half(tmp_path: Path) -> ReceivingHalf:
    made = make_receiving_half(tmp_path)
    InboxRecalls(made.store)
    await made.reader.take_in(make_incoming(make_delivery()))
    return made


def read(half: ReceivingHalf, *sections: ReceivedSection) -> list[tuple[str, str]]:
    received = half.inbox_store.read_received(DELIVERY).model_copy(update={"sections": sections})
    return read_identifiers(received, is_test=True)


async def test_a_child_is_known_by_number_pupil_number_and_name_with_date_of_birth(half: ReceivingHalf) -> None:
    found = read(
        half,
        section(
            CHILD,
            Compartment.C01,
            **{
                "NHS number": NUMBER,
                "Surname": "Aldermoor-Test",
                "Forenames": ["Ria", "May"],
                "Date of birth": "2014-03-02",
            },
        ),
        section(CHILD, Compartment.C08, UPN="U995600116004"),
    )
    assert ("nhs", DIGITS) in found
    assert ("upn", "U995600116004") in found
    assert ("name_born", "aldermoor-test|ria|2014-03-02") in found


async def test_nothing_is_known_of_what_was_not_delivered_or_is_not_about_a_child_alone(half: ReceivingHalf) -> None:
    whole = {"NHS number": NUMBER, "Surname": "Aldermoor-Test", "Forenames": "Ria", "Date of birth": "2014-03-02"}
    assert read(half, section(CHILD, Compartment.C01, Form.SUMMARY)) == []
    assert read(half, section(INCIDENT, Compartment.C01, **whole)) == [], "an incident is nobody"
    assert read(half, section(CHILD, Compartment.C07, **whole)) == [], "numbers of others stand in other headings"
    # Of two children each is known by its own words: no name of one with the other's date of birth.
    halves = (
        section(CHILD, Compartment.C01, Surname="Aldermoor-Test", Forenames="Ria"),
        section(OTHER, Compartment.C01, **{"Date of birth": "2014-03-02", "NHS number": "not known"}),
    )
    assert read(half, *halves) == []
    assert (
        read(half, section(CHILD, Compartment.C01, **{"Date of birth": "about 2014", "NHS number": "9990001374"})) == []
    )


async def test_a_referral_is_found_by_its_id_for_who_may_read_it_and_while_it_is_not_recalled(
    half: ReceivingHalf,
) -> None:
    subjects = ReceivedSubjects(half.store, lambda: True)
    referral_id = half.inbox_store.find_entry(DELIVERY).referral_id
    with pytest.raises(NotFound, match="sent or received"):
        subjects.list_identifiers("AAAAAAAAAAAAAAAAAAAAAA", None)
    with pytest.raises(Rejected, match="no identifier"):
        subjects.list_identifiers(referral_id, None)
    with half.store.transaction() as db:
        named = half.inbox_store.read_received(DELIVERY).model_copy(
            update={"sections": (section(CHILD, Compartment.C01, **{"NHS number": NUMBER}),)}
        )
        sealed = half.store.seal(f"inbox_delivery.content:{DELIVERY}", json.dumps(named.to_json()).encode())
        db.execute("UPDATE inbox_delivery SET content = ?, contact = 'lead'", (sealed,))
    assert ReceivedReferral.model_validate(named.to_json()).sections == named.sections
    assert subjects.list_identifiers(referral_id, "lead") == [("nhs", DIGITS)]
    for other in (None, "duty"):
        with pytest.raises(NotFound):
            subjects.list_identifiers(referral_id, other)
    InboxRecalls(half.store).mark_recalled(DELIVERY, "{}")
    with pytest.raises(Conflict, match="recalled"):
        subjects.list_identifiers(referral_id, "lead")
