"""How much of a referral is printed: an agency that sends megabytes of text must not hold up the pages of every referral behind it.

An account at the contract's limit is printed whole. Nothing is left out in silence.
"""

from dataclasses import dataclass
from typing import Any, Final

from adapters.gateway.incoming.received import ReceivedReferral

LONGEST_TEXT: Final = 200_000
"""Characters of one text that are printed: about seventy pages."""
MOST_TEXT: Final = 400_000
"""Characters of all texts together."""
MOST_VALUES: Final = 3_000
"""Values of all sections together."""
ELSEWHERE: Final = "the rest is not printed here; it is in referral.json and in the inbox"


@dataclass(slots=True)
class _Budget:
    characters: int = MOST_TEXT
    values: int = MOST_VALUES


def bound_referral(referral: ReceivedReferral) -> ReceivedReferral:
    """Return the referral with as much of each section's content as is printed, and where the rest is said in its place."""
    budget = _Budget()
    sections = tuple(s.model_copy(update={"content": _bound(s.content, budget)}) for s in referral.sections)
    return referral.model_copy(update={"sections": sections})


def _bound(value: Any, budget: _Budget) -> Any:
    if isinstance(value, str):
        return _bound_text(value, budget)
    if isinstance(value, dict):
        kept = {}
        for name, member in value.items():
            if budget.values <= 0:
                kept["more"] = ELSEWHERE
                break
            kept[_bound_text(name, budget)] = _bound_member(member, budget)
        return kept
    if isinstance(value, list):
        items: list[Any] = []
        for item in value:
            if budget.values <= 0:
                items.append(ELSEWHERE)
                break
            items.append(_bound_member(item, budget))
        return items
    return value


def _bound_member(value: Any, budget: _Budget) -> Any:
    budget.values -= 1
    return _bound(value, budget)


def _bound_text(text: str, budget: _Budget) -> str:
    most = max(0, min(LONGEST_TEXT, budget.characters))
    budget.characters -= min(len(text), most)
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most} more characters: {ELSEWHERE})"
