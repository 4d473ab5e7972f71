"""The Go program of ``tests/go``: built with the distribution's Go and its copy of golang.org/x/mod, without a network.

Go is installed where we may do so. Elsewhere a test is skipped with one line that says what is missing; in continuous integration it fails.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.local.install import install_packages, may_install
from schemas.errors import DependencyUnavailable

PACKAGES: Final = ("golang-go", "golang-golang-x-mod-dev")
SOURCES: Final = Path("/usr/share/gocode")
"""Where Debian and Ubuntu keep the sources of Go libraries."""
_PROGRAM: Final = Path(__file__).parents[1] / "go" / "verifylog"
_BUILD_SECONDS: Final = 300


class GoMissing(DependencyUnavailable):
    """Go or the library is not on this machine, and we may not install it."""


def ensure_go(on_progress: Callable[[str], None]) -> None:
    """Return when Go and the library are there.

    Raises:
        GoMissing: they are not, and we may not install them.
        DependencyUnavailable: the package manager failed.
    """
    if shutil.which("go") and (SOURCES / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        return
    if not may_install():
        raise GoMissing(f"missing: apt-get install {' '.join(PACKAGES)}", field="go")
    install_packages(PACKAGES, on_progress)


def build_verifier(folder: Path) -> Path:
    """Build ``verifylog`` into ``folder`` and return it. The compiler's cache is kept below ``var``."""
    program = folder / "verifylog"
    settings = {
        "GO111MODULE": "off",
        "GOPATH": str(SOURCES),
        "GOFLAGS": "",
        "GOPROXY": "off",
        "GOCACHE": str(Path("var/test/go-cache").resolve()),
    }
    done = subprocess.run(
        ["go", "build", "-o", str(program), "."],
        cwd=_PROGRAM,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return program


def prepare(on_progress: Callable[[str], None]) -> None:
    """Install Go before the tests' own time runs; where that is not allowed, say so and go on."""
    try:
        ensure_go(on_progress)
    except GoMissing as missing:
        on_progress(f"Without Go ({missing}): the log is not verified by another implementation.")


if __name__ == "__main__":
    prepare(print)
