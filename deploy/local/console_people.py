"""People of the local console, one for each role: ready to sign in, with secrets made on this machine and kept beside its other data.

``python -m deploy.local.console_people auditor`` prints the one-time code of this half minute, in place of an authenticator app.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_urlsafe
from typing import Final

import pyotp

from broker.config import HubConfig, read_text
from broker.console import users
from broker.console.access import Role
from broker.console.sealing import Sealer
from broker.console.signin.codes import make_code_secret
from broker.console.signin.passwords import PasswordHasher
from broker.console.users import NewUser
from deploy.console_accounts import open_accounts
from deploy.local.files import show_path, write_secret
from deploy.local.local_people import LocalPerson
from schemas.errors import ConfigInvalid, NotFound

PEOPLE_FILE = "console-people.json"
INSPECTION = timedelta(days=14)
_AS_WHOM: Final = {Role.IG_OFFICER: "partnership_ig_officer", Role.AUDITOR: "partnership_auditor"}
"""Role at the console, and the role in the directory of the person who then signs."""
_USUAL_ROOT = Path("var") / "up" / "run" / "hub"


@dataclass(frozen=True, slots=True)
class DemoPerson:
    """Somebody who may sign in to the local console."""

    name: str
    role: str
    password: str
    code_secret: str
    person_id: str | None = None
    """Who in the directory they are, if they approve: their signed decisions are that person's."""


def add_demo_people(config: HubConfig, folder: Path, known: Sequence[LocalPerson]) -> list[DemoPerson]:
    """Return one person for each role, having added those who are not there; passwords and secrets are kept in ``folder``.

    ``known`` are the directory's people: as one of them the information governance officer decides reviews, as another the auditor agrees to a
    chronology. Without such a person they can only read.
    """
    named = {role: _find_person(known, wanted) for role, wanted in _AS_WHOM.items()}
    path = folder / PEOPLE_FILE
    if path.exists():
        people = [DemoPerson(**members) for members in json.loads(path.read_text(encoding="utf-8"))]
    else:
        people = [
            DemoPerson(
                role.value.replace("_", "-"),
                role.value,
                token_urlsafe(12),
                make_code_secret(),
                named.get(role),
            )
            for role in Role
        ]
        write_secret(path, json.dumps([asdict(person) for person in people]))
    asyncio.run(_add_missing(config, people))
    return people


def _find_person(known: Sequence[LocalPerson], role: str) -> str | None:
    return next((someone.person.id for someone in known if role in someone.person.roles), None)


async def _add_missing(config: HubConfig, people: list[DemoPerson]) -> None:
    console = config.console
    if console is None:
        raise ConfigInvalid("is not set", field="console")
    sealer = Sealer.from_text(read_text(console.secret_file, "console.secret_file"))
    hasher, now = PasswordHasher(), datetime.now(UTC)
    for person in people:
        async with open_accounts(config) as (connection, journal):
            try:
                await users.find_user(connection, person.name)
                continue
            except NotFound:
                role = Role(person.role)
                expires_at = now + INSPECTION if role is Role.INSPECTOR else None
                display = f"Demo {person.name.replace('-', ' ')}"
                new = NewUser(
                    person.name, display, frozenset({role}), person_id=person.person_id, expires_at=expires_at
                )
            await users.add_user(connection, journal, new, by="make-up", now=now)
            user = await users.find_user(connection, person.name)
            sealed = sealer.seal(f"code {user.user_id}", person.code_secret.encode())
            await users.activate_with_password(
                connection, user.user_id, await hasher.hash_password(person.password), sealed, step=0, now=now
            )


def describe_console(url: str, people: list[DemoPerson], approvers: Sequence[LocalPerson]) -> str:
    """Return the part of the guide about the console, and which key file signs what its officer decides."""
    rows = "\n".join(f"  {person.name:12} {person.password}" for person in people)
    return f"""
The console is {url} (its certificate is this stack's own: your browser asks once). User names and passwords:
{rows}
It then asks for a one-time code: .venv/bin/python -m deploy.local.console_people auditor
A code counts once: whoever signs in again waits for the next half minute.
{"".join(_describe_signing(person, approvers) for person in people)}"""


def _describe_signing(person: DemoPerson, approvers: Sequence[LocalPerson]) -> str:
    """Return how the person signs what they decide in the console; nothing for those who approve nothing."""
    someone = next((a for a in approvers if a.person.id == person.person_id), None)
    if someone is None:
        return ""
    key, passphrase = show_path(someone.key_file), show_path(someone.passphrase_file)
    acts = "decides its reviews" if "approver" in someone.person.roles else "may agree to a chronology"
    return f"""In the console {person.name} is {someone.person.id} of {someone.person.agency}, and {acts}. "Sign your decision" shows a DOCUMENT; this signs it:
  safelane review sign 'DOCUMENT' --key {key} --passphrase-file {passphrase}
Paste the line that it prints into the same page.
"""


def read_code(name: str, folder: Path = _USUAL_ROOT) -> str:
    """Return the one-time code of this half minute.

    Raises:
        ConfigInvalid: there is no such person.
    """
    path = folder / PEOPLE_FILE
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    secret = next((members["code_secret"] for members in found if members["name"] == name), None)
    if secret is None:
        raise ConfigInvalid("there is no such person: start with `make up`", field="name")
    return pyotp.TOTP(secret).now()


if __name__ == "__main__":
    try:
        print(read_code(sys.argv[1] if len(sys.argv) > 1 else "auditor"))
    except ConfigInvalid as error:
        sys.exit(str(error))
