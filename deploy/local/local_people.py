"""The people of a partnership on this machine who decide what policy holds or audit it: their key files and passphrases, beside the demo's data.

In production each makes their own (``safelane authority make-person``), and the passphrase is in their head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.authority.officers import create_person
from deploy.authority.people import read_person
from deploy.local.files import read_or_make_secret
from schemas.directory import Agency, Person

PEOPLE = (
    ("approver-police", "police", ("approver", "partnership_ig_officer")),
    ("approver-social-care", "social_care", ("approver",)),
    ("approver-health", "health", ("approver",)),
    ("auditor-social-care", "social_care", ("partnership_auditor",)),
)
"""Name, kind of agency, whose first gets them, and roles. The auditor and the officer together may read a chronology."""


@dataclass(frozen=True, slots=True)
class LocalPerson:
    """A person with their key file and the file that holds their passphrase."""

    person: Person
    key_file: Path
    passphrase_file: Path

    @property
    def options(self) -> str:
        """The options by which commands know them, as people type them from here."""
        return f"--key {self.key_file} --passphrase-file {self.passphrase_file}"


def make_people(folder: Path, agencies: Sequence[Agency]) -> list[LocalPerson]:
    """Make each person whose kind of agency is there, once; return them with the public entries for the directory."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = []
    for name, kind, roles in PEOPLE:
        agency = next((a for a in agencies if a.kind == kind), None)
        if agency is None:
            continue
        key_file, passphrase_file = folder / f"{name}.key.json", folder / f"{name}.passphrase"
        passphrase = read_or_make_secret(passphrase_file)
        if key_file.exists():
            person = read_person(key_file)
        else:
            person = create_person(folder, name, agency.id, roles, passphrase)
        found.append(LocalPerson(person, key_file, passphrase_file))
    return found
