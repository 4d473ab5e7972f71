"""The local console's people: the officer can approve as somebody whom the directory knows, and the guide says with which key."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyotp
import pytest

from deploy.local import console_people
from deploy.local.console_people import add_demo_people, describe_console, read_code
from deploy.local.local_people import LocalPerson

CONFIG: Any = None
"""Nobody reads it here: the database is left out."""


@pytest.fixture(autouse=True)
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    async def add_nobody(_config: Any, _people: Any) -> None:
        return None

    monkeypatch.setattr(console_people, "_add_missing", add_nobody)


def make_known(folder: Path) -> list[LocalPerson]:
    roles = {"approver-police": ("approver", "partnership_ig_officer"), "auditor-social-care": ("partnership_auditor",)}
    found = []
    for name, held in roles.items():
        person: Any = SimpleNamespace(id=name, agency="police.marchshire", roles=held)
        found.append(LocalPerson(person, folder / f"{name}.key.json", folder / f"{name}.passphrase"))
    return found


def test_officer_and_auditor_are_people_of_the_directory_and_stay_it(tmp_path: Path) -> None:
    people = add_demo_people(CONFIG, tmp_path, make_known(tmp_path))
    known = {"ig-officer": "approver-police", "auditor": "auditor-social-care"}
    assert {p.name: p.person_id for p in people if p.person_id} == known
    assert add_demo_people(CONFIG, tmp_path, []) == people, "what was made once is kept"
    secret = next(p.code_secret for p in people if p.name == "auditor")
    assert pyotp.TOTP(secret).verify(read_code("auditor", tmp_path), valid_window=1)


def test_the_guide_names_the_key_file_that_signs_what_they_decide(tmp_path: Path) -> None:
    people = add_demo_people(CONFIG, tmp_path, make_known(tmp_path))
    told = describe_console("https://localhost:1", people, make_known(tmp_path))
    assert "ig-officer is approver-police of police.marchshire, and decides its reviews" in told
    assert "auditor is auditor-social-care of police.marchshire, and may agree to a chronology" in told
    assert f"--key {tmp_path / 'approver-police.key.json'}" in told
    assert "review sign" not in describe_console("https://localhost:1", people, [])
