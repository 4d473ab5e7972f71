"""What is wrong with an input, in words that quote nothing of it."""

from enum import StrEnum
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, StringConstraints, ValidationError

from schemas.clear_forms import MethodCode
from schemas.validation import describe_fault, name_fault


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Asked(BaseModel, extra="forbid"):
    colour: Colour = Colour.RED
    method: MethodCode | None = None
    free: Annotated[str, StringConstraints(pattern=r"^[a-z]+$")] = "a"


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"colour": "Ann Lee"}, "colour", "must be one of red or blue"),
        ({"method": "Ann Lee"}, "method", "must be one of in_person, letter, other, paper, tablet, telephone, video"),
        ({"free": "Ann Lee"}, "free", "is missing or not of its form"),
        ({"Ann Lee": 1}, "(unknown member)", "is missing or not of its form"),
    ],
)
def test_a_closed_list_is_told_and_nothing_that_was_sent(given: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Asked.model_validate(given)
    fault: dict[str, Any] = dict(caught.value.errors()[0])
    assert name_fault(fault) == field
    assert describe_fault(fault) == words
