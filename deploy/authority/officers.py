"""The officers of the authority: people with their own keys, who sign what they approve and together open the authority's key."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from deploy.authority.key_file import SCRYPT_COST, open_with_passphrase, seal_with_passphrase, write_private
from schemas.canonical import canonical_bytes, parse_object
from schemas.clear_forms import AgencyId, EnrolmentId, PersonId
from schemas.directory import Person
from schemas.errors import ConfigInvalid, NotFound, SignatureInvalid
from schemas.jose import sign_jws, verify_jws
from schemas.keys import KeyUse, SigningKeys, VerifyingKeys, generate_ed25519_jwk, public_part

OFFICER_ROLE = "authority_officer"
APPROVAL_TYP = "safelane-enrolment-approval+jws"

Jwk = dict[str, Any]


class EnrolmentApproval(BaseModel):
    """An officer's own signed statement that they compared the fingerprint with the agency by another route."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enrolment_id: EnrolmentId
    request_sha256: str
    agency: AgencyId
    officer: PersonId
    at: AwareDatetime


@dataclass(frozen=True, slots=True)
class Officer:
    """An officer whose key file is open: id, agency, keys that sign approvals, and the key for the hub's API."""

    id: str
    agency: str
    signer: SigningKeys = field(repr=False)
    api_jwk: Jwk = field(repr=False)


def create_officer(folder: Path, officer_id: str, agency: str, passphrase: str, *, cost: int = SCRYPT_COST) -> Person:
    """Make an officer's keys, write them encrypted to ``folder`` and return the entry for the directory.

    Raises:
        ConfigInvalid: the officer has a key file already, or the passphrase is too short.
    """
    return create_person(folder, officer_id, agency, (OFFICER_ROLE,), passphrase, cost=cost)


def create_person(
    folder: Path, person_id: str, agency: str, roles: Sequence[str], passphrase: str, *, cost: int = SCRYPT_COST
) -> Person:
    """Make a person's own keys (a pair that signs what they approve, and one for the hub's API), as ``create_officer`` does.

    Raises:
        ConfigInvalid: there is a key file already, the id or a role is not one, or the passphrase is too short.
    """
    path = _path(folder, person_id)
    if path.exists():
        raise ConfigInvalid("has a key file already", field=f"person {person_id}")
    _, pair = SigningKeys.generate(KeyUse.APPROVAL)
    api_jwk = generate_ed25519_jwk(KeyUse.API)
    keys = tuple(public_part(jwk) for jwk in (*pair, api_jwk))
    try:
        person = Person(id=person_id, agency=agency, roles=tuple(roles), keys=keys)
    except ValidationError:
        raise ConfigInvalid("the id, agency or a role is not of its form", field="person") from None
    secret = canonical_bytes({"approval": list(pair), "api": api_jwk})
    sealed = seal_with_passphrase(secret, passphrase, label=f"officer|{person_id}", cost=cost)
    write_private(path, json.dumps({"person": person.model_dump(mode="json"), "sealed": sealed}, indent=1).encode())
    return person


def open_officer(folder: Path, officer_id: str, passphrase: str) -> Officer:
    """Open an officer's (or another person's) key file.

    Raises:
        NotFound: there is no such officer here.
        WrongPassphrase: the passphrase does not open it.
    """
    stored = _read(folder, officer_id)
    secret = parse_object(
        open_with_passphrase(stored["sealed"], passphrase, label=f"officer|{officer_id}"), max_bytes=65536
    )
    return Officer(officer_id, stored["person"]["agency"], SigningKeys.from_jwks(*secret["approval"]), secret["api"])


def list_officers(folder: Path) -> list[Person]:
    """Return the officers whose key files are in ``folder``, by id."""
    ids = sorted(path.name.removesuffix(".key.json") for path in folder.glob("*.key.json"))
    return [Person.model_validate(_read(folder, officer_id)["person"]) for officer_id in ids]


def approve_enrolment(officer: Officer, enrolment_id: str, request_sha256: str, agency: str, *, now: datetime) -> Jwk:
    """Sign an approval of one enrolment request as ``officer``; return the JWS as a JSON object."""
    approval = EnrolmentApproval(
        enrolment_id=enrolment_id, request_sha256=request_sha256, agency=agency, officer=officer.id, at=now
    )
    return sign_jws(canonical_bytes(approval.model_dump(mode="json")), officer.signer, APPROVAL_TYP)


def verify_approval(jws: Jwk, officers: Sequence[Person]) -> EnrolmentApproval | None:
    """Return the approval if one of ``officers`` signed it with their own keys and in their own name, or none."""
    for officer in officers:
        pair = [jwk for jwk in officer.keys if jwk.get("safelane_use") == KeyUse.APPROVAL.value]
        try:
            payload = verify_jws(jws, [VerifyingKeys.from_jwks(pair[0], pair[1])], APPROVAL_TYP)
            approval = EnrolmentApproval.model_validate(parse_object(payload, max_bytes=4096))
        except (SignatureInvalid, ValidationError):
            continue
        if approval.officer == officer.id:
            return approval
    return None


def _path(folder: Path, officer_id: str) -> Path:
    if not officer_id.replace("-", "").replace(".", "").isalnum() or officer_id.startswith("."):
        raise ConfigInvalid("must be letters, digits, dots and hyphens", field="officer")
    return folder / f"{officer_id}.key.json"


def _read(folder: Path, officer_id: str) -> dict[str, Any]:
    path = _path(folder, officer_id)
    if not path.exists():
        raise NotFound("no key file of this officer is here", field="officer")
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return stored
