"""The command line: every command has help and an example, and help needs no server and little time."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from deploy.cli import GROUPS, SINGLE_COMMANDS, app
from deploy.cli.passphrases import read_passphrases
from schemas.errors import ConfigInvalid

ROOT = Path(__file__).parents[4]
OURS = ("hub", "authority", "quarantine", "audit")


@cache
def commands() -> list[tuple[str, Any]]:
    root = typer.main.get_command(app)
    found = []
    for group in OURS:
        command = root.get_command(None, group)  # type: ignore[attr-defined]
        found += [(f"{group} {name}", sub) for name, sub in command.commands.items()]
    return found


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_every_command_has_help_and_an_example(name: str, command: Any) -> None:
    assert command.help
    assert command.epilog
    assert command.epilog.startswith(f"Example: safelane {name}")
    for parameter in command.params:
        if parameter.name != "help":
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_top_level_help_lists_groups_without_importing_servers() -> None:
    code = (
        "import sys\nfrom deploy.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'asyncpg', 'aiormq', 'cedarpy', 'uvicorn', 'fastapi', 'cryptography'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    for group in OURS:
        assert group in done.stdout


def test_unknown_commands_are_wrong_usage() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "nonsense"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert {"hub", "authority"} <= set(GROUPS)
    assert {"demo", "up", "down", "verify"} <= set(SINGLE_COMMANDS)


def test_an_error_is_one_readable_line_and_an_exit_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "verify", str(tmp_path / "none.json")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "config-invalid (source)" in done.stderr
    assert "Traceback" not in done.stderr


def test_passphrases_come_from_private_files_only(tmp_path: Path) -> None:
    path = tmp_path / "ann.pw"
    path.write_text("a passphrase of ann\n")
    path.chmod(0o644)
    with pytest.raises(ConfigInvalid, match="chmod"):
        read_passphrases(["ann"], [f"ann={path}"])
    path.chmod(0o600)
    assert read_passphrases(["ann"], [f"ann={path}"]) == {"ann": "a passphrase of ann"}
    for files in ([f"zoe={path}"], ["ann"], [f"ann={tmp_path / 'none'}"]):
        with pytest.raises(ConfigInvalid):
            read_passphrases(["ann"], files)
