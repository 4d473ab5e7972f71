"""Every test that docs/promises.md names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_named_test_exists() -> None:
    named = re.findall(r"`(?:tests/)?(?:[\w]+/)*(test_\w+\.py)`", (ROOT / "docs" / "promises.md").read_text())
    existing = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert len(named) > 15
    assert set(named) - existing == set()
