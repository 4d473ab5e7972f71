"""Redaction: words that may only travel in one compartment are taken out of all others.

A narrative that itself gives a refuge's address, a former name under court order or the informant's name would undo the seal on the
compartment where it belongs (FORMATS 1.1 ``restricted.words``, CH-6). The mark left behind says nothing of what was there.
"""

import re
from collections.abc import Iterable, Sequence

from pydantic import JsonValue

from adapters.mapping.defaults import load_defaults
from adapters.mapping.people import INFORMANT, Person
from schemas.codes import Compartment

MARK = "[…]"
_ADDRESS_LABELS = frozenset({"Address", "Line", "Lines", "Postcode", "UPRN"})
_CONTACT_LABELS = frozenset({"Telephone", "E-mail", "Online", "Mobile"})
_SHORTEST_NAME = 3
_FEWEST_WORDS = 2
_FEWEST_DIGITS = 6


class Redactor:
    """Knows the phrases of one record and the compartment where each may stand."""

    def __init__(self, phrases: Iterable[tuple[str, Compartment]]) -> None:
        self._patterns = [
            (re.compile(rf"(?<!\w){_write_pattern(phrase)}(?!\w)", re.IGNORECASE), home)
            for phrase, home in sorted(set(phrases), key=lambda item: (-len(item[0]), item))
            if _write_pattern(phrase)  # commas alone would be found everywhere
        ]

    def redact(self, value: JsonValue, place: Compartment) -> tuple[JsonValue, set[Compartment]]:
        """Return the value fit for ``place``, and the compartments where what was taken out belongs (empty: nothing was)."""
        homes: set[Compartment] = set()
        patterns = [(pattern, home) for pattern, home in self._patterns if home is not place]
        return (self._apply(value, patterns, homes), homes) if patterns else (value, homes)

    def _apply(
        self, value: JsonValue, patterns: Sequence[tuple[re.Pattern[str], Compartment]], homes: set[Compartment]
    ) -> JsonValue:
        if isinstance(value, str):
            for pattern, home in patterns:
                value, count = pattern.subn(MARK, value)
                if count:
                    homes.add(home)
            return value
        if isinstance(value, list):
            return [self._apply(item, patterns, homes) for item in value]
        if isinstance(value, dict):
            return {key: self._apply(item, patterns, homes) for key, item in value.items()}
        return value


def _write_pattern(phrase: str) -> str:
    """Return a pattern for a phrase however it is spaced; a number, address or postcode also with commas or without blanks."""
    gap = r"[\s,]*" if any(character.isdigit() for character in phrase) else r"\s+"
    return gap.join(re.escape(word) for word in phrase.replace(",", " ").split())


def list_phrases(
    people: Sequence[Person],
    sealed: Sequence[JsonValue],
    sources: Sequence[JsonValue] = (),
    own: Sequence[JsonValue] = (),
) -> list[tuple[str, Compartment]]:
    """Return the phrases to keep apart: restricted words and sealed addresses (C12), informants' names, numbers and addresses (C10).

    An informant's surname that others share is not taken out, only the full name; nor is anything of one who is there in another role too,
    nor a number or address that is a subject's or relative's own.

    Args:
        people: everybody in the record.
        sealed: the values of C12.
        sources: the values of C10.
        own: the values of C02 and C03.
    """
    phrases = [(word, Compartment.C12) for person in people for word in person.restricted_words]
    phrases += [
        (phrase, Compartment.C12) for value in sealed for phrase in _list_address_phrases(value, labelled=False)
    ]
    known = {_join(one) for one in _list_contact_phrases(list(own))}
    phrases += [(one, Compartment.C10) for one in _list_contact_phrases(list(sources)) if _join(one) not in known]
    others = {
        name.casefold()
        for p in people
        if INFORMANT not in p.roles
        for name in (p.surname, *(p.name() or "").split())
        if name
    }
    for person in people:
        if person.roles == (INFORMANT,):
            phrases += [(name, Compartment.C10) for name in _list_names(person) if name.casefold() not in others]
    return phrases


def _list_names(person: Person) -> list[str]:
    """Return the names by which a text could give an informant away: full name and surname; a description ("a neighbour") is no name."""
    if person.surname is not None:
        names = [person.surname, person.name() or person.surname]
    else:
        words = re.split(r"[,(]", person.full_name or "", maxsplit=1)[0].split()
        particles = load_defaults().name_particles
        if len(words) < _FEWEST_WORDS or any(word[0].islower() and word not in particles for word in words):
            return []
        names = [words[-1], " ".join(words)]
    return [name for name in names if len(name) >= _SHORTEST_NAME]


def _list_address_phrases(value: JsonValue, *, labelled: bool) -> list[str]:
    if isinstance(value, str):
        return _cut_address(value) if labelled else []
    if isinstance(value, list):
        return [phrase for item in value for phrase in _list_address_phrases(item, labelled=labelled)]
    if isinstance(value, dict):
        return [
            phrase
            for label, item in value.items()
            for phrase in _list_address_phrases(item, labelled=label in _ADDRESS_LABELS)
        ]
    return []


def _cut_address(text: str) -> list[str]:
    """Return an address whole and, where it is written in one line, its house and every further piece with a number (a postcode)."""
    pieces = [piece.strip() for piece in re.split(r"[,;\n]", text)]
    first = pieces[0] if len(pieces[0].split()) > 1 else " ".join(pieces[:2])  # "14, Some Street"
    house = [first] if len(first.split()) > 1 else []
    telling = [
        piece for piece in pieces if any(character.isdigit() for character in piece) and len(piece) >= _SHORTEST_NAME
    ]
    whole = [text] if len(text.split()) > 1 or telling else []
    return list(dict.fromkeys([*whole, *house, *telling]))


def _join(text: str) -> str:
    return "".join(text.split())


def _list_contact_phrases(value: JsonValue, *, labelled: bool = False) -> list[str]:
    if isinstance(value, str):
        telling = "@" in value or sum(character.isdigit() for character in value) >= _FEWEST_DIGITS
        return [value] if labelled and telling else []
    if isinstance(value, list):
        return [phrase for item in value for phrase in _list_contact_phrases(item, labelled=labelled)]
    if isinstance(value, dict):
        return [
            phrase
            for label, item in value.items()
            for phrase in _list_contact_phrases(item, labelled=label in _CONTACT_LABELS)
        ]
    return []
