"""The samples, mapped and decided: every delivery and clock is as ``expected.yaml`` says (read as FORMATS CH-1 to CH-28 say)."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.mapping import MappingContext, default_mappings, draft_header, read_records, recognise_mapping
from broker.decisions import DecisionEngine
from broker.decisions.clocks import Clock
from schemas.decision import Decision
from schemas.header import RoutingHeader
from schemas.plain_yaml import read_yaml
from tests.contract.test_decision_cases import SAMPLES, make_directory
from tests.support.decisions import default_pack
from tests.support.sample_files import load_expected
from tests.support.transform_samples import transform_tree

EXPECTED = load_expected()
REFERRALS = EXPECTED["referrals"]


@pytest.fixture(scope="module")
def engine() -> DecisionEngine:
    return DecisionEngine(default_pack(), make_directory())


def decide_folder(samples: Path) -> list[tuple[str, object, object]]:
    """Return (referral, wanted, found) for every referral of a sample folder whose decisions or clocks differ."""
    engine = DecisionEngine(default_pack(), make_directory(samples))
    differing: list[tuple[str, object, object]] = []
    for expected in read_yaml((samples / "expected.yaml").read_text(encoding="utf-8"))["referrals"]:
        decisions, clocks = decide(expected, engine, samples)
        found = ([describe(d) for d in decisions], sorted(map(describe_clock, clocks), key=str))
        wanted = (want_decisions(expected), sorted(want_clocks(expected), key=str))
        if found != wanted:
            differing.append((name_referral(expected), wanted, found))
    return differing


def read_header(path: Path, record: int, received_at: datetime, engine: DecisionEngine) -> tuple[str, RoutingHeader]:
    data = path.read_bytes()
    mapping = recognise_mapping(path.name, data, default_mappings())
    outcome = read_records(data, mapping, MappingContext(engine.directory, None, received_at))[record - 1]
    assert outcome.referral is not None, outcome.error
    referral = outcome.referral
    ids = {s.ref: f"subject-{n:014}" for n, s in enumerate(referral.subjects)}
    return referral.sender, draft_header(referral, engine.directory, ids, b"pepper")


def decide(
    expected: Mapping[str, Any], engine: DecisionEngine, samples: Path = SAMPLES
) -> tuple[list[Decision], list[Clock]]:
    received_at = datetime.fromisoformat(expected["received_at"])
    sender, header = read_header(samples / expected["file"], expected["record"], received_at, engine)
    decisions = engine.decide_all(header, sender=sender, now=received_at)
    return decisions, engine.start_clocks(header, decisions, received_at)


def describe(decision: Decision) -> dict[str, Any]:
    found: dict[str, Any] = {
        "recipient": decision.recipient,
        "role": decision.role,
        "purpose": decision.purpose,
        "outcome": decision.outcome.value,
        "row": decision.row,
        "compartments": {c.value: [d.result.value, d.row] for c, d in decision.compartments.items()},
    }
    extras = {
        "deliver_to": decision.deliver_to,
        "queue": decision.queue,
        "agreement": decision.agreement,
        "alerts": list(decision.alerts),
        "emits": list(decision.emits),
        "retrospective_review": decision.retrospective_review,
    }
    return {**found, **{name: value for name, value in extras.items() if value}}


def describe_clock(clock: Clock) -> dict[str, Any]:
    return {
        "clock": clock.clock,
        "starts_at": clock.starts_at,
        "due_at": clock.due_at,
        "extendable_to": clock.extendable_to,
    }


def want_decisions(expected: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{k: v for k, v in one.items() if k != "because"} for one in expected["decisions"]]


def want_clocks(expected: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "clock": one["clock"],
            "starts_at": datetime.fromisoformat(one["starts_at"]),
            "due_at": datetime.fromisoformat(one["due_at"]),
            "extendable_to": datetime.fromisoformat(one["extendable_to"]) if "extendable_to" in one else None,
        }
        for one in expected["clocks"]
    ]


def name_referral(expected: Mapping[str, Any]) -> str:
    return f"{expected['file']}#{expected['record']}"


@pytest.mark.parametrize("expected", REFERRALS, ids=name_referral)
def test_deliveries_are_decided_as_expected(engine: DecisionEngine, expected: Mapping[str, Any]) -> None:
    decisions, _ = decide(expected, engine)
    assert [describe(d) for d in decisions] == want_decisions(expected)


@pytest.mark.parametrize("expected", REFERRALS, ids=name_referral)
def test_clocks_start_and_fall_due_as_expected(engine: DecisionEngine, expected: Mapping[str, Any]) -> None:
    _, clocks = decide(expected, engine)
    assert sorted(map(describe_clock, clocks), key=str) == sorted(want_clocks(expected), key=str)


def test_other_agencies_schools_and_dates_are_decided_alike(tmp_path: Path) -> None:
    transform_tree(SAMPLES, tmp_path / "samples")
    assert decide_folder(tmp_path / "samples") == []


def test_a_school_gets_sections_about_its_own_child_only(engine: DecisionEngine) -> None:
    siblings = next(r for r in REFERRALS if r["file"].endswith("s47-siblings.json"))
    received_at = datetime.fromisoformat(siblings["received_at"])
    sender, header = read_header(SAMPLES / siblings["file"], 1, received_at, engine)
    decisions = {d.recipient: d for d in engine.decide_all(header, sender=sender, now=received_at)}
    own = {r.subject_id for r in header.routing if "school.oakfield" in r.tied_agencies}
    assert set(decisions["school.oakfield"].subjects) == own
    assert set(decisions["csc.marchshire"].subjects) == {s.subject_id for s in header.subjects}
