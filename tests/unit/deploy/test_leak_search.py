"""The leak search must find what it is there to find, in every encoding and across chunk borders."""

import base64
import json
from pathlib import Path

import pytest

from deploy.local import leak_search
from deploy.local.leak_search import LeakSearch, encode_variants
from schemas.errors import ConfigInvalid

NEEDLE = "Zebedee Ö'Canary-Test"


@pytest.mark.parametrize("shift", range(7))
def test_finds_base64_at_any_alignment(shift: int) -> None:
    hay = base64.b64encode(b"x" * shift + NEEDLE.encode() + b"tail of any length")
    assert LeakSearch([NEEDLE]).search_bytes(hay, "row").leaks
    assert LeakSearch([NEEDLE]).search_bytes(base64.urlsafe_b64encode(b"\xff" * shift + NEEDLE.encode()), "row").leaks


@pytest.mark.parametrize(
    "hay",
    [NEEDLE.encode(), NEEDLE.encode("utf-16-le"), json.dumps({"a": NEEDLE}).encode(), NEEDLE.encode().hex().encode()],
)
def test_finds_other_encodings(hay: bytes) -> None:
    assert LeakSearch([NEEDLE]).search_bytes(b"..." + hay + b"...", "row").leaks


def test_finds_a_needle_cut_by_a_chunk_border_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leak_search, "CHUNK_BYTES", 64)
    data = b"." * 55 + NEEDLE.encode() + b"." * 200
    (tmp_path / "segment").write_bytes(data)
    report = LeakSearch([NEEDLE]).search_tree(tmp_path)
    assert [(leak.offset, leak.place) for leak in report.leaks] == [(55, "segment")]
    assert report.bytes_searched == len(data)


def test_finds_nothing_where_there_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(256)) * 100)
    report = LeakSearch([NEEDLE]).search_tree(tmp_path)
    assert report.leaks == []
    assert report.bytes_searched == 25_600


def test_a_search_for_nothing_is_refused() -> None:
    with pytest.raises(ConfigInvalid):
        LeakSearch(["abc", ""])


def test_no_variant_is_so_short_that_chance_finds_it() -> None:
    assert all(len(form) >= leak_search.MIN_NEEDLE_BYTES for form in encode_variants("abcdef").values())


@pytest.mark.parametrize("shift", range(3))
def test_a_neighbour_with_another_ending_is_no_leak(shift: int) -> None:
    hay = base64.b64encode(b"x" * shift + b"01632 960190 and more")
    assert LeakSearch(["01632 960199"]).search_bytes(hay, "row").leaks == []
    assert LeakSearch(["01632 960190"]).search_bytes(hay, "row").leaks


@pytest.mark.parametrize("shift", range(3))
@pytest.mark.parametrize("padding", [b"", b"="])
def test_finds_base64_at_the_very_end(shift: int, padding: bytes) -> None:
    hay = base64.b64encode(b"x" * shift + NEEDLE.encode()).rstrip(b"=")
    hay += b"=" * (-len(hay) % 4) if padding else b'"'
    assert len(LeakSearch([NEEDLE]).search_bytes(hay, "row").leaks) == 1
