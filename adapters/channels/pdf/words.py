"""The words of the PDF, from ``words.yaml``: titles of codes, labels of fields, first steps."""

import re
from functools import lru_cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict

from schemas.plain_yaml import read_yaml

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Words(BaseModel):
    """Every text of the PDF that is not the sender's. Keys are the contract's codes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    notice: str
    kinds: dict[str, str]
    missing_events: dict[str, str]
    grades: dict[str, str]
    risk_not_shared: str
    age_bands: dict[str, str]
    subject_types: dict[str, str]
    roles: dict[str, str]
    purposes: dict[str, str]
    clocks: dict[str, str]
    first_steps: dict[str, tuple[str, ...]]
    forms: dict[str, str]
    form_notes: dict[str, str]
    your_view: str
    basis: dict[str, str]
    person_category: dict[str, str]
    contact_first: tuple[str, ...]
    forbidding: tuple[str, ...]
    labels: dict[str, str]
    acronyms: tuple[str, ...]

    def name_code(self, group: dict[str, str], code: str) -> str:
        """Return the words for a code, or the code made readable if the list does not have it."""
        return group.get(code) or self.label_field(code)

    def label_field(self, name: str) -> str:
        """Return a field's name as a label: ``first_language`` and ``firstLanguage`` become "First language"."""
        if name in self.labels:
            return self.labels[name]
        words = _CAMEL.sub(" ", name.replace("_", " ").replace("-", " ").replace(".", ", ")).split()
        if not words:
            return ""
        known = {a.casefold(): a for a in self.acronyms}
        shown = [known.get(w.strip(",").casefold(), w if w.isupper() else w.lower()) for w in words]
        return shown[0][:1].upper() + shown[0][1:] + "".join(f" {w}" for w in shown[1:])

    def rank_contact(self, label: str, text: str) -> int:
        """Return how early a row stands in "Before you contact anyone": the smaller, the earlier."""
        told = f"{label} {text}".casefold()
        return next((rank for rank, word in enumerate(self.contact_first) if word in told), len(self.contact_first))

    def forbids(self, text: str) -> bool:
        """Whether a text tells its reader not to do something."""
        return any(word in text.casefold() for word in self.forbidding)

    def list_first_steps(self, kind: str, role: str) -> tuple[str, ...]:
        """Return what to do now: what is said of this kind and role, or of the kind, and what holds for all."""
        special = (
            self.first_steps.get(f"{kind}/{role}") or self.first_steps.get(kind) or self.first_steps.get(role) or ()
        )
        return (*special, *self.first_steps["default"])


@lru_cache(maxsize=1)
def load_words() -> Words:
    """Load the words that ship with Safelane (read once)."""
    data: Any = read_yaml(files(__package__).joinpath("words.yaml").read_text(encoding="utf-8"))
    return Words.model_validate(data)
