"""The output folder: whole or absent, written once, nothing about a child in a name."""

import base64
import json
from pathlib import Path

import pytest

from adapters.channels import folder_out
from adapters.channels.folder_out import erase_delivery, name_folder, write_delivery
from adapters.gateway.incoming.inbox_config import FolderConfig
from schemas.errors import DependencyUnavailable
from tests.support.received import make_received, make_section

PICTURE = b"\x89PNG not really"


def with_attachment() -> dict[str, object]:
    section = make_section("C04", "incident", "full", {"account": "Short."}).model_copy(
        update={
            "attachments": (
                {
                    "name": "Sampleford at home.png",
                    "media_type": "image/png",
                    "data": base64.b64encode(PICTURE).decode(),
                },
            )
        }
    )
    return {"sections": (section,)}


def test_a_delivery_is_a_folder_of_files(tmp_path: Path) -> None:
    referral = make_received(**with_attachment())
    folder = write_delivery(referral, FolderConfig(out_folder=tmp_path / "out"))
    assert sorted(p.name for p in folder.iterdir()) == ["attachment-01.png", "referral.json", "referral.pdf"]
    assert (folder / "attachment-01.png").read_bytes() == PICTURE
    assert json.loads((folder / "referral.json").read_text()) == referral.to_json()
    assert (folder / "referral.pdf").read_bytes().startswith(b"%PDF-")


def test_names_say_when_and_which_but_not_who(tmp_path: Path) -> None:
    folder = write_delivery(make_received(**with_attachment()), FolderConfig(out_folder=tmp_path))
    assert folder.name == "20261116T223300Z-delivery-8fk2Lq0aT1aaa"
    assert not [p for p in tmp_path.rglob("*") if "sampleford" in p.name.lower() or "S47" in p.name]


def test_writing_again_changes_nothing(tmp_path: Path) -> None:
    config = FolderConfig(out_folder=tmp_path)
    folder = write_delivery(make_received(), config)
    (folder / "referral.json").write_text("read and marked by the case system")
    assert write_delivery(make_received(), config) == folder
    assert (folder / "referral.json").read_text() == "read and marked by the case system"


def test_a_crash_leaves_nothing_that_looks_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = FolderConfig(out_folder=tmp_path)

    class Killed(BaseException):
        """Stands for kill -9: nothing catches it."""

    def die(*_: object) -> bytes:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(folder_out, "render_pdf", die)
        with pytest.raises(Killed):
            write_delivery(make_received(), config)
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == []
    assert (write_delivery(make_received(), config) / "referral.pdf").exists()
    assert len(list(tmp_path.iterdir())) == 1


def test_an_unwritable_folder_is_a_typed_error_without_content(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file is in the way")
    with pytest.raises(DependencyUnavailable) as caught:
        write_delivery(make_received(), FolderConfig(out_folder=tmp_path / "out"))
    assert caught.value.field == "out_folder"
    assert "Sampleford" not in str(caught.value)


def test_an_id_with_odd_letters_cannot_leave_the_folder() -> None:
    assert "/" not in name_folder(make_received(delivery_id="../../etc/passwd"))


def test_a_page_that_cannot_be_made_does_not_keep_the_referral_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_referral: object) -> bytes:
        raise RecursionError

    monkeypatch.setattr("adapters.channels.folder_out.render_pdf", fail)
    folder = write_delivery(make_received(), FolderConfig(out_folder=tmp_path))
    assert {"referral.json", "referral.pdf.failed.txt"} <= {path.name for path in folder.iterdir()}


def test_a_delivery_is_erased_with_its_later_releases_and_nothing_else(tmp_path: Path) -> None:
    config = FolderConfig(out_folder=tmp_path / "out")
    first, other = make_received(), make_received(delivery_id="other-0000000000000001")
    later = make_received(release=2)
    written = [write_delivery(referral, config) for referral in (first, later, other)]
    (tmp_path / "out" / f".{written[0].name}.part").mkdir()
    assert erase_delivery(tmp_path / "out", first.delivery_id) == 3
    assert list((tmp_path / "out").iterdir()) == [written[2]]
    assert erase_delivery(tmp_path / "out", first.delivery_id) == 0
    assert erase_delivery(tmp_path / "absent", first.delivery_id) == 0


def test_what_cannot_be_erased_is_not_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = FolderConfig(out_folder=tmp_path / "out")
    folder = write_delivery(make_received(), config)

    def refuse(path: Path) -> None:
        raise PermissionError

    monkeypatch.setattr("adapters.channels.folder_out.shutil.rmtree", refuse)
    with pytest.raises(DependencyUnavailable) as raised:
        erase_delivery(tmp_path / "out", make_received().delivery_id)
    assert raised.value.field == "out_folder"
    assert folder.exists()
