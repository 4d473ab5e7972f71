"""The routing header: entries out and in again, closed to what does not belong."""

import pytest

from schemas.errors import MalformedMessage
from schemas.header import RoutingHeader


def make_header(**policy: object) -> RoutingHeader:
    return RoutingHeader.model_validate(
        {
            "case": {
                "kind": "CP_S47",
                "area": "E10999001",
            },
            "risk": {"grade": "high", "immediate_danger": True},
            "lawful_basis": {"art6": "c"},
            "policy": {"tell_status": {"value": "tell"}, "compartments": ["C01", "C04"], **policy},
            "subjects": [{"subject_id": "subject-00000000000001", "type": "person", "age_band": "5-9"}],
            "routing": [{"subject_id": "subject-00000000000001", "tied_agencies": ["school.oakfield"]}],
            "deliveries": [
                {
                    "delivery_id": "delivery-0000000000001",
                    "agency": "csc.marchshire",
                    "role": "csc",
                    "purpose": "safeguard_child",
                }
            ],
            "flags": ["voice_absent"],
        }
    )


def test_entries_rebuild_the_same_header() -> None:
    header = make_header()
    assert RoutingHeader.from_entries(header.to_entries()) == header


def test_section_entries_are_passed_over() -> None:
    header = make_header()
    assert RoutingHeader.from_entries([*header.to_entries(), ("section:abc", {"form": "full"})]) == header


@pytest.mark.parametrize("dropped", ["case", "risk", "basis", "policy"])
def test_a_header_without_one_of_its_single_entries_is_malformed(dropped: str) -> None:
    entries = [entry for entry in make_header().to_entries() if entry[0] != dropped]
    with pytest.raises(MalformedMessage):
        RoutingHeader.from_entries(entries)


def test_an_entry_opened_twice_is_malformed() -> None:
    entries = make_header().to_entries()
    with pytest.raises(MalformedMessage):
        RoutingHeader.from_entries([*entries, entries[0]])


def test_an_entry_under_another_subjects_name_is_malformed() -> None:
    entries = [
        (
            name.replace("subject-00000000000001", "subject-00000000000002") if name.startswith("subject:") else name,
            value,
        )
        for name, value in make_header().to_entries()
    ]
    with pytest.raises(MalformedMessage):
        RoutingHeader.from_entries(entries)


def test_an_unknown_member_is_malformed_and_not_echoed() -> None:
    entries = make_header().to_entries()
    name, value = entries[0]
    for member in ({"child_name": "Zebedee Canary"}, {"Zebedee Canary": 1}, {"zebedee": 1}):
        entries[0] = (name, {**value, **member})
        with pytest.raises(MalformedMessage) as caught:
            RoutingHeader.from_entries(entries)
        assert "zebedee" not in str(caught.value).lower()
        assert caught.value.field == "case.(unknown member)"


def test_an_unknown_kind_parses_so_that_policy_can_hold_it() -> None:
    entries = make_header().to_entries()
    entries[0] = ("case", {**entries[0][1], "kind": "CHILD_SAFETY_ALERT"})
    assert RoutingHeader.from_entries(entries).case.kind == "CHILD_SAFETY_ALERT"


def test_free_text_does_not_fit_a_code() -> None:
    with pytest.raises(ValueError, match="pattern"):
        make_header(statutory_task="She said: \n'come at once'")
