"""A local pack may restrict, and relax only what is marked as local choice: proved on decisions, and refused otherwise."""

from pathlib import Path
from random import Random

import pytest
import yaml

from broker.decisions import DecisionEngine, PolicyPack
from broker.decisions.cases import check_cases, load_cases
from broker.decisions.layering import layer_pack
from broker.decisions.simulate import simulate
from deploy.policy_rehearsal import record_cases
from schemas.errors import ConfigInvalid
from tests.support.decisions import SAMPLES, decide_drawn, default_pack, is_no_wider, make_directory, make_engine
from tests.support.random_headers import draw

CASES = load_cases(SAMPLES / "decision-cases.yaml")
NO_GP_VOICE = """
@id("local-no-history-to-schools") @row("D0") @step("300")
@reason("Marchshire sends schools no history.") @authority("Marchshire partnership board")
forbid (principal == Role::"dsl", action in Action::"disclose", resource is Compartment) when { resource.code == "C16" };
"""


def write_local(folder: Path, policies: str = "", **members: object) -> Path:
    (folder / "local.yaml").write_text(yaml.safe_dump({"id": "marchshire", **members}), encoding="utf-8")
    if policies:
        (folder / "local.cedar").write_text(policies, encoding="utf-8")
    return folder


def layer(folder: Path, policies: str = "", **members: object) -> PolicyPack:
    return layer_pack(default_pack(), write_local(folder, policies, **members))


def test_a_local_forbid_restricts_and_never_widens(tmp_path: Path) -> None:
    national, local = make_engine(), DecisionEngine(layer(tmp_path, NO_GP_VOICE), make_directory())
    random = Random(5)  # noqa: S311 - generated cases
    for drawn in [draw(random, national.directory) for _ in range(160)]:
        if drawn.header.deliveries[0].role != "dsl" and random.random() < 0.7:
            continue  # of those that the local policy does not speak of, some are enough
        assert is_no_wider(decide_drawn(local, drawn), decide_drawn(national, drawn))
    changed = [r.case.id for r in check_cases(local, CASES) if r.differences]
    assert changed == ["DC-004"]


def test_a_narrower_cell_restricts(tmp_path: Path) -> None:
    pack = layer(tmp_path, cells=[{"kind": "CP_S47", "role": "gp", "compartment": "C03", "cell": "-"}])
    results = check_cases(DecisionEngine(pack, make_directory()), CASES)
    assert [(r.case.id, r.differences) for r in results if r.differences] == [
        ("DC-003", (("compartments.C03", ("summary", "D3"), ("withheld", "D0")),))
    ]


def test_a_local_choice_may_be_relaxed_as_far_as_it_is_marked(tmp_path: Path) -> None:
    cell = {"kind": "ENCOMPASS", "role": "dsl", "compartment": "C02"}
    pack = layer(tmp_path, cells=[{**cell, "cell": "S"}])
    results = check_cases(DecisionEngine(pack, make_directory()), CASES)
    assert [r.case.id for r in results if r.differences] == ["DC-005"]
    with pytest.raises(ConfigInvalid):
        layer(tmp_path, cells=[{**cell, "cell": "F"}])


def test_more_approvers_may_be_asked_for_but_not_fewer(tmp_path: Path) -> None:
    pack = layer(tmp_path, approvers_needed={"C12": 2})
    assert pack.approvers_needed("C12", {}) == 2
    with pytest.raises(ConfigInvalid):
        layer(tmp_path, approvers_needed={"C12": 0})


def test_a_permit_may_be_dropped(tmp_path: Path) -> None:
    engine = DecisionEngine(layer(tmp_path, drop=["outside-token"]), make_directory())
    assert not [r for r in check_cases(engine, CASES) if r.differences]


@pytest.mark.parametrize(
    "members",
    [
        {"cells": [{"kind": "CP_S47", "role": "gp", "compartment": "C06", "cell": "F"}]},
        {
            "cells": [{"kind": "CIN_S17", "role": "csc", "compartment": "C04", "cell": "A"}]
        },  # approved, it would be wider than a summary
        {"cells": [{"kind": "EXPLOITATION", "role": "gp", "compartment": "C01", "cell": "P"}]},
        {"cells": [{"kind": "CP_S47", "role": "gp", "compartment": "C01", "cell": "Z"}]},
        {"cells": [{"kind": "CP_S47"}]},
        {"drop": ["conflict"]},
        {"drop": ["nothing-matches"]},
        {"drop": ["note-break-glass-used"]},
        {"drop": ["no-such-policy"]},
        {"purposes": {}},
    ],
)
def test_what_is_more_than_restricting_is_refused(tmp_path: Path, members: dict[str, object]) -> None:
    with pytest.raises(ConfigInvalid):
        layer(tmp_path, **members)


@pytest.mark.parametrize(
    "change",
    [
        ("forbid (", "permit ("),
        ('Action::"disclose"', 'Action::"note"'),
        ('@step("300")', '@step("5")'),
        ("local-no-history-to-schools", "conflict"),
        ('@reason("Marchshire sends schools no history.")', ""),
        ("resource.code", "resource.colour"),
    ],
)
def test_a_local_policy_that_is_not_a_late_forbid_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    text = NO_GP_VOICE.replace(*change).replace('action in Action::"note"', 'action == Action::"note"')
    with pytest.raises(ConfigInvalid):
        layer(tmp_path, text)


def test_the_digest_names_both_packs(tmp_path: Path) -> None:
    pack = layer(tmp_path, NO_GP_VOICE)
    assert pack.digest != default_pack().digest
    assert pack.id == "england-2026-09+marchshire"


def test_a_rehearsal_says_what_would_change_and_whether_it_widens(tmp_path: Path) -> None:
    now, narrow = make_engine(), DecisionEngine(layer(tmp_path, NO_GP_VOICE), make_directory())
    changes = simulate(record_cases(CASES, now, narrow), now, narrow)
    assert [(c.name, c.widens) for c in changes] == [("DC-004", False)]
    assert "C16: pointer (D3) → withheld (D0)" in changes[0].differences
    few = CASES[:8]
    back = simulate(record_cases(few, narrow, now), narrow, now)
    assert [(c.name, c.widens) for c in back] == [("DC-004", True)]
    assert not simulate(record_cases(few, now, now), now, now)
