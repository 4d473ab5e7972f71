"""Starting a server so that it outlives us, finding it again, and ending it by its own process id.

A pid file holds the pid and the kernel's start time of the process, so that a stale file never names a stranger (proc(5), field 22).
"""

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deploy.local.files import write_secret
from schemas.errors import DependencyUnavailable


class StartFailed(DependencyUnavailable):
    """A server of the embedded stack did not start."""

    code = "start-failed"
    public_message = "A server did not start. Its log says why."


class ServerProcess:
    """One server with its pid file and log."""

    def __init__(self, name: str, *, pid_file: Path, log_file: Path) -> None:
        """Name the server; nothing is started."""
        self.name = name
        self.log_file = log_file
        self._pid_file = pid_file
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs, else ``None``; also for a process that an earlier run started."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        try:
            pid_text, started = self._pid_file.read_text().split()
        except (OSError, ValueError):
            return None
        pid = int(pid_text)
        return pid if _start_time(pid) == started else None

    def launch(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        account: pwd.struct_passwd | None = None,
    ) -> None:
        """Start ``command`` in a session of its own (it gets no signal from our terminal), as ``account`` when given."""
        if self.pid is not None:
            return
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._child = subprocess.Popen(
                list(command),
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=None if account is None else account.pw_uid,
                group=None if account is None else account.pw_gid,
                extra_groups=None if account is None else [],
            )
        write_secret(self._pid_file, f"{self._child.pid} {_start_time(self._child.pid)}")

    def await_ready(self, is_ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until ``is_ready``; raise ``StartFailed`` when the process ends or ``seconds`` pass."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            if self.pid is None:
                raise StartFailed(f"{self.name} ended while starting; see {self.log_file.name}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{self.name} was not ready in {seconds:.0f} seconds; see {self.log_file.name}")
            time.sleep(0.05)

    def end(self, *, sign: signal.Signals = signal.SIGTERM, seconds: float = 20.0) -> None:
        """Send ``sign``, wait, and kill when it has not ended after ``seconds``; a process that is not there is no error."""
        pid = self.pid
        if pid is not None:
            self._send(pid, sign)
            if not self._await_end(seconds):
                self._send(pid, signal.SIGKILL)
                self._await_end(5.0)
        self._pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """Kill at once, as a power cut would."""
        self.end(sign=signal.SIGKILL, seconds=5.0)

    def _await_end(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.pid is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    @staticmethod
    def _send(pid: int, sign: signal.Signals) -> None:
        """Signal the server; a kill is for its whole session, as what it has just started would outlive it and hold its ports."""
        try:
            if sign is signal.SIGKILL:
                os.killpg(pid, sign)
            else:
                os.kill(pid, sign)
        except ProcessLookupError:
            return


def _start_time(pid: int) -> str | None:
    """Return when the kernel started ``pid``, or ``None`` when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold blanks
    return None if fields[0] == "Z" else fields[19]


def find_free_port() -> int:
    """Return a loopback TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts_connections(port: int) -> bool:
    """Return whether something listens on loopback ``port``."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return True
    except OSError:
        return False
