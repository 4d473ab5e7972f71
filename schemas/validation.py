"""Naming what a model refused, without a word of what was sent."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

_OURS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_CLOSED_LIST = re.compile(r"\^\(\?:([A-Za-z0-9_]+(?:\|[A-Za-z0-9_]+)*)\)\$")
UNKNOWN_MEMBER = "(unknown member)"


def name_first_fault(error: ValidationError) -> str:
    """Return the path of the first fault, ``case.risk.grade`` or ``deliveries.0``.

    A member that the model does not know has a name that its sender chose: it is not repeated, and neither is a key that is no name of ours.
    """
    return name_fault(error.errors(include_input=False, include_url=False, include_context=False)[0])


def name_fault(fault: Mapping[str, Any]) -> str:
    """Return the path of one fault as pydantic describes it (``loc``, ``type``), safe to show and to log."""
    parts: Sequence[Any] = fault["loc"]
    if fault["type"] == "extra_forbidden":
        return ".".join([*(_show(part) for part in parts[:-1]), UNKNOWN_MEMBER])
    return ".".join(_show(part) for part in parts)


def describe_fault(fault: Mapping[str, Any]) -> str:
    """Return what is wrong, as pydantic describes it, in words that quote nothing of the input; of a closed list, what may stand there."""
    context = fault.get("ctx") or {}
    if fault["type"] == "enum":
        return f"must be one of {context['expected']}".replace("'", "")
    closed = _CLOSED_LIST.fullmatch(str(context.get("pattern", "")))
    if fault["type"] == "string_pattern_mismatch" and closed:
        return f"must be one of {', '.join(closed[1].split('|'))}"
    return "is missing or not of its form"


def _show(part: Any) -> str:
    return str(part) if isinstance(part, int) or _OURS.fullmatch(str(part)) else UNKNOWN_MEMBER
