"""What is wrong with an input, in words that quote nothing of it."""

import ast
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AwareDatetime, BaseModel, Field, StringConstraints, ValidationError, model_validator

from schemas.clear_codes import ACTS, Purpose
from schemas.clear_forms import MethodCode, Provision, PurposeCode, StatutoryTask
from schemas.errors import RuleBroken
from schemas.validation import describe_fault, name_fault

ACTS_ARE = f"must be an Act and a section, as in CA 1989 s.47; the Acts are {', '.join(ACTS)}"


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Asked(BaseModel, extra="forbid"):
    colour: Colour = Colour.RED
    method: MethodCode | None = None
    free: Annotated[str, StringConstraints(pattern=r"^[a-z]+$")] = "a"
    purpose: PurposeCode | None = None
    task: StatutoryTask | None = None
    asked: Provision | None = None
    many: Annotated[int, Field(ge=1, le=100)] = 1
    short: Annotated[str, Field(max_length=3)] = ""
    since: AwareDatetime | None = None


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"colour": "Ann Lee"}, "colour", "must be one of red or blue"),
        ({"method": "Ann Lee"}, "method", "must be one of in_person, letter, other, paper, tablet, telephone, video"),
        ({"free": "Ann Lee"}, "free", "is missing or not of its form"),
        ({"Ann Lee": 1}, "(unknown member)", "is not known here"),
        (
            {"purpose": "Ann Lee"},
            "purpose",
            f"must be one of {', '.join(sorted(Purpose))}, or local_01 to local_99",
        ),
        ({"task": "Ann Lee Act s.1"}, "task", ACTS_ARE),
        ({"asked": "Ann Lee Act s.1"}, "asked", ACTS_ARE),
        ({"many": 0}, "many", "must be at least 1"),
        ({"many": 101}, "many", "must be at most 100"),
        ({"many": "Ann Lee"}, "many", "must be a whole number"),
        ({"short": "Ann Lee"}, "short", "must be at most 3 characters"),
        ({"since": "2026-11-01"}, "since", "must be an instant with its offset, as in 2026-11-01T00:00:00Z"),
        ({"since": "Ann Lee"}, "since", "must be an instant with its offset, as in 2026-11-01T00:00:00Z"),
    ],
)
def test_a_closed_list_is_told_and_nothing_that_was_sent(given: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Asked.model_validate(given)
    fault: dict[str, Any] = dict(caught.value.errors()[0])
    assert name_fault(fault) == field
    assert describe_fault(fault) == words


class Pair(BaseModel):
    first: str = ""
    broken: type[ValueError] | None = None

    @model_validator(mode="after")
    def _hold(self) -> "Pair":
        if self.broken is not None:
            raise self.broken("the first needs a second")
        return self


def test_a_broken_rule_of_ours_is_said_and_another_error_is_not() -> None:
    for broken, told in ((RuleBroken, "the first needs a second"), (ValueError, "is missing or not of its form")):
        with pytest.raises(ValidationError) as caught:
            Pair(first="a secret", broken=broken)
        assert describe_fault(caught.value.errors(include_input=False)[0]) == told


def test_the_words_of_a_rule_are_constants() -> None:
    """So that they can quote nothing: they are shown and logged."""
    root, found = Path(__file__).parents[3], 0
    for path in (p for half in ("schemas", "adapters", "broker", "deploy") for p in (root / half).rglob("*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "RuleBroken(" in text else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "RuleBroken":
                found += 1
                assert isinstance(node.args[0], ast.Constant), (path.name, node.lineno)
    assert found > 20
