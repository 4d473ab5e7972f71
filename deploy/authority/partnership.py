"""Reads ``partnership.yaml``: agencies, contacts, calendars, agreements and local policy, as the directory's models.

The file is the partnership's own data. What is in it is checked by the models of ``schemas.directory``; nothing is filled in by guess.
"""

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from schemas.directory import Agency, Agreement, BankHoliday, Calendar, Partnership
from schemas.errors import ConfigInvalid, RuleBroken
from schemas.plain_yaml import PlainLoader, read_yaml

MAX_FILE_BYTES = 4 * 1024 * 1024


class PartnershipFile(BaseModel):
    """The parts of a directory that people write by hand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partnership: Partnership
    agencies: tuple[Agency, ...]
    calendars: tuple[Calendar, ...] = ()
    bank_holidays: tuple[BankHoliday, ...] = ()
    local_policy: dict[str, Any] = {}
    agreements: tuple[Agreement, ...] = ()

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        for group in (self.agencies, self.calendars, self.agreements):
            ids = [item.id for item in group]
            if len(ids) != len(set(ids)):
                raise RuleBroken("an id is used twice")
        return self


def load_partnership(path: Path) -> PartnershipFile:
    """Read and check a partnership file.

    Raises:
        ConfigInvalid: it cannot be read, is not YAML, repeats a key, or breaks a rule of the directory; the field is named, never its value.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigInvalid(f"is over {MAX_FILE_BYTES} bytes", field=path.name)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"cannot be read ({type(error).__name__})", field=path.name) from None
    return parse_partnership(text, name=path.name)


def parse_partnership(text: str, *, name: str = "partnership.yaml") -> PartnershipFile:
    """Parse the text of a partnership file.

    Raises:
        ConfigInvalid: as for ``load_partnership``.
    """
    try:
        data = read_yaml(text, _StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise ConfigInvalid(f"is not YAML{where}", field=name) from None
    if not isinstance(data, dict):
        raise ConfigInvalid("must be a mapping", field=name)
    try:
        return PartnershipFile.model_validate(_join_split_values(data))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise ConfigInvalid(f"breaks a rule: {first['type']}", field=f"{name}:{path}") from None


def _join_split_values(data: dict[str, Any]) -> dict[str, Any]:
    """Put contacts back together whose post held an unquoted comma.

    In a flow mapping ``post: Lead (named, online)`` YAML reads a value ``Lead (named`` and a key ``online)`` without value. No field of a
    contact may be null, so a null-valued unknown key is the rest of the value before it.
    """
    for agency in data.get("agencies") or ():
        if isinstance(agency, dict) and isinstance(agency.get("contacts"), list):
            agency["contacts"] = [_join_contact(c) if isinstance(c, dict) else c for c in agency["contacts"]]
    return data


def _join_contact(contact: dict[Any, Any]) -> dict[Any, Any]:
    joined: dict[Any, Any] = {}
    last = None
    for key, value in contact.items():
        if value is None and last is not None and isinstance(joined[last], str):
            joined[last] = f"{joined[last]}, {key}"
        else:
            joined[key] = value
            last = key
    return joined


class _StrictLoader(PlainLoader):
    """YAML of plain values only, in which a key may stand once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001 - PyYAML's signature
        """Refuse a repeated key, which YAML would read as its last value."""
        keys = [key.value for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(None, None, "a key is repeated", node.start_mark)
        return super().construct_mapping(node, deep=deep)
