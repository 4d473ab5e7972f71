"""Packs by digest: the installed one with its local pack, others as they are stored; what is stored wrongly is never decided by."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from broker.decisions import DEFAULT_PACK, bundle_pack, load_bundle
from broker.decisions.bundle import write_digest
from broker.registry.packs import MOST_LOADED, InstalledPack, PackShelf, PolicyNotHeld
from schemas.canonical import canonical_bytes, parse_object
from schemas.errors import ConfigInvalid, IntegrityBroken
from tests.support.decisions import default_pack, make_directory


def write_local(folder: Path, number: int = 1) -> Path:
    folder.mkdir()
    (folder / "local.yaml").write_text(yaml.safe_dump({"id": "trial", "approvers_needed": {"C12": 1 + number}}))
    return folder


def snapshot(digest: str, pack: bytes | None = None) -> Any:
    return SimpleNamespace(directory=make_directory(policy_digest=digest), pack=pack)


def test_a_bundle_is_the_pack_of_its_folders(tmp_path: Path) -> None:
    assert load_bundle(bundle_pack(DEFAULT_PACK)).digest == default_pack().digest
    local = load_bundle(bundle_pack(DEFAULT_PACK, write_local(tmp_path / "local")))
    assert local.id == "england-2026-09+trial"
    assert local.approvers_needed("C12", {}) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"national": None},
        {"local": {"local.yaml": 1}},
        {"extra": {}},
        {"national": {}},
        {"local": {"local.yaml": "id: x", "own.cedar": "permit (principal, action, resource);"}},
        {"local": {"local.yaml": "title: no id"}},
    ],
)
def test_what_is_no_bundle_is_refused(change: dict[str, Any]) -> None:
    members = parse_object(bundle_pack(DEFAULT_PACK), max_bytes=1 << 22, max_depth=4)
    with pytest.raises(ConfigInvalid):
        load_bundle(canonical_bytes(members | change))
    with pytest.raises(ConfigInvalid):
        load_bundle(b"{")


def test_the_directory_says_which_pack_decides(tmp_path: Path) -> None:
    shelf = PackShelf(InstalledPack.load(None, None))
    body = bundle_pack(DEFAULT_PACK, write_local(tmp_path / "local"))
    digest = load_bundle(body).digest
    assert shelf.find_pack(snapshot("")).digest == default_pack().digest
    with pytest.raises(PolicyNotHeld):
        shelf.engine_for(snapshot(digest))
    with pytest.raises(IntegrityBroken):
        shelf.engine_for(snapshot(digest, bundle_pack(DEFAULT_PACK)))
    with pytest.raises(PolicyNotHeld):
        shelf.engine_for(snapshot(digest, b"of a later version"))
    named = snapshot(digest, body)
    assert shelf.engine_for(named).pack.digest == digest
    assert shelf.engine_for(named) is shelf.engine_for(named)
    assert shelf.engine_for(snapshot("")).pack.digest == default_pack().digest


def test_the_configuration_can_lay_a_local_pack_over_the_installed_one(tmp_path: Path) -> None:
    local = InstalledPack.load(None, write_local(tmp_path / "local"))
    assert PackShelf(local).find_pack(snapshot("")).id == "england-2026-09+trial"


def test_few_packs_stay_loaded_and_the_installed_one_always(tmp_path: Path) -> None:
    shelf = PackShelf(InstalledPack.load(None, None))
    for number in range(1, MOST_LOADED + 3):
        body = bundle_pack(DEFAULT_PACK, write_local(tmp_path / str(number), number))
        shelf.keep(load_bundle(body).digest, body)
    assert len(shelf._loaded) == MOST_LOADED
    assert shelf.find_loaded(default_pack().digest) is not None


def test_a_digest_has_one_form_in_signed_objects() -> None:
    assert len(write_digest(default_pack().digest)) == 43
    for wrong in ("", "00", "not hexadecimal"):
        with pytest.raises(ConfigInvalid):
            write_digest(wrong)
