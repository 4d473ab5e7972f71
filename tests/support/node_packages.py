"""What tests take from npm (tests/browser/package.json): fetched once below var/, by the Node.js of the wheel."""

import fcntl
import hashlib
import shutil
from pathlib import Path

from deploy.console_assets import install_packages

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "tests" / "browser"
FOLDER = ROOT / "var" / "test-npm"


def find_packages() -> Path:
    """Return the folder ``node_modules`` with what the tests' lock file pins."""
    wanted = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()
    stamp = FOLDER / "installed.sha256"
    FOLDER.parent.mkdir(exist_ok=True)
    with (FOLDER.parent / "test-npm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(FOLDER, ignore_errors=True)
            install_packages(SOURCE, FOLDER)
            stamp.write_text(wanted)
    return FOLDER / "node_modules"
