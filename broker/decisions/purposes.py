"""Purposes as data: the known ones, their groups, and which purpose a kind and role have (FORMATS CH-9)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.errors import ConfigInvalid


@dataclass(frozen=True, slots=True)
class Assignment:
    """One line of the table: an empty set fits everything."""

    purpose: str
    kinds: frozenset[str]
    roles: frozenset[str]
    circulation: str | None


@dataclass(frozen=True, slots=True)
class Purposes:
    """The known purposes with their groups, and the table of assignments in order."""

    groups: Mapping[str, tuple[str, ...]]
    assignments: tuple[Assignment, ...]

    def assign(self, kind: str, role: str, circulation: str | None = None) -> str:
        """Return the purpose of a delivery of ``kind`` to ``role``; a circulation code narrows where a role has two."""
        for line in self.assignments:
            if line.circulation is not None and line.circulation != circulation:
                continue
            if (not line.kinds or kind in line.kinds) and (not line.roles or role in line.roles):
                return line.purpose
        raise ConfigInvalid("has no line for everything else", field="purposes.yaml")


def parse_purposes(data: Mapping[str, Any]) -> Purposes:
    """Read the content of ``purposes.yaml``.

    Raises:
        ConfigInvalid: a part is missing, or a line names a purpose that is not in the list.
    """
    try:
        groups = {str(p): tuple(g) for p, g in data["purposes"].items()}
        lines = tuple(
            Assignment(
                purpose=str(line["purpose"]),
                kinds=frozenset(line.get("kinds", ())),
                roles=frozenset(line.get("roles", ())),
                circulation=line.get("circulation"),
            )
            for line in data["assignments"]
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigInvalid(
            f"lacks a part or has one of the wrong sort ({type(error).__name__})", field="purposes.yaml"
        ) from None
    if any(line.purpose not in groups for line in lines):
        raise ConfigInvalid("assigns a purpose that is not in the list", field="purposes.yaml")
    return Purposes(groups=groups, assignments=lines)
