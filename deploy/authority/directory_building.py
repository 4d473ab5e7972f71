"""Builds a directory version from the partnership file and the authority's state. Pure: values in, a directory out."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from deploy.authority.officers import OFFICER_ROLE
from deploy.authority.partnership import PartnershipFile
from deploy.authority.state import AuthorityState, EnrolledAgency
from schemas.directory import Agency, AgencyKeys, Directory, Person
from schemas.enrolment import EnrolmentRequest
from schemas.errors import ConfigInvalid
from schemas.keys import KeyUse, compute_thumbprint, public_part

DIRECTORY_LIFETIME = timedelta(days=30)
"""How long a version is good for: a hub that stops passing on new versions is noticed within this time."""


def build_directory(
    partnership: PartnershipFile,
    state: AuthorityState,
    officers: Sequence[Person],
    *,
    now: datetime,
    lifetime: timedelta = DIRECTORY_LIFETIME,
) -> Directory:
    """Return the version after ``state``'s, valid from ``now`` for ``lifetime``.

    Raises:
        ConfigInvalid: an enrolled agency, a witness, a party or a person's agency is not in the partnership file.
    """
    known = {agency.id for agency in partnership.agencies}
    _require_known(known, state, officers, partnership)
    agencies = tuple(_with_keys(agency, state.enrolled.get(agency.id)) for agency in partnership.agencies)
    people = (*officers, *state.people)
    if len({person.id for person in people}) != len(people):
        raise ConfigInvalid("an officer and another person share an id", field="people")
    return Directory(
        version=state.directory_version + 1,
        issued_at=now,
        expires_at=now + lifetime,
        partnership=partnership.partnership,
        agencies=agencies,
        people=people,
        calendars=partnership.calendars,
        bank_holidays=partnership.bank_holidays,
        local_policy=partnership.local_policy,
        agreements=partnership.agreements,
        matrix=state.matrix,
        policy_digest=state.policy_digest,
        hub=state.hub,
        witnesses=state.witnesses,
        authority_successor=state.successor_thumbprint,
    )


def enrol_agency(state: AuthorityState, request: EnrolmentRequest, *, now: datetime) -> AuthorityState:
    """Return the state in which the keys of ``request`` are the agency's; keys that it had before are revoked."""
    earlier = state.enrolled.get(request.agency)
    revoked = set(earlier.keys.revoked) if earlier else set()
    if earlier:
        revoked |= {
            compute_thumbprint(jwk) for jwk in (*earlier.keys.signing, *earlier.keys.api, *earlier.keys.witness)
        }
    revoked -= {compute_thumbprint(jwk) for jwk in request.public_keys()}
    keys = AgencyKeys(signing=request.signing, api=request.api, witness=request.witness, revoked=tuple(sorted(revoked)))
    enrolled = {**state.enrolled, request.agency: EnrolledAgency(keys=keys, enrolled_at=now)}
    return state.model_copy(update={"enrolled": enrolled})


def revoke_agency(
    state: AuthorityState, agency_id: str, *, now: datetime, thumbprint: str | None = None
) -> AuthorityState:
    """Return the state in which the agency, or one key of it, no longer counts.

    Raises:
        ConfigInvalid: the agency is not enrolled.
    """
    entry = state.enrolled.get(agency_id)
    if entry is None:
        raise ConfigInvalid("is not enrolled", field="agency")
    if thumbprint is None:
        changed = entry.model_copy(update={"revoked_at": entry.revoked_at or now})
    else:
        revoked = tuple(sorted({*entry.keys.revoked, thumbprint}))
        changed = entry.model_copy(update={"keys": entry.keys.model_copy(update={"revoked": revoked})})
    return state.model_copy(update={"enrolled": {**state.enrolled, agency_id: changed}})


def add_person(state: AuthorityState, person: Person) -> AuthorityState:
    """Return the state with ``person`` in it, in place of an earlier entry of that id.

    Raises:
        ConfigInvalid: it is an officer (they come from their key files), or has no pair that signs approvals, or brings a private key.
    """
    uses = [jwk.get("safelane_use") for jwk in person.keys]
    if OFFICER_ROLE in person.roles:
        raise ConfigInvalid("officers are made when the authority is founded", field="person.roles")
    if uses.count(KeyUse.APPROVAL.value) != 2 or any(public_part(jwk) != jwk for jwk in person.keys):
        raise ConfigInvalid("must bring the public pair that signs approvals, and no private key", field="person.keys")
    others = tuple(p for p in state.people if p.id != person.id)
    return state.model_copy(update={"people": tuple(sorted((*others, person), key=lambda p: p.id))})


def remove_person(state: AuthorityState, person_id: str) -> AuthorityState:
    """Return the state without that person.

    Raises:
        ConfigInvalid: there is no such person.
    """
    others = tuple(p for p in state.people if p.id != person_id)
    if len(others) == len(state.people):
        raise ConfigInvalid("is not in the directory", field="person")
    return state.model_copy(update={"people": others})


def _with_keys(agency: Agency, entry: EnrolledAgency | None) -> Agency:
    if entry is None:
        # Keys come from approved enrolments alone, whatever a partnership file says.
        return agency.model_copy(update={"keys": AgencyKeys(), "enrolled_at": None})
    return agency.model_copy(
        update={"keys": entry.keys, "enrolled_at": entry.enrolled_at, "revoked_at": entry.revoked_at}
    )


def _require_known(
    known: set[str], state: AuthorityState, officers: Sequence[Person], partnership: PartnershipFile
) -> None:
    groups = {
        "enrolled": set(state.enrolled),
        "witnesses": set(state.witnesses.agencies),
        "officers": {person.agency for person in officers},
        "people": {person.agency for person in state.people},
        "agreements": {party for agreement in partnership.agreements for party in agreement.parties},
    }
    for name, ids in groups.items():
        if not ids <= known:
            raise ConfigInvalid("names an agency that is not in the partnership file", field=name)
    if state.witnesses.quorum > len(state.witnesses.agencies):
        raise ConfigInvalid("asks for more witnesses than there are", field="witnesses.quorum")
