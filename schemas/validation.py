"""Naming what a model refused, without a word of what was sent."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from schemas.clear_codes import ACTS
from schemas.errors import RuleBroken

_INSTANT = "must be an instant with its offset, as in 2026-11-01T00:00:00Z"
_OURS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_CLOSED_LIST = re.compile(r"\^\(\?:([A-Za-z0-9_]+(?:\|[A-Za-z0-9_]+)*)\)\$")
_LOCAL = "|local_[0-9]{2}"
_BOUNDS = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))
UNKNOWN_MEMBER = "(unknown member)"
_GENERAL = "is missing or not of its form"
_FORMS = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "json_invalid": "must be JSON",
    "int_parsing": "must be a whole number",
    "datetime_from_date_parsing": _INSTANT,
    "datetime_parsing": _INSTANT,
    "timezone_aware": _INSTANT,
}
"""What pydantic calls a fault, and what to say of it; anything else stays general."""


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
    if isinstance(context.get("error"), RuleBroken):
        return str(context["error"])
    if fault["type"] == "enum":
        return f"must be one of {context['expected']}".replace("'", "")
    if fault["type"] == "string_pattern_mismatch":
        return _describe_pattern(str(context.get("pattern", "")))
    if fault["type"] == "string_too_long":
        return f"must be at most {context['max_length']} characters"
    for name, words in _BOUNDS:
        if isinstance(context.get(name), int):
            return f"must be {words} {context[name]}"
    return _FORMS.get(fault["type"], _GENERAL)


def describe_first_fault(error: ValidationError) -> str:
    """Return what is wrong first, as ``describe_fault`` says it."""
    return describe_fault(error.errors(include_input=False, include_url=False)[0])


def _describe_pattern(pattern: str) -> str:
    if pattern.lstrip("^(?:").startswith(f"{ACTS[0]}|"):
        return f"must be an Act and a section, as in CA 1989 s.47; the Acts are {', '.join(ACTS)}"
    local = _LOCAL in pattern
    closed = _CLOSED_LIST.fullmatch(pattern.replace(_LOCAL, ""))
    if closed is None:
        return _GENERAL
    return f"must be one of {', '.join(closed[1].split('|'))}" + (", or local_01 to local_99" if local else "")


def _show(part: Any) -> str:
    return str(part) if isinstance(part, int) or _OURS.fullmatch(str(part)) else UNKNOWN_MEMBER
