"""The drop folder: what is good goes on, what is bad waits beside a readable reason, and nothing half written is touched."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.channels.folder_in import MAX_TRIES, FolderWatcher
from adapters.gateway.config import DropFolder
from adapters.gateway.outgoing.intake import IncomingDocument
from adapters.gateway.outgoing.outbox_model import AcceptedDocument
from schemas.errors import DependencyUnavailable, Rejected

SETTLE = timedelta(seconds=3)
START = 1_000_000.0
GOOD = {"number": 1, "referral_id": "r1", "native_ref": "R1", "state": "received"}
BAD = {"number": 2, "native_ref": "R2", "code": "rejected", "field": "NHS_NO", "detail": "fails its check digit"}


class Outcome:
    def __init__(self, *, urgent: bool) -> None:
        self.referral = type("R", (), {"urgent": urgent})()


class Intake:
    """A record of what was taken; ``answers`` says by content what becomes of it."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.failure: Exception | None = None

    def take(self, document: IncomingDocument) -> AcceptedDocument:
        if self.failure is not None:
            raise self.failure
        self.taken.append(document.body)
        good = [] if document.body.startswith(b"bad") else [GOOD]
        bad = [BAD] if document.body.startswith((b"bad", b"mixed")) else []
        return AcceptedDocument("d1", {"document_id": "d1", "referrals": good, "errors": bad})

    def preview(self, document: IncomingDocument) -> tuple[str, list[Any]]:
        if document.body.startswith(b"bad"):
            raise Rejected("bad")
        return "m", [Outcome(urgent=document.body.startswith(b"urgent"))]


class Drop:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.intake = Intake()
        self.now = START
        self.watcher = FolderWatcher(
            DropFolder(path=path, settle=SETTLE, max_bytes=1000), self.intake, lambda: self.now
        )  # type: ignore[arg-type]

    def put(self, name: str, body: bytes, *, age: float = 60) -> Path:
        file = self.path / name
        file.write_bytes(body)
        os.utime(file, (self.now - age, self.now - age))
        return file

    def names(self, folder: str) -> list[str]:
        return sorted(f.name for f in (self.path / folder).iterdir())


@pytest.fixture
def drop(tmp_path: Path) -> Drop:
    return Drop(tmp_path / "drop")


def test_a_good_file_ends_in_done(drop: Drop) -> None:
    drop.put("a.json", b"good")
    assert drop.watcher.take_all() == 1
    assert drop.names("done") == ["a.json"]
    assert drop.names("failed") == []


def test_a_bad_file_ends_in_failed_beside_its_reason(drop: Drop) -> None:
    drop.put("a.csv", b"bad")
    drop.watcher.take_all()
    assert drop.names("failed") == ["a.csv", "a.csv.reason.txt"]
    reason = (drop.path / "failed" / "a.csv.reason.txt").read_text()
    assert "Nothing was sent." in reason
    assert "Record 2: NHS_NO: fails its check digit" in reason


def test_the_good_records_of_a_mixed_file_go_on_and_the_reason_says_so(drop: Drop) -> None:
    drop.put("a.csv", b"mixed")
    drop.watcher.take_all()
    reason = (drop.path / "failed" / "a.csv.reason.txt").read_text()
    assert "1 of 2 records (number 1)" in reason
    assert drop.intake.taken == [b"mixed"]


def test_urgent_files_go_first_then_the_oldest(drop: Drop) -> None:
    drop.put("a.json", b"good older", age=90)
    drop.put("b.json", b"good newer", age=60)
    drop.put("c.json", b"urgent", age=10)
    drop.put("d.json", b"bad", age=120)
    drop.watcher.take_all()
    assert drop.intake.taken == [b"urgent", b"bad", b"good older", b"good newer"]


@pytest.mark.parametrize("name", [".hidden.json", "a.json.part", "a.json.tmp", "a.json~", "A.FILEPART"])
def test_names_of_unfinished_files_are_left_alone(drop: Drop, name: str) -> None:
    drop.put(name, b"good")
    assert drop.watcher.take_all() == 0
    assert (drop.path / name).exists()


def test_a_file_that_is_still_being_written_waits(drop: Drop) -> None:
    drop.put("a.json", b"goo", age=1)
    assert drop.watcher.take_all() == 0
    drop.now += 10
    assert drop.watcher.take_all() == 1


