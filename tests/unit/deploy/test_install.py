"""Installing RabbitMQ: only as root on a Debian-like system, never leaving the machine's own service started."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.cli import report_error
from deploy.local import install
from deploy.local.program_missing import ProgramMissing
from schemas.errors import DependencyUnavailable


class Machine:
    """A machine without RabbitMQ, whose apt-get works after ``failures`` failed installations."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, *, root: bool = True, failures: int = 0) -> None:
        self.calls: list[str] = []
        self.policy = folder / "policy-rc.d"
        self.policy_seen: list[bool] = []
        self.failures = failures
        self.installed = False
        monkeypatch.setattr(install, "find_server", self._find)
        monkeypatch.setattr(install, "_POLICY", self.policy)
        monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
        monkeypatch.setattr(install.shutil, "which", lambda name: f"/usr/bin/{name}")
        monkeypatch.setattr(install.subprocess, "run", self._run)

    def _find(self) -> Path:
        if not self.installed:
            raise ProgramMissing("RabbitMQ is not installed", field="rabbitmq")
        return Path("/server")

    def _run(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        self.calls.append(" ".join(part for part in command if not part.startswith("-")))
        self.policy_seen.append(self.policy.exists() and self.policy.read_text().endswith("exit 101\n"))
        failed = "install" in command and self.failures > 0
        self.failures -= "install" in command
        self.installed = self.installed or ("install" in command and not failed)
        return subprocess.CompletedProcess(command, 100 if failed else 0)


def test_missing_server_is_installed_with_services_kept_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = Machine(monkeypatch, tmp_path)
    told: list[str] = []
    install.ensure_rabbitmq(told.append)
    assert machine.calls == ["apt-get install rabbitmq-server"]
    assert machine.policy_seen == [True]
    assert not machine.policy.exists()
    assert told == ["Installing rabbitmq-server (once)"]
    install.ensure_rabbitmq(told.append)
    assert len(machine.calls) == 1


def test_old_package_lists_are_refreshed_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(monkeypatch, tmp_path, failures=1)
    install.ensure_rabbitmq(lambda _: None)
    assert machine.calls == ["apt-get install rabbitmq-server", "apt-get update", "apt-get install rabbitmq-server"]


def test_failing_package_manager_is_reported_and_its_policy_put_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = Machine(monkeypatch, tmp_path, failures=9)
    with pytest.raises(DependencyUnavailable):
        install.ensure_rabbitmq(lambda _: None)
    assert not machine.policy.exists()


def test_a_policy_that_is_there_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(monkeypatch, tmp_path)
    machine.policy.write_text("#!/bin/sh\nexit 0\n")
    install.ensure_rabbitmq(lambda _: None)
    assert machine.policy.read_text() == "#!/bin/sh\nexit 0\n"


def test_ordinary_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(monkeypatch, tmp_path, root=False)
    with pytest.raises(ProgramMissing, match="not installed"):
        install.ensure_rabbitmq(lambda _: None)
    assert machine.calls == []


def test_all_that_is_missing_is_said_at_once_on_a_line_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(monkeypatch, tmp_path, root=False)
    monkeypatch.setattr(install.shutil, "which", lambda _name: None)
    assert install.main() == 1
    told = capsys.readouterr()
    assert [line.partition(",")[0].partition(" is ")[0] for line in told.err.splitlines()] == ["RabbitMQ", "Chromium"]
    assert (machine.calls, told.out) == ([], "")


def test_a_command_that_lacks_a_program_says_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_error(ProgramMissing("RabbitMQ is not installed. Run: sudo apt-get", field="rabbitmq")) == 1
    assert capsys.readouterr().err.splitlines() == ["RabbitMQ is not installed. Run: sudo apt-get"]
