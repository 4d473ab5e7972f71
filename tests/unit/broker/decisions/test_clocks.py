"""Clocks beyond the samples: who is bound, what starts none, and the edges of the calendar."""

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.decisions import Clock
from broker.decisions.clocks import find_due, parse_clock_rules
from schemas.errors import ConfigInvalid
from schemas.header import RoutingHeader
from tests.support.decisions import make_directory, make_engine

NOW = datetime(2026, 11, 20, 16, tzinfo=UTC)  # a Friday


def start(kind: str, *deliveries: tuple[str, str, str], **parts: Any) -> list[Clock]:
    engine = make_engine()
    header = RoutingHeader.model_validate(
        {
            "case": {"kind": kind, "area": "E10999001", **parts.pop("case", {})},
            "risk": parts.pop("risk", {}),
            "lawful_basis": {"art6": "c"},
            "policy": {"tell_status": {"value": "tell"}, "compartments": ["C01", "C04", "C15", "C17"], **parts},
            "subjects": [{"subject_id": "subject-00000000000001", "type": "person", "age_band": "5-9"}],
            "deliveries": [
                {"delivery_id": f"delivery-{n:013}", "agency": agency, "role": role, "purpose": purpose}
                for n, (agency, role, purpose) in enumerate(deliveries)
            ],
        }
    )
    decisions = engine.decide_all(header, sender="police.marchshire", now=NOW)
    return engine.start_clocks(header, decisions, NOW)


CSC = ("csc.marchshire", "csc", "safeguard_child")
OAKFIELD = ("school.oakfield", "dsl", "school_support")
ST_HILDA = ("school.st-hilda", "dsl", "school_support")


def test_a_clock_that_binds_a_recipient_starts_only_on_delivery() -> None:
    assert [c.clock for c in start("CP_S47", CSC)] == ["la_acknowledgement", "strategy_discussion"]
    assert start("CP_S47", CSC, conflicts=[{"agency": "csc.marchshire"}]) == []


def test_a_correction_and_an_update_start_none() -> None:
    embargo = {"active": True, "set_at": NOW, "named": []}
    for kind in ("CORRECTION", "UPDATE"):
        assert start(kind, CSC, case={"original_kind": "CP_S47"}, embargo=embargo) == []


def test_encompass_runs_for_each_school_by_its_own_calendar() -> None:
    incident = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
    clocks = start("ENCOMPASS", OAKFIELD, ST_HILDA, clocks={"incident_at": incident})
    assert [(c.recipients, c.due_at) for c in clocks] == [
        (("school.oakfield",), datetime(2026, 11, 24, 8, 40, tzinfo=UTC)),
        (("school.st-hilda",), datetime(2026, 11, 23, 8, 15, tzinfo=UTC)),
    ]


def test_encompass_waits_for_the_autumn_term_over_the_summer() -> None:
    incident = datetime(2026, 8, 1, 22, tzinfo=UTC)
    (clock,) = start("ENCOMPASS", OAKFIELD, clocks={"incident_at": incident})
    assert clock.due_at == datetime(
        2026, 9, 4, 7, 40, tzinfo=UTC
    )  # 3 September is an INSET day; 08:40 British Summer Time


def test_an_embargo_runs_from_its_last_review_else_its_setting() -> None:
    set_at, reviewed = datetime(2026, 11, 18, 9, tzinfo=UTC), datetime(2026, 11, 20, 9, tzinfo=UTC)
    lead = ("csc.marchshire", "csc_named", "safeguard_child")
    (first,) = start("ONLINE_CSA", lead, embargo={"active": True, "set_at": set_at})
    (second,) = start("ONLINE_CSA", lead, embargo={"active": True, "set_at": set_at, "last_review_at": reviewed})
    assert (first.due_at.day, second.due_at.day) == (19, 21)
    assert start("ONLINE_CSA", lead, embargo={"active": False, "set_at": set_at}) == []


def test_a_missing_child_without_a_stated_review_has_no_review_clock() -> None:
    risk = {"grade": "medium", "assessed_at": NOW}
    assert start("MISSING", CSC, case={"missing_event": "open"}, risk=risk) == []


def test_the_break_glass_review_is_due_by_local_policy() -> None:
    directory = make_directory()
    setting = directory.local_policy["clocks"]["break_glass_review"]
    assert find_due(setting, NOW, directory) == datetime(2026, 11, 23, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("grade", "due"),
    [
        ("high", datetime(2026, 11, 20, 17, tzinfo=UTC)),
        ("medium", datetime(2026, 11, 20, 20, tzinfo=UTC)),
        ("low", datetime(2026, 11, 23, 17, tzinfo=UTC)),
        ("unheard-of", datetime(2026, 11, 23, 17, tzinfo=UTC)),
    ],
)
def test_the_human_queue_limit_goes_by_grade(grade: str, due: datetime) -> None:
    directory = make_directory()
    assert find_due(directory.local_policy["human_queue_limit"], NOW, directory, grade=grade) == due


def test_a_month_without_that_day_is_clipped() -> None:
    directory = make_directory()
    discovered = datetime(2027, 1, 31, 9, tzinfo=UTC)
    setting = directory.local_policy["clocks"]["fgm_report"]
    assert find_due(setting, discovered, directory) == datetime(2027, 2, 28, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "line",
    [
        {"clock": "x"},
        {"clock": "x", "kinds": "any", "starts": "whenever"},
        {"clock": "x", "kinds": "any", "starts": "received", "due": "soon"},
    ],
)
def test_a_clock_rule_that_names_nothing_known_is_refused(line: dict[str, str]) -> None:
    with pytest.raises(ConfigInvalid):
        parse_clock_rules({"clocks": [line]})
