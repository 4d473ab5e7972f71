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


def make_approver(folder: Path) -> LocalPerson:
    person: Any = SimpleNamespace(id="approver-police", agency="police.marchshire")
    return LocalPerson(person, folder / "approver-police.key.json", folder / "approver-police.passphrase")


def test_the_officer_alone_is_a_person_of_the_directory_and_stays_it(tmp_path: Path) -> None:
    people = add_demo_people(CONFIG, tmp_path, "approver-police")
    assert {p.name: p.person_id for p in people if p.person_id} == {"ig-officer": "approver-police"}
    assert add_demo_people(CONFIG, tmp_path, None) == people, "what was made once is kept"
    secret = next(p.code_secret for p in people if p.name == "auditor")
    assert pyotp.TOTP(secret).verify(read_code("auditor", tmp_path), valid_window=1)


def test_the_guide_names_the_key_file_that_signs_the_officers_decisions(tmp_path: Path) -> None:
    people = add_demo_people(CONFIG, tmp_path, "approver-police")
    told = describe_console("https://localhost:1", people, [make_approver(tmp_path)])
    assert "ig-officer is approver-police of police.marchshire" in told
    assert f"--key {tmp_path / 'approver-police.key.json'}" in told
    assert "review sign" not in describe_console("https://localhost:1", people, [])
