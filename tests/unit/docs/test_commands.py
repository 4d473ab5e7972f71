"""Every ``safelane`` line that a document tells people to type exists, with its options."""

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
