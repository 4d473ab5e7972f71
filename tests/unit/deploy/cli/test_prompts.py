"""What must not be seen is asked for at a terminal, or not at all."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]


def test_without_a_terminal_nothing_is_asked_and_the_other_way_is_named(tmp_path: Path) -> None:
    line = (
        "from deploy.cli.prompts import ask_hidden; ask_hidden('Passphrase', instead='give --passphrase-file ann=PATH')"
    )
    done = subprocess.run(
        [sys.executable, "-c", line],
        cwd=ROOT,
        capture_output=True,
        text=True,
        input="seen by whoever looks\n",
        timeout=60,
        start_new_session=True,  # so that there is no terminal behind it
        check=False,
    )
    assert done.returncode != 0
    assert "there is no terminal to ask at: give --passphrase-file ann=PATH" in done.stderr
    assert "GetPassWarning: Can not control echo" not in done.stderr
    assert "seen by" not in done.stdout + done.stderr
