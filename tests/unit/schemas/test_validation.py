"""What is wrong with an input, in words that quote nothing of it."""

from enum import StrEnum
from typing import Annotated, Any

import pytest
from pydantic import AwareDatetime, BaseModel, Field, StringConstraints, ValidationError

from schemas.clear_codes import ACTS, Purpose
from schemas.clear_forms import MethodCode, Provision, PurposeCode, StatutoryTask
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