def test_a_link_or_folder_is_not_followed(drop: Drop, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_bytes(b"good")
    (drop.path / "link.json").symlink_to(tmp_path / "secret.json")
    (drop.path / "folder.json").mkdir()
    drop.now = 4e9
    assert drop.watcher.take_all() == 0


def test_a_file_that_becomes_a_link_after_it_was_listed_is_not_followed(drop: Drop, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_bytes(b"good")
    file = drop.put("a.json", b"good")
    listed = drop.watcher._list_settled()
    file.unlink()
    file.symlink_to(secret)
    drop.watcher._list_settled = lambda: listed  # type: ignore[method-assign]
    drop.watcher.take_all()
    assert drop.intake.taken == []


def test_a_file_that_grows_without_end_is_not_read_to_its_end(drop: Drop) -> None:
    file = drop.put("a.json", b"good")
    listed = drop.watcher._list_settled()
    with file.open("ab") as writer:
        writer.truncate(2**40)  # a hole: a terabyte that costs no disk, and that no machine's memory takes
    drop.watcher._list_settled = lambda: listed  # type: ignore[method-assign]
    assert drop.watcher.take_all() == 0
    assert drop.intake.taken == []
    assert file.exists()


def test_a_large_file_is_moved_away_unread(drop: Drop) -> None:
    drop.put("a.json", b"good" * 1000)
    drop.watcher.take_all()
    assert drop.names("failed") == ["a.json", "a.json.reason.txt"]
    assert drop.intake.taken == []


def test_while_the_gateway_cannot_take_anything_in_files_stay(drop: Drop) -> None:
    drop.put("a.json", b"good")
    drop.intake.failure = DependencyUnavailable()
    assert drop.watcher.take_all() == 0
    drop.intake.failure = None
    assert drop.watcher.take_all() == 1


def test_a_fault_of_ours_does_not_stop_the_folder(drop: Drop) -> None:
    drop.put("a.json", b"good")
    drop.intake.failure = ZeroDivisionError("Canary")
    for _ in range(MAX_TRIES):
        drop.watcher.take_all()
    assert drop.names("failed") == ["a.json", "a.json.reason.txt"]
    assert "Canary" not in (drop.path / "failed" / "a.json.reason.txt").read_text()


def test_nothing_in_done_is_overwritten(drop: Drop) -> None:
    for body in (b"good 1", b"good 2", b"good 3"):
        drop.put("a.json", body)
        drop.watcher.take_all()
    assert drop.names("done") == ["a.2.json", "a.3.json", "a.json"]
    assert (drop.path / "done" / "a.json").read_bytes() == b"good 1"


def test_a_file_that_vanishes_meanwhile_is_no_error(drop: Drop) -> None:
    file = drop.put("a.json", b"good")
    take = drop.intake.take

    def take_and_remove(document: IncomingDocument) -> AcceptedDocument:
        file.unlink()
        return take(document)

    drop.intake.take = take_and_remove  # type: ignore[method-assign]
    assert drop.watcher.take_all() == 0


def test_a_name_as_long_as_names_may_be_stops_nothing(tmp_path: Path) -> None:
    drop = Drop(tmp_path / "in")
    drop.put("a" * 250, b"bad")
    drop.put("b.json", b"good")
    assert drop.watcher.take_all() == 2
    assert len(list((drop.path / "failed").iterdir())) == 2
    assert [file.name for file in (drop.path / "done").iterdir()] == ["b.json"]


def test_a_file_from_a_machine_whose_clock_runs_ahead_is_taken_when_it_has_settled(tmp_path: Path) -> None:
    drop = Drop(tmp_path / "in")
    drop.put("early.json", b"good", age=-86_400)
    assert drop.watcher.take_all() == 0
    drop.now += 2
    drop.put("early.json", b"good, longer", age=-86_400)
    assert drop.watcher.take_all() == 0
    drop.now += SETTLE.total_seconds()
    assert drop.watcher.take_all() == 1
    assert drop.intake.taken == [b"good, longer"]


def test_a_reason_never_overwrites_a_file_that_was_kept(tmp_path: Path) -> None:
    drop = Drop(tmp_path / "in")
    drop.put("a.reason.txt", b"bad first")
    drop.watcher.take_all()
    drop.put("a", b"bad second")
    drop.watcher.take_all()
    assert {file.read_bytes() for file in (drop.path / "failed").iterdir()} >= {b"bad first", b"bad second"}
