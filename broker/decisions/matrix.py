"""The need-to-know matrix as data: kinds, roles and cells, read from ``matrix.yaml`` of a pack (DOMAIN section 2; FORMATS CH-7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.directory import MatrixRow
from schemas.errors import ConfigInvalid

ANY = "any"
NO_CELL = "-"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the kinds and roles it serves, conditions on the referral, and a cell for each compartment, companions included."""

    number: int
    kinds: frozenset[str]
    roles: frozenset[str]
    requires: frozenset[str]
    cells: Mapping[str, str]

    def fits(self, kind: str, role: str, holds: frozenset[str]) -> bool:
        """Return whether this row serves ``kind`` and ``role`` for a referral in which the conditions ``holds`` hold."""
        return kind in self.kinds and role in self.roles and self.requires <= holds


@dataclass(frozen=True, slots=True)
class Matrix:
    """All rows in order, and the lists that the policies name."""

    kinds: Mapping[str, tuple[str, ...]]
    grades: Mapping[str, tuple[str, ...]]
    roles: tuple[str, ...]
    follow_original: frozenset[str]
    companions: Mapping[str, str]
    forms: Mapping[str, str]
    rows: tuple[Row, ...]

    def resolve_kind(self, kind: str, original_kind: str | None) -> str:
        """Return the kind whose row applies: the original one for a kind that follows it; an unknown one stays itself."""
        if kind in self.follow_original and original_kind:
            return original_kind
        return kind

    def find_row(self, kind: str, role: str, holds: frozenset[str]) -> Row | None:
        """Return the first row that fits, or none (a gap needs a person)."""
        return next((row for row in self.rows if row.fits(kind, role, holds)), None)

    def to_directory_rows(self) -> tuple[MatrixRow, ...]:
        """Return the matrix as the signed directory carries it: one row for each kind and role that has one."""
        found: list[MatrixRow] = []
        every = frozenset(condition for row in self.rows for condition in row.requires)
        for kind in self.kinds:
            for role in self.roles:
                row = self.find_row(kind, role, every)
                if row is not None:
                    cells = {code: cell for code, cell in row.cells.items() if code not in self.companions}
                    found.append(MatrixRow(kind=kind, role=role, cells=cells))
        return tuple(found)


def parse_matrix(data: Mapping[str, Any]) -> Matrix:
    """Read the content of ``matrix.yaml``.

    Raises:
        ConfigInvalid: a part is missing, a row names an unknown kind or role, or a cell or their number is wrong.
    """
    try:
        kinds = {str(k): tuple(groups) for k, groups in data["kinds"].items()}
        grades = {str(g): tuple(groups) for g, groups in data["grades"].items()}
        roles = tuple(str(r) for r in data["roles"])
        forms = {str(cell): str(action) for cell, action in data["forms"].items()}
        companions = {str(c): str(cell) for c, cell in data["companions"].items()}
        columns = [str(c) for c in data["columns"]]
        rows = tuple(
            _parse_row(n, row, columns=columns, kinds=kinds, roles=roles, forms=forms, companions=companions)
            for n, row in enumerate(data["rows"])
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigInvalid(
            f"lacks a part or has one of the wrong sort ({type(error).__name__})", field="matrix.yaml"
        ) from None
    return Matrix(
        kinds=kinds,
        grades=grades,
        roles=roles,
        follow_original=frozenset(data.get("follow_original", ())),
        companions=companions,
        forms=forms,
        rows=rows,
    )


def _parse_row(
    number: int,
    row: Mapping[str, Any],
    *,
    columns: Sequence[str],
    kinds: Mapping[str, Any],
    roles: Sequence[str],
    forms: Mapping[str, str],
    companions: Mapping[str, str],
) -> Row:
    field = f"matrix.yaml rows[{number}]"
    cells = str(row["cells"]).split()
    if len(cells) != len(columns) or any(cell not in forms for cell in cells):
        raise ConfigInvalid("needs one known cell for each column", field=field)
    named_kinds = list(kinds) if row["kinds"] == ANY else row["kinds"]
    named_roles = list(roles) if row["roles"] == ANY else row["roles"]
    if any(k not in kinds for k in named_kinds) or any(r not in roles for r in named_roles):
        raise ConfigInvalid("names a kind or role that is not in the lists", field=field)
    return Row(
        number=number,
        kinds=frozenset(named_kinds),
        roles=frozenset(named_roles),
        requires=frozenset(row.get("requires", ())),
        cells={**dict(zip(columns, cells, strict=True)), **companions},
    )
