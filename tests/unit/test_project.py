"""The project's own promises: dependencies explained and locked."""

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = [
    re.split(r"[<>=!~\[; ]", line)[0] for line in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"])
]
LOCK = (ROOT / "requirements.lock").read_text()


def normalise(name: str) -> str:
    """Package names compare by PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", DECLARED)
def test_dependency_has_a_reason(name: str) -> None:
    rows = re.findall(r"^\| (\S+) \| (.+) \|$", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE)
    reasons = {normalise(package): reason for package, reason in rows}
    assert len(reasons.get(normalise(name), "")) > 10


def test_no_reason_without_a_dependency() -> None:
    explained = re.findall(r"^\| ([A-Za-z0-9_-]+) \| ", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE)
    assert {normalise(n) for n in explained} - {"package", "program"} - {normalise(n) for n in DECLARED} == {
        "rabbitmq-server",
        "govuk-frontend",
        "chromium",
        "golang-go",
        "golang-golang-x-mod-dev",
    }


@pytest.mark.parametrize("name", DECLARED)
def test_dependency_is_locked_with_hashes(name: str) -> None:
    pinned = re.findall(r"^([A-Za-z0-9_.-]+)==\S+.*\\\n    --hash=sha256:[0-9a-f]{64}", LOCK, re.MULTILINE)
    assert normalise(name) in {normalise(package) for package in pinned}


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/**/package-lock.json")), ids=lambda path: path.parent.name)
def test_npm_lock_pins_by_digest_and_names_no_registry(path: Path) -> None:
    packages = {name: entry for name, entry in json.loads(path.read_text())["packages"].items() if name}
    assert packages
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert "resolved" not in path.read_text()
    assert "registry" not in path.read_text()


def test_lock_names_no_index_and_no_machine() -> None:
    assert not re.search(r"https?://|^-|/(?:home|root|work|tmp)/", LOCK, re.MULTILINE)
