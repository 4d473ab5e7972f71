"""People who approve: each makes their own keys on their own machine; the authority puts the public part into the directory, and nothing else."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_bytes
from typing import Any

from pydantic import ValidationError

from deploy.authority.key_file import SCRYPT_COST, open_with_passphrase, seal_with_passphrase, write_private
from deploy.authority.state import load_state, save_state
from schemas.canonical import canonical_bytes, encode_base64url, parse_object
from schemas.directory import Person
from schemas.errors import ConfigInvalid, NotFound
from schemas.keys import KeyUse, SigningKeys, generate_ed25519_jwk, public_part
from schemas.objects import sign_object
from schemas.objects.approval import Approval

APPROVAL_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Approver:
    """A person whose key file is open."""

    id: str
    agency: str
    roles: tuple[str, ...]
    signer: SigningKeys = field(repr=False)
    api_jwk: dict[str, Any] = field(repr=False)


def create_approver(
    path: Path, person_id: str, agency: str, roles: Sequence[str], passphrase: str, *, cost: int = SCRYPT_COST
) -> Person:
    """Make a person's keys, write them encrypted to ``path`` and return the entry for the directory.

    Raises:
        ConfigInvalid: the file is there already, an id or role is not of its form, or the passphrase is too short.
    """
    if path.exists():
        raise ConfigInvalid("is there already", field=f"key file {path.name}")
    _, pair = SigningKeys.generate(KeyUse.APPROVAL)
    api_jwk = generate_ed25519_jwk(KeyUse.API)
    try:
        person = Person(
            id=person_id,
            agency=agency,
            roles=tuple(roles),
            keys=tuple(public_part(jwk) for jwk in (*pair, api_jwk)),
        )
    except ValidationError:
        raise ConfigInvalid("is not of its form", field="person") from None
    secret = canonical_bytes({"approval": list(pair), "api": api_jwk})
    sealed = seal_with_passphrase(secret, passphrase, label=f"approver|{person_id}", cost=cost)
    write_private(path, json.dumps({"person": person.model_dump(mode="json"), "sealed": sealed}, indent=1).encode())
    return person


def open_approver(path: Path, passphrase: str) -> Approver:
    """Open a person's key file.

    Raises:
        NotFound: there is no such file.
        WrongPassphrase: the passphrase does not open it.
    """
    stored = _read(path)
    person = read_person(path)
    secret = parse_object(
        open_with_passphrase(stored["sealed"], passphrase, label=f"approver|{person.id}"), max_bytes=65536
    )
    return Approver(person.id, person.agency, person.roles, SigningKeys.from_jwks(*secret["approval"]), secret["api"])


def read_person(path: Path) -> Person:
    """Return the public entry in a key file, or in a file that holds the entry alone.

    Raises:
        NotFound: there is no such file.
        ConfigInvalid: it is not of its form.
    """
    stored = _read(path)
    try:
        return Person.model_validate(stored.get("person", stored))
    except ValidationError:
        raise ConfigInvalid("is not a person's entry", field=path.name) from None


def admit_person(folder: Path, person: Person) -> None:
    """Put a person into the authority's state, in place of an earlier entry; the next signed directory version has them.

    Raises:
        ConfigInvalid: there is no authority in ``folder``.
    """
    state = load_state(folder)
    others = tuple(p for p in state.people if p.id != person.id)
    save_state(folder, state, people=(*others, person))


def sign_approval(
    approver: Approver, *, now: datetime, lifetime: timedelta = APPROVAL_LIFETIME, **members: Any
) -> bytes:
    """Return an approval signed with a person's own key, good for ``lifetime``.

    Raises:
        ConfigInvalid: a member is missing or not of its form.
    """
    role = members.pop("approver_role", None) or next(iter(approver.roles), "")
    base = {
        "approval_id": encode_base64url(token_bytes(16)),
        "approver": approver.id,
        "approver_agency": approver.agency,
        "approver_role": role,
        "issued_at": now,
        "expires_at": now + lifetime,
    }
    try:
        approval = Approval.model_validate(base | members)
    except ValidationError as error:
        path = ".".join(str(part) for part in error.errors(include_input=False, include_url=False)[0]["loc"])
        raise ConfigInvalid("is missing or not of its form", field=f"approval.{path}") from None
    return sign_object("approval", approval, approver.signer)


def _read(path: Path) -> dict[str, Any]:
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound("there is no such key file", field=path.name) from None
    except (OSError, ValueError):
        raise ConfigInvalid("cannot be read", field=path.name) from None
    return stored
