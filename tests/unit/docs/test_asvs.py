"""Every test that docs/asvs.md names is there, and so is every file."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "asvs.md").read_text()


def test_every_named_test_exists() -> None:
    named = set(re.findall(r"`(test_\w+\.py)`", TEXT))
    existing = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert len(named) > 10
    assert named - existing == set()


def test_every_named_module_exists() -> None:
    named = set(re.findall(r"`([\w/]+\.(?:py|html))`", TEXT)) - set(re.findall(r"`(test_\w+\.py)`", TEXT))
    console = ROOT / "broker" / "console"
    places = (console, console / "templates", ROOT)
    assert len(named) > 10
    missing = [name for name in named if not any((place / name).exists() for place in places)]
    assert missing == []
