"""Every ``safelane`` line that a document tells people to type exists, with its options."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.command_lines import find_command_lines, find_fault

ROOT = Path(__file__).parents[3]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
    ROOT / "deploy" / "postgres" / "roles.sql",
]
LINES = [(path, line) for path in DOCUMENTS for line in find_command_lines(path.read_text())]


@pytest.mark.parametrize(("path", "line"), LINES, ids=[f"{p.name}: {line}" for p, line in LINES])
def test_documented_command_exists(path: Path, line: str) -> None:
    assert find_fault(line) is None


def test_runbook_is_searched() -> None:
    assert sum(path.name == "runbook.md" for path, _ in LINES) > 20


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("safelane hub status --config hub.yaml", None),
        ("safelane hub statos", "no command statos"),
        ("safelane hub status --configg x", "no option --configg"),
        ("safelane demo --check", None),
    ],
)
def test_faults_are_found(line: str, fault: str | None) -> None:
    assert find_fault(line) == fault


TARGETS = dict(re.findall(r"^([a-z]+):.*?## (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
MADE = {
    (path, name) for path in DOCUMENTS for name in re.findall(r"(?:`|^)make ([a-z]+)", path.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize(("path", "name"), sorted(MADE), ids=lambda part: getattr(part, "name", part))
def test_documented_target_exists(path: Path, name: str) -> None:
    assert name in TARGETS


def test_help_lists_every_target_with_its_whole_description() -> None:
    shown = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True
    ).stdout
    assert dict(line.split(maxsplit=1) for line in shown.splitlines()) == TARGETS
