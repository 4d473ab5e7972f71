"""``safelane policy``: cases checked with exit codes, decisions told in sentences, packs rehearsed; all without a server."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from broker.decisions.cases import check_cases, load_cases
from deploy.cli.policy import app
from schemas.plain_yaml import read_yaml
from tests.support.decisions import SAMPLES, make_engine

CASES = SAMPLES / "decision-cases.yaml"
RUN = CliRunner()


def keep_cases(path: Path, count: int, **compartments: list[str]) -> Path:
    """Write the first ``count`` of the shared cases; the first one expects ``compartments``."""
    data = read_yaml(CASES.read_text(encoding="utf-8"))
    data["cases"] = data["cases"][:count]
    data["cases"][0]["expect"]["compartments"] |= compartments
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


@pytest.fixture
def differing(tmp_path: Path) -> Path:
    return keep_cases(tmp_path / "own-cases.yaml", 2, C12=["full", "D3"])


def test_check_agrees_with_the_shared_cases() -> None:
    result = RUN.invoke(app, ["check", str(CASES)])
    assert result.exit_code == 0
    assert "68 of 68 cases as expected" in result.output


def test_check_prints_each_difference_with_its_explanation_and_fails(differing: Path) -> None:
    result = RUN.invoke(app, ["check", str(differing)])
    assert result.exit_code == 1
    assert "compartments.C12: expected full D3, found held D1" in result.output
    assert "a named approver decides" in result.output
    assert "1 of 2 cases as expected" in result.output


def test_check_writes_json(differing: Path) -> None:
    result = RUN.invoke(app, ["check", str(differing), "--json"])
    assert result.exit_code == 1
    told = json.loads(result.output)
    assert (told["cases"], told["differing"]) == (2, 1)
    assert told["results"][0]["differences"] == [
        {"what": "compartments.C12", "expected": ["full", "D3"], "found": ["held", "D1"]}
    ]


def test_check_names_a_file_that_is_not_cases(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("- 1", encoding="utf-8")
    result = RUN.invoke(app, ["check", str(path)])
    assert result.exit_code == 1
    assert result.exception is not None
    assert "other.yaml" in str(result.exception)


def test_explain_tells_a_record_in_sentences(tmp_path: Path) -> None:
    engine = make_engine()
    chosen = [c for c in load_cases(CASES) if c.id in {"DC-016", "DC-048", "DC-053"}]
    records = [r.decision.to_json() for r in check_cases(engine, chosen)]
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"decisions": records}), encoding="utf-8")
    result = RUN.invoke(app, ["explain", str(path)])
    assert result.exit_code == 0
    assert "consent was withdrawn" in result.output
    assert "A retrospective review is open." in result.output
    assert "It goes to this contact only: school.oakfield#deputy-dsl." in result.output
    assert "Authority: UK GDPR Art 7(3)." in result.output


def test_simulate_says_what_would_change(tmp_path: Path) -> None:
    cell = {"kind": "CP_S47", "role": "gp", "compartment": "C03", "cell": "P"}
    (tmp_path / "local.yaml").write_text(yaml.safe_dump({"id": "trial", "cells": [cell]}), encoding="utf-8")
    result = RUN.invoke(app, ["simulate", str(CASES), "--local", str(tmp_path)])
    assert result.exit_code == 0
    assert "C03: summary (D3) → pointer (D3)" in result.output
    assert "68 decisions replayed: 1 would change, 0 of them wider." in result.output
    few = keep_cases(tmp_path / "few.yaml", 4)
    back = RUN.invoke(app, ["simulate", str(few), "--now-local", str(tmp_path), "--json"])
    assert json.loads(back.output)["changed"][0]["widens"] is True


def test_show_lists_rules_and_what_to_confirm() -> None:
    result = RUN.invoke(app, ["show"])
    assert result.exit_code == 0
    assert "statutory-duty" in result.output
    assert "Commencement of section 16LA" in result.output
