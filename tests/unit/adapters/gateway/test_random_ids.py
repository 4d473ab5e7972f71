"""Ids that people type as arguments."""

import pytest

from adapters.gateway import random_ids


def test_no_id_begins_with_a_hyphen(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter((b"\xf8" * 16, b"\xfb" + bytes(15), b"\x01" * 16))
    monkeypatch.setattr(random_ids.os, "urandom", lambda _count: next(drawn))
    assert random_ids.new_opaque_id() == "AQEBAQEBAQEBAQEBAQEBAQ"
