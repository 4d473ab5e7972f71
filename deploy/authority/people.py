"""People who approve: they open their own key file (``safelane authority make-person``) and sign what they decide."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_bytes
from typing import Any

from pydantic import ValidationError

from deploy.authority.key_file import open_with_passphrase
from schemas.canonical import encode_base64url, parse_object
from schemas.directory import Person
from schemas.errors import ConfigInvalid, NotFound, Rejected
from schemas.keys import SigningKeys
from schemas.objects import sign_object
from schemas.objects.approval import PAIRED_ACTIONS, Approval
from schemas.validation import describe_first_fault, name_first_fault

APPROVAL_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Approver:
    """A person whose key file is open."""

    id: str
    agency: str
    roles: tuple[str, ...]
    signer: SigningKeys = field(repr=False)
    api_jwk: dict[str, Any] = field(repr=False)


def open_approver(path: Path, passphrase: str) -> Approver:
    """Open a person's key file.

    Raises:
        NotFound: there is no such file.
        ConfigInvalid: it is not one.
        WrongPassphrase: the passphrase does not open it.
    """
    person = read_person(path)
    sealed = _read(path).get("sealed", {})
    secret = parse_object(open_with_passphrase(sealed, passphrase, label=f"officer|{person.id}"), max_bytes=65536)
    return Approver(person.id, person.agency, person.roles, SigningKeys.from_jwks(*secret["approval"]), secret["api"])


def read_person(path: Path) -> Person:
    """Return the public entry in a key file.

    Raises:
        NotFound: there is no such file.
        ConfigInvalid: it is not of its form.
    """
    try:
        return Person.model_validate(_read(path).get("person"))
    except ValidationError:
        raise ConfigInvalid("is not a person's key file", field=path.name) from None


def sign_approval(
    approver: Approver, *, now: datetime, lifetime: timedelta = APPROVAL_LIFETIME, **members: Any
) -> bytes:
    """Return an approval signed with a person's own key, good for ``lifetime``. Without ``approver_role``, in the role that such an act takes.

    Raises:
        Rejected: a member is missing or not of its form.
    """
    base = {
        "approval_id": encode_base64url(token_bytes(16)),
        "approver": approver.id,
        "approver_agency": approver.agency,
        "approver_role": _choose_role(approver.roles, members.get("action")),
        "issued_at": now,
        "expires_at": now + lifetime,
    }
    given = {name: value for name, value in members.items() if value is not None}
    try:
        approval = Approval.model_validate(base | given)
    except ValidationError as error:
        path = name_first_fault(error)
        raise Rejected(describe_first_fault(error), field=f"approval.{path}") from None
    return sign_object("approval", approval, approver.signer)


def _choose_role(roles: Sequence[str], action: object) -> str:
    """Return the first role for the whole partnership where the act is one for two people, else the first for one's own agency; failing that, the first."""
    wide = action in PAIRED_ACTIONS
    fitting = [role for role in roles if role.startswith("partnership_") == wide]
    return next(iter([*fitting, *roles]), "")


def _read(path: Path) -> dict[str, Any]:
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound("there is no such key file", field=path.name) from None
    except (OSError, ValueError):
        raise ConfigInvalid("cannot be read", field=path.name) from None
    return stored
