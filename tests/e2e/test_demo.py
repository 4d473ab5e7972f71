"""``safelane demo --check`` as anyone runs it, on a part of another county's samples: other agencies, other schools, other dates."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from deploy.local.local_partnership import LocalPartnership
from deploy.local.sample_set import BUNDLED, EXPECTED_FILE, PARTNERSHIP_FILE
from tests.support.transform_samples import transform_tree

ROOT = Path(__file__).parents[2]
GOOD = ("police-ppn-json/ppn-0041877-s47-siblings.json", "police-encompass-csv/encompass-20261122.csv")
BAD = ("bad/encompass-second-row-bad.csv",)
SECONDS = 150
"""On two idle cores it takes a fifth of this."""


def write_samples(folder: Path) -> Path:
    """Write the transformed samples with the chosen documents alone, and return the folder."""
    transform_tree(BUNDLED, folder)
    expected = yaml.safe_load((folder / EXPECTED_FILE).read_text(encoding="utf-8"))
    kept = {name: [entry for entry in expected[name] if entry["file"] in GOOD] for name in ("files", "referrals")}
    kept["bad"] = [entry for entry in expected["bad"] if entry["file"] in BAD]
    assert {entry["file"] for entry in kept["files"]} == set(GOOD)
    (folder / EXPECTED_FILE).write_text(yaml.safe_dump(kept, allow_unicode=True), encoding="utf-8")
    return folder


@pytest.fixture
def root() -> Iterator[Path]:
    # PostgreSQL's account must reach its folder: not below pytest's private one.
    folder = ROOT / "var" / "test" / f"demo_{os.getpid()}"
    yield folder
    partnership = LocalPartnership(folder / "run", BUNDLED / PARTNERSHIP_FILE, folder / "received")
    partnership.stop()
    partnership.stack.destroy()
    shutil.rmtree(folder, ignore_errors=True)


def run_demo(samples: Path, root: Path) -> tuple[int, str]:
    """Run the command and return its exit code and output; interrupt it, so that it stops its servers, when it takes too long."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", "demo", "--check", "--samples", str(samples), "--root", str(root)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        pytest.fail(f"not done in {SECONDS} s: {output[-4000:]}")
    return process.returncode, output


@pytest.mark.timeout(SECONDS + 120)
def test_the_demonstration_meets_what_is_expected_of_another_county(root: Path, tmp_path: Path) -> None:
    samples = write_samples(tmp_path / "samples")
    code, output = run_demo(samples, root)
    assert code == 0, output[-8000:]
    report = json.loads((root / "check.json").read_text(encoding="utf-8"))
    assert report["differences"] == []
    expected = yaml.safe_load((samples / EXPECTED_FILE).read_text(encoding="utf-8"))
    assert report["records"] == report["agreeing"] == len(expected["referrals"]) + len(expected["bad"])
    received = {path.name for path in (root / "received").iterdir() if any(path.rglob("referral.json"))}
    assert "csc.xerihshcram" in received
    assert "marchshire" not in "".join(received)
    assert list((root / "received").rglob("referral.pdf"))
    assert "0 found" in output
