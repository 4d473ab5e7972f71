"""Addressing: circulation codes, organisations and posts of a record, found in the signed directory (FORMATS CH-5, CH-9, CH-15, CH-16)."""

import re
from collections.abc import Iterable
from hashlib import sha256

from pydantic import TypeAdapter

from adapters.mapping.defaults import find_purpose
from adapters.mapping.model import AddresseeSpec, CirculationSpec, ConflictSpec, PerformerSpec, TokenSpec
from adapters.mapping.nodes import Node
from adapters.mapping.people import Person
from adapters.mapping.specs import FieldSpec, OrganisationSpec
from adapters.mapping.values import Found, RecordContext, meets, name_missing, read_text
from schemas.clear_forms import AgencyId, fit
from schemas.directory import Agency, Contact, Directory
from schemas.errors import Rejected
from schemas.header import ConflictOfInterest
from schemas.identifiers import parse_identifier
from schemas.referral import CirculationEntry, StatedToken

UNKNOWN = "unknown"
UNKNOWN_ROLE = UNKNOWN
NAME = "name"
"""Stands for an agency's name among the schemes of a body that a format names in words."""
_AGENCY_ID: TypeAdapter[str] = TypeAdapter(AgencyId)
_FIND_BY_IDENTIFIER = {"school": ("school", "urn"), "practice": ("practice", "ods"), "carer": ("carer", "ofsted_urn")}


def make_unresolved(sort: str, value: str) -> str:
    """Return the address of somebody who is not in the directory: all is withheld from them until a person looks (FORMATS CH-5)."""
    return f"unresolved:{sort}:{re.sub(r'[^A-Za-z0-9._ -]', '-', value)[:60]}"


def make_clear(agency: str) -> str:
    """Return an address as it may stand in the header: what is no identifier of fixed form becomes a digest, because it may be anybody's name."""
    if fit(_AGENCY_ID, agency) is not None:
        return agency
    sort, _, value = agency.removeprefix("unresolved:").partition(":")
    digest = sha256(value.encode("utf-8")).hexdigest()[:16]
    return fit(_AGENCY_ID, f"unresolved:{sort}:{digest}") or f"unresolved:code:{digest}"


def find_by_role(directory: Directory, role: str, area: str | None, *, elsewhere: bool = False) -> Agency | None:
    """Return the one agency with that role in the area; with ``elsewhere``, else the one in the whole partnership. Revoked ones do not count."""
    holders = [a for a in directory.agencies if role in a.roles and a.revoked_at is None]
    near = [a for a in holders if a.area == area]
    if len(near) == 1:
        return near[0]
    return holders[0] if elsewhere and not near and len(holders) == 1 else None


def find_by_identifier(directory: Directory, scheme: str, value: str, role: str | None = None) -> Agency | None:
    """Return the one agency with that identifier and role, or none. Revoked ones do not count."""
    found = [
        a
        for a in directory.agencies
        if a.identifiers.get(scheme) == value and a.revoked_at is None and (role is None or role in a.roles)
    ]
    return found[0] if len(found) == 1 else None


