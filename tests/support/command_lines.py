"""Reads ``safelane …`` command lines out of documents and unit files, and tells what is wrong with each, without running it."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import typer

from deploy.cli import app

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(safelane [^`]+)`")
_PLACEHOLDER_END = re.compile(r"\s*(?:#.*|[|&;>].*)$")


@cache
def _find_command(*names: str) -> Any:
    """Return the command under these names, or None; a group is built anew for each question, so the answers are kept."""
    parent = _find_command(*names[:-1]) if names else None
    if not names:
        return typer.main.get_command(app)
    return parent.get_command(None, names[-1]) if hasattr(parent, "get_command") else None


def find_command_lines(text: str) -> list[str]:
    """Return every ``safelane`` line of a Markdown text: those of fenced blocks (continued lines joined), and those in backticks."""
    blocks = "\n".join(_FENCE.findall(text)).replace("\\\n", " ")
    fenced = [line.strip().removeprefix("$ ").removeprefix("sudo ") for line in blocks.splitlines()]
    inline = _INLINE.findall(_FENCE.sub("", text).replace("\n", " "))
    found = [re.sub(r"^(?:\S*/)?safelane ", "safelane ", line) for line in (*fenced, *inline)]
    return [_PLACEHOLDER_END.sub("", line) for line in found if line.startswith("safelane ")]


def find_fault(line: str) -> str | None:
    """Return what is wrong with a command line (``None``: nothing): every command and option in it must exist."""
    words = shlex.split(line)[1:]
    names: tuple[str, ...] = ()
    while words and hasattr(_find_command(*names), "get_command") and not words[0].startswith("-"):
        if _find_command(*names, words[0]) is None:
            return f"no command {words[0]}"
        names, words = (*names, words[0]), words[1:]
    command = _find_command(*names)
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [
        word for word in words if word.startswith("-") and word.partition("=")[0] not in {*options, "--help", "--"}
    ]
    return f"no option {unknown[0]}" if unknown else None
