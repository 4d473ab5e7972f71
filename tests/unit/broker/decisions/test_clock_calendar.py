"""When clocks fall due, by a calendar on paper: Christmas, Easter, half terms, INSET days, clock changes, month ends (FORMATS CH-20)."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from schemas.header import RoutingHeader
from tests.support.decisions import make_engine

ENGINE = make_engine()
TO = {
    "csc": ("csc.marchshire", "csc", "safeguard_child"),
    "csc-welfare": ("csc.marchshire", "csc", "promote_welfare"),
    "oakfield": ("school.oakfield", "dsl", "school_support"),
    "st-hilda": ("school.st-hilda", "dsl", "school_support"),
    "la": ("education.marchshire", "la_education", "school_support"),
    "police": ("police.marchshire", "police", "safeguard_child"),
    "trust": ("health.marchshire-ft", "mental_health", "health_care"),
    "probation": ("probation.marchshire", "mappa", "public_protection"),
    "idva": ("idva.safehaven", "idva", "safeguard_victim"),
    "channel": ("channel.marchshire", "channel", "prevent_referral"),
}


def read(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def start(
    kind: str, to: str, received_at: str, *, grade: str = "medium", sender: str = "police.marchshire", **parts: Any
) -> dict[str, datetime]:
    """Return when each clock that a referral starts falls due."""
    agency, role, purpose = TO[to]
    header = RoutingHeader.model_validate(
        {
            "case": {"kind": kind, "area": "E10999001", **parts.pop("case", {})},
            "risk": {"grade": grade},
            "lawful_basis": {"art6": "c"},
            "policy": {
                "tell_status": {"value": "tell"},
                "compartments": ["C01", "C04", "C15", "C17"],
                "clocks": {name: read(at) for name, at in parts.pop("at", {}).items()} | parts.pop("on", {}),
                **parts,
            },
            "subjects": [{"subject_id": "subject-00000000000001", "type": "person", "age_band": "5-9"}],
            "deliveries": [
                {"delivery_id": "delivery-0000000000001", "agency": agency, "role": role, "purpose": purpose}
            ],
        }
    )
    now = read(received_at)
    decisions = ENGINE.decide_all(header, sender=sender, now=now)
    return {clock.clock: clock.due_at for clock in ENGINE.start_clocks(header, decisions, now)}


@pytest.mark.parametrize(
    ("referral", "clock", "due_at"),
    [
        # Christmas: 25 and 28 December are bank holidays, 26 and 27 a weekend.
        (("CP_S47", "csc", "2026-12-24T10:00Z", "medium"), "la_acknowledgement", "2026-12-29T17:00Z"),
        (("CP_S47", "csc", "2026-12-24T10:00Z", "medium"), "strategy_discussion", "2026-12-25T10:00Z"),
        (("PPN", "csc-welfare", "2026-12-23T10:00Z", "low"), "referrer_chase", "2026-12-30T17:00Z"),
        (("PPN", "csc-welfare", "2026-12-23T10:00Z", "low"), "mash_triage", "2026-12-29T17:00Z"),
        (("PPN", "csc-welfare", "2026-12-23T10:00Z", "standard"), "mash_triage", "2026-12-29T17:00Z"),
        (("PPN", "csc-welfare", "2026-12-23T10:00Z", "medium"), "mash_triage", "2026-12-25T10:00Z"),
        (("PPN", "csc-welfare", "2026-12-23T10:00Z", "high"), "mash_triage", "2026-12-24T10:00Z"),
        # New Year: received on Thursday evening, 1 January is a bank holiday.
        (("CIN_S17", "csc-welfare", "2026-12-31T23:30Z", "medium"), "la_acknowledgement", "2027-01-04T17:00Z"),
        (("CIN_S17", "csc-welfare", "2026-11-17T10:06:10Z", "medium"), "assessment_s17", "2027-01-22T17:00Z"),
        # Easter, and the clocks go forward on 28 March 2027: due at 17:00 British Summer Time.
        (("CP_S47", "csc", "2027-03-27T12:00Z", "medium"), "la_acknowledgement", "2027-03-30T17:00+01:00"),
        (("CP_S47", "csc", "2027-03-27T12:00Z", "medium"), "strategy_discussion", "2027-03-28T12:00Z"),
        # Half past midnight in summer is still yesterday in UTC: the local Friday is the day of receipt.
        (("CP_S47", "csc", "2027-06-10T23:30Z", "medium"), "la_acknowledgement", "2027-06-14T17:00+01:00"),
        # The clocks go back on 25 October 2026: 48 elapsed hours end an hour earlier by the wall.
        (("PPN", "csc-welfare", "2026-10-24T12:00+01:00", "medium"), "mash_triage", "2026-10-26T11:00Z"),
        (("DA_MARAC", "idva", "2026-10-24T12:00+01:00", "high"), "idva_contact", "2026-10-25T11:00Z"),
        (("PREVENT", "channel", "2026-12-21T10:00Z", "medium"), "prevent_screening", "2026-12-30T17:00Z"),
        (("EXPLOITATION", "csc", "2026-12-24T10:00Z", "medium"), "mace_screening", "2026-12-31T17:00Z"),
        (("EXPLOITATION", "csc", "2026-12-23T10:00Z", "medium"), "mace_screening", "2026-12-30T17:00Z"),
    ],
)  # fmt: skip
def test_a_clock_from_receipt(referral: tuple[str, str, str, str], clock: str, due_at: str) -> None:
    kind, to, received_at, grade = referral
    assert start(kind, to, received_at, grade=grade)[clock] == read(due_at)


@pytest.mark.parametrize(
    ("to", "incident_at", "due_at"),
    [
        ("oakfield", "2026-11-24T08:39Z", "2026-11-24T08:40Z"),
        ("oakfield", "2026-11-24T08:40Z", "2026-11-25T08:40Z"),  # a start at the very instant is not after it
        ("oakfield", "2026-11-20T21:00Z", "2026-11-24T08:40Z"),  # a weekend, then an INSET day on Monday
        ("st-hilda", "2026-11-26T12:00Z", "2026-11-30T08:15Z"),  # INSET on Friday
        ("oakfield", "2026-10-24T23:30+01:00", "2026-11-03T08:40Z"),  # half term, clock change, INSET on Monday
        ("st-hilda", "2026-10-24T23:30+01:00", "2026-11-02T08:15Z"),
        ("st-hilda", "2026-12-11T20:00Z", "2027-01-07T08:15Z"),  # Christmas; INSET on the first day of term
        ("oakfield", "2026-12-18T20:00Z", "2027-01-05T08:40Z"),
        ("la", "2026-12-18T20:00Z", "2027-01-04T09:00Z"),
        ("la", "2027-03-25T20:00Z", "2027-04-12T09:00+01:00"),  # Easter
        ("oakfield", "2027-04-30T20:00+01:00", "2027-05-04T08:40+01:00"),  # a bank holiday inside the term
        ("oakfield", "2027-02-12T20:00Z", "2027-02-23T08:40Z"),  # half term, then INSET
    ],
)
def test_encompass_is_due_before_the_next_school_day(to: str, incident_at: str, due_at: str) -> None:
    assert start("ENCOMPASS", to, incident_at, at={"incident_at": incident_at}) == {"encompass_delivery": read(due_at)}


@pytest.mark.parametrize(
    ("discovered_at", "due_at"),
    [
        ("2026-11-30T10:00Z", "2026-12-30T23:59:59Z"),
        ("2026-12-31T10:00Z", "2027-01-31T23:59:59Z"),
        ("2027-01-29T10:00Z", "2027-02-28T23:59:59Z"),
        ("2028-01-31T10:00Z", "2028-02-29T23:59:59Z"),
        ("2027-03-15T10:00Z", "2027-04-15T23:59:59+01:00"),
        ("2027-06-30T23:30Z", "2027-08-01T23:59:59+01:00"),  # 1 July by the local calendar
    ],
)
def test_female_genital_mutilation_is_reported_within_a_month(discovered_at: str, due_at: str) -> None:
    found = start("FGM", "police", discovered_at, sender="health.marchshire-ft", at={"discovered_at": discovered_at})
    assert found == {"fgm_report": read(due_at)}


@pytest.mark.parametrize(
    ("change_on", "due_at"),
    [
        (date(2026, 11, 18), "2026-11-20T23:59:59Z"),
        (date(2026, 12, 24), "2026-12-26T23:59:59Z"),
        (date(2027, 3, 27), "2027-03-29T23:59:59+01:00"),
    ],
)
def test_a_registered_offender_has_three_days_beginning_with_the_change(change_on: date, due_at: str) -> None:
    found = start("RSO_MAPPA", "probation", "2026-11-20T10:00Z", on={"offender_change_on": change_on})
    assert found == {"rso_notification": read(due_at)}


@pytest.mark.parametrize(
    ("referral", "clock", "due_at"),
    [
        (("POLICE_PROTECTION", "csc", "police_protection_at", "2027-03-27T12:00Z"), "police_protection", "2027-03-30T12:00Z"),
        (("POLICE_PROTECTION", "csc", "police_protection_at", "2026-12-24T21:10Z"), "police_protection", "2026-12-27T21:10Z"),
        (("S136", "trust", "place_of_safety_at", "2026-10-25T00:30+01:00"), "s136_detention", "2026-10-25T23:30Z"),
    ],
)  # fmt: skip
def test_hours_elapse_across_holidays_and_clock_changes(
    referral: tuple[str, str, str, str], clock: str, due_at: str
) -> None:
    kind, to, name, starts_at = referral
    assert start(kind, to, starts_at, grade="high", at={name: starts_at})[clock] == read(due_at)


def test_a_return_interview_is_due_72_hours_after_the_return() -> None:
    found = {"found_at": "2027-03-27T23:00Z"}
    assert start("MISSING", "csc", "2027-03-28T09:00Z", case={"missing_event": "found"}, at=found) == {
        "return_interview": read("2027-03-30T23:00Z")
    }


def test_a_request_is_due_in_five_working_days() -> None:
    task = {"statutory_task": "CA 1989 s.47"}
    TO["asked"] = ("police.marchshire", "police", "promote_welfare")
    found = start("REQUEST", "asked", "2026-12-22T16:00Z", sender="health.marchshire-ft", **task)
    assert found == {"request_answer": read("2026-12-31T17:00Z")}
