"""Ids in clear that only the directory can tell from words: agencies, their contacts, and people. Who is in no directory is refused."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from schemas.clear_forms import STAFF_NUMBER
from schemas.directory import Directory
from schemas.errors import Rejected
from schemas.header import PolicyFacts, RoutingHeader
from schemas.objects.consent import Consent

_STAFF_NUMBER = re.compile(STAFF_NUMBER)
_UNRESOLVED = "unresolved:"
_PERSON_MEMBERS = ("person", "recorder", "assessor", "approver", "requester")
"""Members of signed objects that hold a person's id; a ``requester`` may also be an agency."""


class NamesNobody(Rejected):
    """An agency, contact or person is named whom the directory does not know: it might be anybody's name in clear."""

    code = "names-nobody"
    status = 409
    retryable = True
    public_message = "An id is not in the directory. Fetch the directory; use ids of agencies, contacts and people that it has, or staff numbers."


@dataclass(frozen=True, slots=True)
class KnownIds:
    """The ids of one directory version, to look up. Revoked agencies are known: history may name them."""

    agencies: frozenset[str]
    contacts: frozenset[str]
    """As ``agency#contact``."""
    people: frozenset[str]
    """People who approve, and contacts."""

    @classmethod
    def of(cls, directory: Directory) -> "KnownIds":
        """Return the ids of a directory."""
        contacts = [(agency.id, contact.id) for agency in directory.agencies for contact in agency.contacts]
        return cls(
            frozenset(agency.id for agency in directory.agencies),
            frozenset(f"{agency}#{contact}" for agency, contact in contacts),
            frozenset({*(person.id for person in directory.people), *(contact for _, contact in contacts)}),
        )

    def check_header(self, header: RoutingHeader) -> None:
        """Check every id of a routing header.

        Raises:
            NamesNobody: one is not in the directory; the field is named, the value is not.
        """
        for number, delivery in enumerate(header.deliveries):
            self._check_agency(delivery.agency, f"deliveries.{number}.agency")
            self._check_contact(delivery.agency, delivery.contact, f"deliveries.{number}.contact")
        for number, routing in enumerate(header.routing):
            self._check_agencies(routing.tied_agencies, f"routing.{number}.tied_agencies")
        for field, agency in _list_policy_agencies(header.policy):
            self._check_agency(agency, f"policy.{field}")
        for number, conflict in enumerate(header.policy.conflicts):
            self._check_contact(conflict.agency, conflict.contact, f"policy.conflicts.{number}.contact")
        for name in header.policy.embargo.named if header.policy.embargo is not None else ():
            if name not in self.contacts:
                raise NamesNobody(field="policy.embargo.named")
        for field, person in _list_policy_people(header.policy):
            self.check_person(person, f"policy.{field}")

    def check_object(self, model: BaseModel) -> None:
        """Check the ids of people in a signed object, and the recipients of a consent's scope.

        Raises:
            NamesNobody: one is not in the directory.
        """
        for member in _PERSON_MEMBERS:
            value: Any = getattr(model, member, None)
            if value is not None and value not in self.agencies:
                self.check_person(value, member)
        if isinstance(model, Consent):
            self._check_agencies(model.scope.recipients or (), "scope.recipients")

    def check_person(self, person: str | None, field: str) -> None:
        """Check that a person's id is a staff number or in the directory; none is nobody to check.

        Raises:
            NamesNobody: it is neither.
        """
        if person is not None and person not in self.people and _STAFF_NUMBER.fullmatch(person) is None:
            raise NamesNobody(field=field)

    def _check_agencies(self, agencies: Iterable[str], field: str) -> None:
        for agency in agencies:
            self._check_agency(agency, field)

    def _check_agency(self, agency: str, field: str) -> None:
        if agency not in self.agencies and not agency.startswith(_UNRESOLVED):
            raise NamesNobody(field=field)

    def _check_contact(self, agency: str, contact: str | None, field: str) -> None:
        if contact is not None and f"{agency}#{contact}" not in self.contacts:
            raise NamesNobody(field=field)


def _list_policy_agencies(policy: PolicyFacts) -> Iterator[tuple[str, str]]:
    yield from (("consent.scope.recipients", agency) for agency in policy.consent.scope.recipients or ())
    yield from (("tell_status.parties", agency) for agency in policy.tell_status.parties)
    yield from (("conflicts.agency", conflict.agency) for conflict in policy.conflicts)
    yield from (("tokens.recipient", token.recipient) for token in policy.tokens)
    yield from (("bars.recipients", agency) for bar in policy.bars for agency in bar.recipients)
    if policy.detriment is not None:
        yield from (("detriment.recipients", agency) for agency in policy.detriment.recipients)


def _list_policy_people(policy: PolicyFacts) -> Iterator[tuple[str, str | None]]:
    yield from (("tokens.authorised_by", token.authorised_by) for token in policy.tokens)
    if policy.break_glass is not None:
        yield "break_glass.by", policy.break_glass.by
    if policy.detriment is not None:
        yield "detriment.decided_by", policy.detriment.decided_by
