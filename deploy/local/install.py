"""Installing RabbitMQ, and for tests a browser and Go, from Debian or Ubuntu when they are missing, without leaving a service of the machine's own started."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.local.program_missing import ProgramMissing
from deploy.local.rabbitmq import find_server
from schemas.errors import DependencyUnavailable, SafelaneError

_POLICY = Path("/usr/sbin/policy-rc.d")
_LIMIT_SECONDS = 600


def ensure_rabbitmq(on_progress: Callable[[str], None]) -> None:
    """Return when RabbitMQ's server is installed; install it when we are root on a Debian-like system.

    Raises:
        ProgramMissing: it is missing and we may not install it; the message says what to do.
        DependencyUnavailable: the package manager failed.
    """
    try:
        find_server()
    except ProgramMissing:
        if not may_install():
            raise
        install_packages(("rabbitmq-server",), on_progress)
        find_server()


def ensure_browser(on_progress: Callable[[str], None]) -> Path:
    """Return the distribution's Chromium; install it when we are root on a Debian-like system.

    Raises:
        ProgramMissing: it is missing and we may not install it; the message says what to do.
        DependencyUnavailable: the package manager failed.
    """
    found = _find_browser()
    if found is None and may_install():
        install_packages(("chromium",), on_progress)
        found = _find_browser()
    if found is None:
        raise ProgramMissing(
            "Chromium, which the browser tests use, is not installed. On Debian or Ubuntu: sudo apt-get install chromium",
            field="browser",
        )
    return found


def _find_browser() -> Path | None:
    found = shutil.which("chromium")
    return Path(found) if found else None


def may_install() -> bool:
    """Tell whether we are root on a Debian-like system."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install_packages(names: Sequence[str], on_progress: Callable[[str], None]) -> None:
    """Install packages of the distribution, with fresh lists if the known ones are too old; no service is started.

    Raises:
        DependencyUnavailable: the package manager failed.
    """
    listed = ", ".join(names)
    on_progress(f"Installing {listed} (once)")
    command = ("install", "--yes", "--no-install-recommends", *names)
    with _services_kept_stopped():
        if not _run_apt(*command):
            _run_apt("update")
            if not _run_apt(*command):
                raise DependencyUnavailable(f"apt-get could not install {listed}", field=names[0])


def _run_apt(*arguments: str) -> bool:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        ["apt-get", "-q", *arguments], env=environment, capture_output=True, timeout=_LIMIT_SECONDS, check=False
    )
    return done.returncode == 0


@contextmanager
def _services_kept_stopped() -> Iterator[None]:
    """Forbid package scripts to start services meanwhile (Debian's invoke-rc.d(8) asks ``policy-rc.d``; 101 means no)."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def main() -> int:
    """Install RabbitMQ and a browser, or say on a line each what is missing and how to get it; return the exit code."""
    failed = False
    for ensure in (ensure_rabbitmq, ensure_browser):
        try:
            ensure(print)
        except SafelaneError as error:
            print(error.detail, file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
