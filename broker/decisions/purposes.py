"""Purposes as data: the known ones and the groups that policies name (FORMATS CH-9). Which purpose a delivery has, its sender says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.errors import ConfigInvalid


@dataclass(frozen=True, slots=True)
class Purposes:
    """The known purposes with their groups."""

    groups: Mapping[str, tuple[str, ...]]


def parse_purposes(data: Mapping[str, Any]) -> Purposes:
    """Read the content of ``purposes.yaml``.

    Raises:
        ConfigInvalid: the list is missing or of the wrong sort.
    """
    try:
        return Purposes({str(purpose): tuple(groups) for purpose, groups in data["purposes"].items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigInvalid(
            f"lacks its list or has one of the wrong sort ({type(error).__name__})", field="purposes.yaml"
        ) from None
