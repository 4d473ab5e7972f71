"""Ids on the command line: one in base64url may begin with a hyphen, and is no option then. One id in 64 does."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

_ID = re.compile(r"-(?:[A-Za-z0-9_-]{21}|[A-Za-z0-9_-]{42})")
"""An id of 16 bytes or a digest of 32, as we write them."""
_MARK = "\x02"
"""Stands before an id while options are told from arguments: no id, name of a file or word that we take begins with it."""


def take_ids(command: Any) -> Any:
    """Have a command, and every command below it, take ids that begin with a hyphen as what they are; return it."""
    for below in getattr(command, "commands", {}).values():
        take_ids(below)
    if not hasattr(command, "commands"):
        command.parse_args = _wrap(command, command.parse_args)
    return command


def _wrap(command: Any, parse: Callable[[Any, list[str]], list[str]]) -> Callable[[Any, list[str]], list[str]]:
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}

    def parse_args(ctx: Any, args: list[str]) -> list[str]:
        marked = [_MARK + a if a not in options and _ID.fullmatch(a) else a for a in args]
        rest = parse(ctx, marked)
        ctx.params = {name: _strip(value) for name, value in ctx.params.items()}
        ctx.args = [_strip(a) for a in ctx.args]
        return [_strip(a) for a in rest]

    return parse_args


def _strip(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_strip(one) for one in value)
    if isinstance(value, str):
        return value.removeprefix(_MARK)
    return Path(str(value).removeprefix(_MARK)) if isinstance(value, Path) else value
