"""What the console seals and authenticates opens for its own purpose alone."""

import base64

import pytest

from broker.console.sealing import Sealer
from schemas.errors import ConfigInvalid, MalformedMessage

SEALER = Sealer(b"s" * 32)


def test_sealed_bytes_open_for_their_purpose_and_nothing_else() -> None:
    sealed = SEALER.seal("visit", b"secret")
    assert SEALER.open("visit", sealed) == b"secret"
    assert b"secret" not in sealed
    assert SEALER.seal("visit", b"secret") != sealed
    for purpose, box in (("code", sealed), ("visit", sealed[:-1] + bytes([sealed[-1] ^ 1])), ("visit", b"")):
        with pytest.raises(MalformedMessage):
            SEALER.open(purpose, box)
    with pytest.raises(MalformedMessage):
        Sealer(b"t" * 32).open("visit", sealed)


def test_tags_are_bound_to_purpose_and_data() -> None:
    tag = SEALER.authenticate("form", b"session")
    assert SEALER.is_authentic("form", b"session", tag)
    assert not SEALER.is_authentic("form", b"other", tag)
    assert not SEALER.is_authentic("other", b"session", tag)
    assert not SEALER.is_authentic("form", b"session", "ü")


@pytest.mark.parametrize("text", ["", "c2hvcnQ=", "not base64!", base64.b64encode(b"x" * 33).decode()])
def test_a_secret_of_another_size_refuses_the_start(text: str) -> None:
    with pytest.raises(ConfigInvalid):
        Sealer.from_text(text)
