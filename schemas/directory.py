"""The directory: signed by the authority, versioned, expiring; the hub distributes it and can write none of it (DESIGN, Who runs what)."""

from datetime import date, time
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from schemas.clear_forms import AgencyId, ContactId, GssCode, KindCode, PersonId, PurposeCode, RoleCode
from schemas.errors import RuleBroken
from schemas.wire_types import DirectoryCode

Jwk = dict[str, Any]


class DirectoryModel(BaseModel):
    """Base of the directory's parts: frozen, and closed to unknown members."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Contact(DirectoryModel):
    """A named person or post, in order of preference within a role."""

    id: ContactId
    post: str
    name: str = ""
    phone: str = ""
    email: str = ""
    roles: tuple[RoleCode, ...] = ()


class AgencyKeys(DirectoryModel):
    """An agency's long-lived public keys, each a JWK: identity signing pair (Ed25519, ML-DSA-65), API key, witness pair."""

    signing: tuple[Jwk, ...] = ()
    api: tuple[Jwk, ...] = ()
    witness: tuple[Jwk, ...] = ()
    """Ed25519, and ML-DSA-44 right after it where the agency has one: the two count together (``schemas.witnesses``)."""
    revoked: tuple[str, ...] = ()
    """Thumbprints (RFC 7638) that no longer count, whatever else says so."""


class Agency(DirectoryModel):
    """An agency: what it is in law, its roles, contacts, identifiers and keys."""

    id: AgencyId
    name: str
    kind: DirectoryCode
    roles: tuple[RoleCode, ...]
    area: GssCode
    public_body: bool
    s16la_body: bool
    mappa_status: DirectoryCode = "none"
    identifiers: dict[str, str] = {}
    calendar: DirectoryCode | None = None
    contacts: tuple[Contact, ...] = ()
    keys: AgencyKeys = AgencyKeys()
    enrolled_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None


class Person(DirectoryModel):
    """A person who approves: signs what they approve with their own key."""

    id: PersonId
    agency: AgencyId
    roles: tuple[DirectoryCode, ...]
    keys: tuple[Jwk, ...] = ()


class Span(DirectoryModel):
    """Days from ``first`` to ``last``, both included."""

    first: date
    last: date
    name: str = ""


class Calendar(DirectoryModel):
    """A school calendar; closed days are half terms and INSET days inside a term."""

    id: DirectoryCode
    day_starts: time
    terms: tuple[Span, ...] = ()
    half_terms: tuple[Span, ...] = ()
    inset_days: tuple[date, ...] = ()


class BankHoliday(DirectoryModel):
    """A bank holiday of England."""

    date: date
    name: str = ""


class Agreement(DirectoryModel):
    """An executable data-sharing agreement, in force when ``starts_on`` <= local date <= ``ends_on`` (FORMATS CH-17)."""

    id: DirectoryCode
    name: str = ""
    parties: tuple[AgencyId, ...]
    purposes: tuple[PurposeCode, ...]
    kinds: tuple[KindCode, ...]
    starts_on: date
    ends_on: date
    review_on: date | None = None
    owner: AgencyId | None = None


class MatrixRow(DirectoryModel):
    """One row of the need-to-know matrix: kind and role to a cell (F, S, P, A or -) for each compartment C01 to C16."""

    kind: KindCode
    role: RoleCode
    cells: dict[str, Annotated[str, Field(pattern=r"^[FSPA-]$")]]


class Area(DirectoryModel):
    """A local authority area of the partnership."""

    gss: GssCode
    name: str = ""
    la_number: DirectoryCode | None = None
    police_force_code: DirectoryCode | None = None


class Partnership(DirectoryModel):
    """Who runs this directory and where. ``test_mode`` accepts synthetic identifiers (FORMATS CH-1)."""

    id: DirectoryCode
    name: str = ""
    test_mode: bool = False
    timezone: str = "Europe/London"
    areas: tuple[Area, ...] = ()


class WitnessPolicy(DirectoryModel):
    """The witness set by agency id, and how many of them make a quorum."""

    agencies: tuple[AgencyId, ...] = ()
    quorum: int = 0


class EarlierEpoch(DirectoryModel):
    """An epoch of the log that ended in a loss. The next one begins with its first ``kept_size`` entries, whose root is ``kept_root`` (base64url)."""

    epoch: int = Field(ge=1)
    log_origin: str
    log_verifier: str
    kept_size: int = Field(ge=0)
    kept_root: str


class HubKeys(DirectoryModel):
    """The hub's public keys: log checkpoint key (C2SP note verifier key text) and the origin line of its log.

    ``starting_checkpoint`` is the highest head that witnesses had when this epoch was opened, as the epoch before signed it; empty in the first.
    """

    log_origin: str = ""
    log_verifier: str = ""
    epoch: int = 1
    starting_checkpoint: str = ""
    earlier: tuple[EarlierEpoch, ...] = ()


class Directory(DirectoryModel):
    """One version of the directory. Valid while ``issued_at`` <= now < ``expires_at`` by the real clock."""

    version: int = Field(ge=1)
    issued_at: AwareDatetime
    expires_at: AwareDatetime
    partnership: Partnership
    agencies: tuple[Agency, ...]
    people: tuple[Person, ...] = ()
    calendars: tuple[Calendar, ...] = ()
    bank_holidays: tuple[BankHoliday, ...] = ()
    local_policy: dict[str, Any] = {}
    agreements: tuple[Agreement, ...] = ()
    matrix: tuple[MatrixRow, ...] = ()
    policy_digest: str = ""
    hub: HubKeys = HubKeys()
    witnesses: WitnessPolicy = WitnessPolicy()
    authority_successor: str = ""
    """Thumbprint of the pinned next authority key."""

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        for group in (self.agencies, self.people, self.calendars, self.agreements):
            ids = [item.id for item in group]
            if len(ids) != len(set(ids)):
                raise RuleBroken("an id is used twice")
        return self

    def find_agency(self, agency_id: str) -> Agency | None:
        """Return the agency of that id, revoked or not, or none."""
        return next((a for a in self.agencies if a.id == agency_id), None)

    def find_by_identifier(self, scheme: str, value: str) -> Agency | None:
        """Return the one agency with that identifier (``urn``, ``ods``, ``gss`` …), or none."""
        found = [a for a in self.agencies if a.identifiers.get(scheme) == value]
        return found[0] if len(found) == 1 else None

    def find_matrix_row(self, kind: str, role: str) -> MatrixRow | None:
        """Return the matrix row for a kind and role, or none (FORMATS CH-7: a gap needs a person)."""
        return next((r for r in self.matrix if r.kind == kind and r.role == role), None)