class Addresses:
    """Resolves the addressees of one record."""

    def __init__(self, context: RecordContext, people: Iterable[Person], *, area: str, kind: str) -> None:
        self._context = context
        self._directory = context.directory
        self._spec: CirculationSpec = context.mapping.circulation
        self._subjects = [person for person in people if person.is_subject]
        self._area = area
        self._kind = kind

    def list_entries(self, named_codes: frozenset[str]) -> tuple[CirculationEntry, ...]:
        """Return the record's circulation in order; ``named_codes`` are those that an embargo lets know, and so go to a named contact."""
        entries: list[CirculationEntry] = []
        for code in self._list_codes():
            for agency, role in self.resolve_code(code.text):
                contact = self._name_contact(code.text, agency, named_codes)
                entries.append(self._make_entry(code.text, agency, role, contact))
        if self._spec.performers is not None:
            entries += [self._resolve_performer(node) for node in self._context.node.select(self._spec.performers)]
        if not entries:
            raise Rejected(
                "there is nobody to send it to",
                field=re.split(r"\[|\.~", self._spec.path or self._spec.performers or "", maxsplit=1)[0],
            )
        return tuple(entries)

    def resolve_code(self, code: str) -> list[tuple[str, str]]:
        """Return ``(agency id, role)`` for a circulation code: several for one that goes to each child's own school or practice."""
        addressee = self._find_addressee(code)
        if addressee is None:
            return [(make_unresolved("code", code), UNKNOWN_ROLE)]
        if addressee.find in _FIND_BY_IDENTIFIER:
            use, scheme = _FIND_BY_IDENTIFIER[addressee.find]
            values = list(dict.fromkeys(p.identifiers[use] for p in self._subjects if use in p.identifiers))
            if use == "carer":
                values = self._list_carers(values)
            return [self._resolve_identifier(scheme, value, addressee.role) for value in values] or [
                (make_unresolved("code", code), addressee.role)
            ]
        if addressee.find == "placing":
            places = list(dict.fromkeys(p.identifiers["placing"] for p in self._subjects if "placing" in p.identifiers))
            return [self._resolve_area(addressee, place) for place in places] or [
                (make_unresolved("code", code), addressee.role)
            ]
        if addressee.find == "area":
            return [self._resolve_area(addressee, self._area)]
        agency = find_by_role(self._directory, addressee.role, self._area, elsewhere=True)
        return [(agency.id if agency else make_unresolved("code", code), addressee.role)]

    def find_parties(self, refs: Iterable[str]) -> tuple[str, ...]:
        """Return the agencies of the directory that ``refs`` mean by circulation codes (FORMATS CH-15); other references are people."""
        codes = [ref for ref in refs if self._find_addressee(ref) is not None]
        agencies = [agency for code in codes for agency, _ in self.resolve_code(code)]
        return tuple(dict.fromkeys(one for one in agencies if self._directory.find_agency(one) is not None))

    def name_post(self, code: str) -> list[str]:
        """Return ``agency#contact`` for a circulation code that an embargo lets know (FORMATS CH-16)."""
        return [
            f"{agency}#{contact}"
            for agency, _ in self.resolve_code(code)
            if (contact := self._name_contact(code, agency, frozenset({code}))) is not None
        ]

    def _find_addressee(self, code: str) -> AddresseeSpec | None:
        return self._spec.codes.get(self._spec.aliases.get(code.casefold(), code))

    def _list_codes(self) -> list[Found]:
        spec, node = self._spec, self._context.node
        for choice in spec.choices:
            if meets(node, choice.when) and (choice.found is None or self._is_known(choice.found)):
                if choice.flag is not None:
                    self._context.flags.add(choice.flag)
                return [Found(choice.code, node.path)]
        if spec.path is None:
            return []
        found = [Found(one.text(), one.path) for one in node.select(spec.path)]
        if spec.split is None:
            return found
        return [Found(part.strip(), one.path) for one in found for part in one.text.split(spec.split) if part.strip()]

    def _is_known(self, organisation: OrganisationSpec) -> bool:
        value = read_organisation(self._context, self._context.node, organisation)
        return value is not None and find_by_identifier(self._directory, organisation.scheme, value) is not None

    def _list_carers(self, from_people: list[str]) -> list[str]:
        if self._spec.carer is None:
            return from_people
        stated = [
            parse_identifier("ofsted_urn", node.text(), field=node.path)
            for node in self._context.node.select(self._spec.carer)
        ]
        return list(dict.fromkeys(stated)) or from_people

    def _resolve_identifier(self, scheme: str, value: str, role: str) -> tuple[str, str]:
        agency = find_by_identifier(self._directory, scheme, value, role)
        return (agency.id if agency else make_unresolved(scheme, value), role)

    def _resolve_area(self, addressee: AddresseeSpec, area: str) -> tuple[str, str]:
        agency = find_by_role(self._directory, addressee.role, area)
        return (agency.id if agency else make_unresolved("gss", area), addressee.role)

    def _resolve_performer(self, node: Node) -> CirculationEntry:
        for system in self._spec.performer_systems:
            found = node.first(f"identifier[system={system.system}].value")
            if found is not None:
                agency, role = self._resolve_system(system, found)
                return self._make_entry(system.scheme, agency, role, None)
        named = node.first("identifier.value")
        if named is None:
            raise Rejected("an addressee without an identifier", field=f"{node.path}.identifier" if node.path else None)
        return self._make_entry("performer", make_unresolved("code", named.text()), UNKNOWN_ROLE, None)

    def _resolve_system(self, system: PerformerSpec, found: Node) -> tuple[str, str]:
        value = parse_identifier(system.scheme, found.text(), field=found.path)
        if system.find == "area":
            agency = find_by_role(self._directory, system.role, value)
        else:
            agency = find_by_identifier(self._directory, system.scheme, value, system.role or None)
        role = system.role or (agency.roles[0] if agency and agency.roles else UNKNOWN_ROLE)
        return (agency.id if agency else make_unresolved(system.scheme, value), role)

    def _name_contact(self, code: str, agency_id: str, named_codes: frozenset[str]) -> str | None:
        addressee = self._find_addressee(code)
        agency = self._directory.find_agency(agency_id)
        if addressee is None or agency is None or code not in named_codes:
            return None
        holders = [contact for contact in agency.contacts if addressee.role in contact.roles]
        by_post = [contact for contact in holders if _same(contact.post, addressee.named_post)]
        return (by_post or holders)[0].id if holders else None

    def _make_entry(self, code: str, agency: str, role: str, contact: str | None) -> CirculationEntry:
        purpose = find_purpose(self._kind, role, code)
        return CirculationEntry(code=code, agency=agency, role=role, purpose=purpose, contact=contact)


