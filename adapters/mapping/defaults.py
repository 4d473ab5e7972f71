"""What every mapping shares, read once from ``defaults.yaml``: purposes, provisions, headings and the kinds that flags depend on."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import ValidationError

from adapters.mapping.specs import MappingModel
from schemas.clear_codes import ACTS
from schemas.clear_forms import Art9Code, PurposeCode, RiskToolCode
from schemas.codes import Compartment
from schemas.errors import ConfigInvalid
from schemas.plain_yaml import read_yaml

_FILE = Path(__file__).with_name("defaults.yaml")


class PurposeRule(MappingModel):
    """A rule of FORMATS CH-9; what it does not name fits all."""

    kinds: frozenset[str] | None = None
    roles: frozenset[str] | None = None
    codes: frozenset[str] | None = None
    purpose: PurposeCode


class Defaults(MappingModel):
    """The shared data, checked."""

    purposes: tuple[PurposeRule, ...]
    art9: dict[str, Art9Code]
    art9_otherwise: Art9Code
    acts: dict[str, Literal[ACTS]]  # type: ignore[valid-type]
    risk_tools: dict[str, RiskToolCode]
    risk_expected: frozenset[str]
    tell_preset_no: frozenset[str]
    headings: dict[str, Compartment]
    name_particles: frozenset[str]


@lru_cache(maxsize=1)
def load_defaults() -> Defaults:
    """Return the shared data.

    Raises:
        ConfigInvalid: the file is not of its form.
    """
    try:
        return Defaults.model_validate(read_yaml(_FILE.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError):
        raise ConfigInvalid("the shared mapping data cannot be read", field=_FILE.name) from None


def find_purpose(kind: str, role: str, code: str) -> str:
    """Return the purpose of a delivery (FORMATS CH-9); ``kind`` is the original one for an update or correction."""
    for rule in load_defaults().purposes:
        if (
            (rule.kinds is None or kind in rule.kinds)
            and (rule.roles is None or role in rule.roles)
            and (rule.codes is None or code in rule.codes)
        ):
            return rule.purpose
    raise ConfigInvalid("no rule gives a purpose", field="purposes")
