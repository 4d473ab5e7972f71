"""By what the children of a received referral are known: the identifiers that its delivered sections say, and nothing else.

The sender's own tokens go to the hub alone (decision 0001). So a recipient who asks about a child that it received makes the tokens anew, from what
it may read: a child whose identity was not delivered to it gives none. The labels are those that this product's mappings write.
"""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from adapters.gateway.incoming.received import INCIDENT, ReceivedReferral
from adapters.gateway.store import GatewayStore
from adapters.mapping.people import write_name_born
from schemas.codes import Compartment, Form
from schemas.errors import Conflict, NotFound, Rejected
from schemas.identifiers import parse_identifier

_NUMBERS = {(Compartment.C01, "NHS number"): "nhs", (Compartment.C08, "UPN"): "upn"}
_SURNAMES, _FORENAMES, _BORN = ("Surname", "Legal surname"), ("Forenames", "Forename"), "Date of birth"

_Said = Mapping[tuple[Compartment, str], Any]


class ReceivedSubjects:
    """Whom this agency's received referrals are about. ``is_test`` tells whether synthetic numbers count (``Partnership.test_mode``)."""

    def __init__(self, store: GatewayStore, is_test: Callable[[], bool]) -> None:
        """Read from ``store``, which has the inbox and its recalls."""
        self._store = store
        self._is_test = is_test

    def list_identifiers(self, referral_id: str, contact: str | None) -> list[tuple[str, str]]:
        """Return (scheme, value) of the subjects of a referral's newest revision, as far as the asking contact may read it.

        Raises:
            NotFound: nothing of it was received, or only for another named contact.
            Conflict: its sender recalled it, or two senders used the same id.
            Rejected: what was received has no identifier.
        """
        rows = self._store.query(
            "SELECT delivery_id, sender, message_id, content, EXISTS (SELECT 1 FROM inbox_recall r WHERE r.delivery_id = d.delivery_id) AS recalled"
            " FROM inbox_delivery d WHERE referral_id = ? AND (contact IS NULL OR contact = ?) ORDER BY revision DESC, received_at DESC",
            (referral_id, contact or ""),
        )
        if not rows:
            raise NotFound("no referral that this agency sent or received", field="referral_id")
        if len({row["sender"] for row in rows}) > 1:
            raise Conflict("two agencies sent a referral of this id: name the child by a number", field="referral_id")
        newest = [row for row in rows if row["message_id"] == rows[0]["message_id"]]
        if any(row["recalled"] for row in newest):
            raise Conflict("is recalled by its sender", field="referral_id")
        is_test = self._is_test()
        found: dict[tuple[str, str], None] = {}
        for row in newest:
            data = self._store.open(f"inbox_delivery.content:{row['delivery_id']}", row["content"])
            found |= dict.fromkeys(read_identifiers(ReceivedReferral.model_validate_json(data), is_test=is_test))
        if not found:
            raise Rejected(
                "what was received of it has no identifier to know its subjects by: name the child by a number",
                field="referral_id",
            )
        return list(found)


def read_identifiers(received: ReceivedReferral, *, is_test: bool) -> list[tuple[str, str]]:
    """Return (scheme, value) of each subject from its own full sections: NHS number, UPN, and name with date of birth.

    An NHS number is given as ``nhs``, as one that a person types is: who is asked compares it with numbers of either state.
    """
    said: dict[str, dict[tuple[Compartment, str], Any]] = {}
    for section in received.sections:
        if section.subject != INCIDENT and section.form is Form.FULL and isinstance(section.content, dict):
            for statement in section.content.get("statements", ()):
                key = (section.compartment, str(statement.get("label")))
                said.setdefault(section.subject, {}).setdefault(key, statement.get("value"))
    return [one for statements in said.values() for one in _list_of_one(statements, is_test=is_test)]


def _list_of_one(said: _Said, *, is_test: bool) -> list[tuple[str, str]]:
    found = []
    for place, scheme in _NUMBERS.items():
        try:
            found.append((scheme, parse_identifier(scheme, _read_words(said.get(place)), test_mode=is_test)))
        except Rejected:
            continue  # it has none, or says in words why not
    surname, forenames = _find(said, _SURNAMES), _find(said, _FORENAMES)
    try:
        born = date.fromisoformat(_find(said, (_BORN,)))
    except ValueError:
        return found  # not known, or no day
    if surname and forenames:
        found.append(("name_born", write_name_born(surname, forenames, born)))
    return found


def _find(said: _Said, labels: tuple[str, ...]) -> str:
    return next((words for label in labels if (words := _read_words(said.get((Compartment.C01, label))))), "")


def _read_words(value: Any) -> str:
    """Return a value as text; of several forenames, as a record in FHIR lists them, one after another."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return " ".join(value).strip()
    return value.strip() if isinstance(value, str) else ""