def read_organisation(context: RecordContext, node: Node, organisation: OrganisationSpec) -> str | None:
    """Return the identifier that names an organisation, in canonical form, or none.

    Raises:
        Rejected: it is malformed.
    """
    found = node.first(organisation.path)
    if found is None or isinstance(found.value, dict):
        return None
    return parse_identifier(organisation.scheme, found.text(), test_mode=context.test_mode, field=found.path)


def read_conflicts(context: RecordContext, spec: ConflictSpec) -> list[ConflictOfInterest]:
    """Return the conflicts of interest that resolve to an agency of the directory.

    One with a post keeps only that contact away, when the directory knows the post or who holds it; otherwise the whole body (FORMATS 1.1,
    CH-15), because a referral that waits for a person does less harm than one that reaches the wrong one.

    Raises:
        Rejected: the body is not said, or its identifier is malformed, of a sort that the format does not have, or a name that nobody bears.
    """
    conflicts = []
    for node in context.node.select(spec.each):
        if all(node.first(one.path) is None for one in spec.organisation):
            raise Rejected(
                "say which body it is, by an identifier", field=name_missing(node, spec.organisation[0].path)
            )
        agencies = _find_bodies(context, node, spec.organisation, spec.sort)
        post, name = read_text(node, spec.post), read_text(node, spec.name)
        named = [(a, c) for a in agencies for c in a.contacts if _is_contact(c, post, name)]
        if named and post:
            conflicts += [ConflictOfInterest(agency=a.id, contact=c.id) for a, c in named]
        else:
            conflicts += [ConflictOfInterest(agency=a.id) for a in agencies]
    return conflicts


def read_tokens(context: RecordContext, spec: TokenSpec, addresses: Addresses) -> list[StatedToken]:
    """Return the disclosure tokens, one for each agency that a token names."""
    tokens = []
    for node in context.node.select(spec.each):
        recipients = [a.id for a in _find_bodies(context, node, spec.organisation)]
        code = read_text(node, spec.code)
        if code is not None:
            recipients += [agency for agency, _ in addresses.resolve_code(code)]
        tokens += [
            StatedToken(
                scheme=read_text(node, spec.scheme) or UNKNOWN,
                ref=read_text(node, spec.ref) or UNKNOWN,
                recipient=recipient,
                expires_at=context.read_moment(node, spec.expires),
                authorised_by=read_text(node, spec.authorised_by),
            )
            for recipient in recipients
        ]
    return tokens


def _find_bodies(
    context: RecordContext, node: Node, specs: tuple[OrganisationSpec, ...], sort: FieldSpec | None = None
) -> list[Agency]:
    """Return the agencies of the directory that the first identifier found names: one body may be several of them."""
    for spec in specs:
        found = node.first(spec.path)
        if found is None or isinstance(found.value, dict):
            continue
        scheme = spec.scheme or read_text(node, sort)
        if scheme is None:
            raise Rejected("say of what sort the identifier is", field=name_missing(node, sort))
        return _list_bodies(context, scheme.split("|"), found)
    return []


def _list_bodies(context: RecordContext, schemes: list[str], found: Node) -> list[Agency]:
    agencies = context.directory.agencies
    values = {s: v for s in schemes if s != NAME and (v := _fit_identifier(context, s, found.text())) is not None}
    bodies = [a for a in agencies if any(a.identifiers.get(scheme) == value for scheme, value in values.items())]
    if not bodies and NAME in schemes:
        bodies = [a for a in agencies if _bears_name(a, found.text())]
    if not values and not bodies:
        raise Rejected("it names nobody by an identifier, or by a name, that the directory knows", field=found.path)
    return bodies


def _fit_identifier(context: RecordContext, scheme: str, text: str) -> str | None:
    try:
        return parse_identifier(scheme, text, test_mode=context.test_mode)
    except Rejected:
        return None


def _bears_name(agency: Agency, name: str) -> bool:
    """Return whether an agency has that name, or is a part of the body that has it ("Somewhere Council, Children's Services")."""
    body = re.split(r",| \(", agency.name, maxsplit=1)[0]
    return _same(agency.name, name) or _same(body, name)


def _is_contact(contact: Contact, post: str | None, name: str | None) -> bool:
    return _same(contact.name, name) or _same(contact.post, post) or _same(contact.id, post)


def _same(one: str, other: str | None) -> bool:
    return other is not None and one.casefold().strip() == other.casefold().strip()
