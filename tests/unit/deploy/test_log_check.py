"""A log verified from its URL alone: what is served must make the signed root, and lies are seen."""

import httpx
import pytest

from deploy.evidence.log_check import check_log
from schemas.checkpoint import write_verifier
from schemas.errors import DependencyUnavailable
from schemas.keys import public_part
from tests.support.log_server import ORIGIN, ServedLog


def serve(log: ServedLog, **changed: bytes) -> httpx.MockTransport:
    """Serve ``log``; ``changed`` replaces what is at paths that contain the name."""

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/log/")
        if path == "key":
            return httpx.Response(200, text=write_verifier(ORIGIN, public_part(log.jwk)))
        for name, data in changed.items():
            if path.startswith(name.replace("_", "/")):
                return httpx.Response(200, content=data)
        found = log.answer(path)
        return httpx.Response(404) if found is None else httpx.Response(200, content=found)

    return httpx.MockTransport(answer)


@pytest.fixture(scope="module")
def log() -> ServedLog:
    made = ServedLog()
    made.grow(700)
    return made


def test_an_honest_log_is_proved_from_its_entries_and_from_its_tiles(log: ServedLog) -> None:
    key = write_verifier(ORIGIN, public_part(log.jwk))
    verdict = check_log("https://hub.example.org/log", None, key, transport=serve(log))
    assert verdict.broken == []
    assert "all 700 entries make the signed root" in verdict.proved
    assert any("tiles make the signed root" in line for line in verdict.proved)
    assert verdict.exit_code == 1, "that others saw the same log, no URL can prove"
    unpinned = check_log("https://hub.example.org", None, None, transport=serve(log))
    assert len(unpinned.open) == len(verdict.open) + 1


def test_entries_or_tiles_that_do_not_make_the_root_are_false(log: ServedLog) -> None:
    wrong = bytes(256 * 32)
    for changed in (
        {"tile_0_001": wrong},
        {"tile_1_000": wrong[:64]},
        {"tile_0_002": wrong[: 188 * 32]},
        {"tile_entries_000": b"\0\1x" * 256},
    ):
        assert check_log("https://hub.example.org", None, None, transport=serve(log, **changed)).exit_code == 4, changed
    other = ServedLog(log.entries[:5])
    key = write_verifier(ORIGIN, public_part(other.jwk))
    with pytest.raises(Exception, match="signature"):
        check_log("https://hub.example.org", None, key, transport=serve(log))


def test_a_hub_that_does_not_answer_is_no_proof_of_anything(log: ServedLog) -> None:
    with pytest.raises(DependencyUnavailable):
        check_log("https://hub.example.org", None, None, transport=httpx.MockTransport(lambda _: httpx.Response(503)))


def test_a_hub_that_cannot_be_reached_without_the_trust_file_is_told_apart(log: ServedLog) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("certificate verify failed", request=request)

    with pytest.raises(DependencyUnavailable, match="--trust"):
        check_log("https://hub.example.org", None, None, transport=httpx.MockTransport(fail))
