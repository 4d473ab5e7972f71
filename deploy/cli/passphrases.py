"""Officers' passphrases: asked for without echo, or read from files whose owner alone can read them."""

import os
from collections.abc import Sequence
from pathlib import Path

from deploy.cli.prompts import ask_hidden
from schemas.errors import ConfigInvalid


def read_passphrases(officers: Sequence[str], files: Sequence[str], *, confirm: bool = False) -> dict[str, str]:
    """Return a passphrase for each officer: from ``NAME=PATH`` in ``files``, else asked for at the terminal.

    Raises:
        ConfigInvalid: a file is missing, empty, readable by others, or for nobody asked.
    """
    given = dict(_split(entry) for entry in files)
    unknown = set(given) - set(officers)
    if unknown:
        raise ConfigInvalid("names an officer who is not asked for", field="passphrase-file")
    return {
        officer: _read_file(given[officer])
        if officer in given
        else ask_hidden(f"Passphrase of {officer}", confirm=confirm, instead=f"give --passphrase-file {officer}=PATH")
        for officer in officers
    }


def _split(entry: str) -> tuple[str, Path]:
    name, separator, path = entry.partition("=")
    if not separator or not name or not path:
        raise ConfigInvalid("must be NAME=PATH", field="passphrase-file")
    return name, Path(path)


def _read_file(path: Path) -> str:
    try:
        if os.stat(path).st_mode & 0o077:  # noqa: PTH116 - one call for the mode
            raise ConfigInvalid("others can read it: chmod 600", field=f"passphrase-file {path.name}")
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigInvalid("cannot be read", field=f"passphrase-file {path.name}") from None
    if not text:
        raise ConfigInvalid("is empty", field=f"passphrase-file {path.name}")
    return text
