"""YAML of plain values: configuration, packs, partnership files, mappings. Read by libyaml where PyYAML has it, several times as fast as in Python."""

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from yaml import SafeLoader as _Loader
else:
    _Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_DEPTH = 60


class PlainLoader(_Loader):
    """Strings, numbers, dates, lists and mappings; never an object of a program."""


def read_yaml(text: str, loader: type[PlainLoader] = PlainLoader) -> Any:
    """Return the values of a YAML document; ``loader`` may be stricter than ``PlainLoader``.

    Raises:
        yaml.YAMLError: it is not YAML, holds a value of no such date or number, or nests deeper than ``MAX_DEPTH``.
    """
    _check_depth(text)
    try:
        return yaml.load(text, Loader=loader)  # noqa: S506 - a safe loader, or one made from it
    except (
        ValueError,
        OverflowError,
    ) as error:  # what Python's own dates and numbers raise: 30 February, 1e999 as a whole number
        raise yaml.YAMLError(f"a value is no such date or number ({type(error).__name__})") from None


def _check_depth(text: str) -> None:
    """Refuse what nests deeply before it is built: building goes down as far, and in C nothing stops it short of the stack's end."""
    depth = 0
    for event in yaml.parse(text, Loader=PlainLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise yaml.YAMLError(f"nests deeper than {MAX_DEPTH}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
