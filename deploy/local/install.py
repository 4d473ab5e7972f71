"""Installing RabbitMQ from Debian or Ubuntu when it is missing, without leaving the machine's own service started."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.rabbitmq import find_server
from schemas.errors import ConfigInvalid, DependencyUnavailable

_POLICY = Path("/usr/sbin/policy-rc.d")
_LIMIT_SECONDS = 600


def ensure_rabbitmq(on_progress: Callable[[str], None]) -> None:
    """Return when RabbitMQ's server is installed; install it when we are root on a Debian-like system.

    Raises:
        ConfigInvalid: it is missing and we may not install it; the message says what to do.
        DependencyUnavailable: the package manager failed.
    """
    try:
        find_server()
    except ConfigInvalid:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise
        on_progress("Installing rabbitmq-server (once)")
        with _services_kept_stopped():
            if not _install():
                _run_apt("update")
                if not _install():
                    raise DependencyUnavailable("apt-get could not install rabbitmq-server", field="rabbitmq") from None
        find_server()


def _install() -> bool:
    return _run_apt("install", "--yes", "--no-install-recommends", "rabbitmq-server")


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
