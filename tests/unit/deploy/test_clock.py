"""The business clock may be set by a file, except in production."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.clock import build_business_clock, read_real_clock
from schemas.errors import ConfigInvalid


def test_without_a_file_it_is_the_real_clock() -> None:
    assert build_business_clock(None, "production") is read_real_clock
    assert abs(read_real_clock() - datetime.now(UTC)) < timedelta(seconds=5)


def test_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    path.write_text("2026-11-22T18:30:00+00:00\n")
    clock = build_business_clock(path, "test")
    assert clock() == datetime(2026, 11, 22, 18, 30, tzinfo=UTC)
    beside = tmp_path / "clock.new"
    beside.write_text("2026-07-01T12:00:00+01:00\n")
    os.replace(beside, path)  # noqa: PTH105 - the rename is the point
    assert clock() == datetime(2026, 7, 1, 11, 0, tzinfo=UTC)
    assert clock().tzinfo is UTC


@pytest.mark.parametrize("text", ["", "soon", "2026-11-22T18:30:00", "2026-11-22T18:30:00+00:00" * 5])
def test_a_file_without_one_instant_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "clock"
    path.write_text(text)
    with pytest.raises(ConfigInvalid):
        build_business_clock(path, "test")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid):
        build_business_clock(tmp_path / "clock", "test")


def test_production_refuses_a_clock_file(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    path.write_text("2026-11-22T18:30:00+00:00")
    with pytest.raises(ConfigInvalid, match="production"):
        build_business_clock(path, "production")
