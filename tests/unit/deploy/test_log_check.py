"""A log verified from its URL alone: what is served must make the signed root, and lies are seen."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.evidence.directory_copy import DirectoryCopy, read_directory_copy
from deploy.evidence.log_check import Known, check_log
from deploy.evidence.remembering import read_remembered, write_remembered
from deploy.evidence.verdict import Verdict
from schemas.canonical import encode_base64url
from schemas.checkpoint import write_verifier
from schemas.cosignature import cosign_checkpoint
from schemas.directory import Agency, AgencyKeys, Directory, EarlierEpoch, HubKeys, Partnership, WitnessPolicy
from schemas.errors import DependencyUnavailable, SafelaneError
from schemas.keys import KeyUse, SigningKeys, generate_ed25519_jwk, generate_ml_dsa_44_jwk, public_part
from schemas.log_state import LogState
from schemas.signed_directory import sign_directory
from tests.support.log_server import ORIGIN, ServedLog

URL, CSC = "https://hub.example.org", "csc.marchshire"
NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
AUTHORITY, _ = SigningKeys.generate(KeyUse.AUTHORITY)
WITNESS = (generate_ed25519_jwk(KeyUse.WITNESS), generate_ml_dsa_44_jwk(KeyUse.WITNESS))


def serve(log: ServedLog, **changed: bytes) -> httpx.MockTransport:
    """Serve ``log``; ``changed`` replaces what is at paths that contain the name."""

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/log/")
        if path == "key":
            return httpx.Response(200, text=write_verifier(ORIGIN, public_part(log.jwk)))
        for name, data in changed.items():
            served = name.replace("_", "/")
            if path == served or path.startswith(f"{served}.p"):
                return httpx.Response(200, content=data)
        found = log.answer(path)
        return httpx.Response(404) if found is None else httpx.Response(200, content=found)

    return httpx.MockTransport(answer)


@pytest.fixture(scope="module")
def log() -> ServedLog:
    made = ServedLog()
    made.grow(700)
    return made


def check(log: ServedLog, *, key: str | None = None, changed: dict[str, bytes] | None = None, **known: Any) -> Verdict:
    """Check ``log`` as served, and return the verdict."""
    asked = Known(known.pop("now", NOW), key=key, **known)
    return check_log(URL, asked, transport=serve(log, **(changed or {})), pause=lambda _: None)[0]


def sign(
    log: ServedLog,
    *,
    version: int = 1,
    quorum: int = 1,
    expires_at: datetime | None = None,
    epoch: dict[str, Any] | None = None,
) -> DirectoryCopy:
    """Sign a directory that names the log's key and one witness with both keys, and put its event in the log."""
    keys = AgencyKeys(witness=tuple(public_part(jwk) for jwk in WITNESS))
    facts: dict[str, Any] = {"name": "x", "kind": "csc", "roles": (), "area": "E10000099"}
    directory = Directory(
        version=version,
        issued_at=NOW - timedelta(days=1),
        expires_at=expires_at or NOW + timedelta(days=1),
        partnership=Partnership(id="marchshire"),
        agencies=(Agency(id=CSC, public_body=True, s16la_body=True, keys=keys, **facts),),
        hub=HubKeys(log_origin=ORIGIN, log_verifier=write_verifier(ORIGIN, public_part(log.jwk)), **(epoch or {})),
        witnesses=WitnessPolicy(agencies=(CSC,), quorum=quorum),
    )
    return read_directory_copy(sign_directory(directory, AUTHORITY), [AUTHORITY.public])


def log_directory(log: ServedLog, copy: DirectoryCopy) -> None:
    log.grow(1, "directory", version_number=copy.directory.version, sha256=copy.digest, at=NOW.isoformat())


def cosign(log: ServedLog, *, ago: timedelta = timedelta(seconds=9), keys: slice = slice(None)) -> None:
    size, seconds = len(log.entries), int((NOW - ago).timestamp())
    note = log.note(size)
    lines = "".join(cosign_checkpoint(note, CSC, jwk, timestamp=seconds) for jwk in WITNESS[keys])
    log.lines[size], log.witnessed = {CSC: lines}, size


def make_witnessed_log() -> tuple[ServedLog, DirectoryCopy]:
    log = ServedLog()
    copy = sign(log)
    log_directory(log, copy)
    log.grow(299)
    cosign(log)
    return log, copy


def test_a_log_with_the_officers_directory_and_a_quorum_is_all_proved() -> None:
    log, copy = make_witnessed_log()
    verdict = check(log, directory=copy)
    assert (verdict.broken, verdict.open, verdict.exit_code) == ([], [], 0)
    told = "\n".join(verdict.proved)
    for words in (
        f"all 300 entries make the root that its key has signed; the first that has a date is of {NOW.isoformat()}",
        "directory version 1 of marchshire, which the pinned authority signed",
        f"300 entries were so no later than 26 November 2026 11:59:51 UTC: cosigned by 1 witnesses, 1 needed ({CSC}); 1 of them with ML-DSA-44",
    ):
        assert words in told
    log.grow(7)
    later = check(log, directory=copy)
    assert later.exit_code == 0
    assert any(line.startswith("7 newer entries are signed by its key alone") for line in later.proved)


def test_what_the_directory_leaves_open_is_said() -> None:
    log, copy = make_witnessed_log()
    stale = check(log, directory=copy, now=NOW + timedelta(minutes=31))
    assert [line.split(":")[0] for line in stale.open] == ["that this is the log as it is now"]
    expired = check(log, directory=sign(log, expires_at=NOW - timedelta(hours=1)))
    assert any("is in force: it expired" in line for line in expired.open + expired.broken)
    log.lines[300] = {}
    cosign(log, keys=slice(0, 1))
    half = check(log, directory=copy)
    assert half.open == ["that witnesses saw this log: 0 of 1 needed cosignatures"]
    log.witnessed = 0
    assert check(log, directory=copy).open == ["that witnesses saw this log: no quorum has cosigned a head yet"]
    cosign(log)
    log_directory(log, sign(log, version=2))
    newer = check(log, directory=copy)
    assert newer.open == ["that directory version 1 of marchshire is the newest: the log's last is version 2"]
    assert newer.exit_code == 1


def test_two_directories_under_one_version_or_another_log_than_the_witnesses_saw_are_false() -> None:
    log, copy = make_witnessed_log()
    other = ServedLog(jwk=log.jwk)
    log_directory(other, sign(log, quorum=0))
    assert check(other, directory=copy).exit_code == 4
    story = ServedLog(log.entries[:200], log.jwk, witnessed=300)
    story.grow(150, other="story")
    witnessed = log.cosigned(300).encode()
    verdict = check(story, directory=copy, changed={"checkpoint/witnessed": witnessed})
    assert verdict.exit_code == 4
    assert "the witnesses cosigned another one of 300 entries. Use the telephone." in verdict.broken[0]
    short = ServedLog(log.entries[:200], log.jwk)
    verdict = check(short, directory=copy, changed={"checkpoint/witnessed": witnessed})
    assert "the log went back: it shows 200 entries, and the witnesses cosigned 300" in verdict.broken[0]


def test_a_directory_that_the_pinned_authority_did_not_sign_is_refused() -> None:
    stranger, _ = SigningKeys.generate(KeyUse.AUTHORITY)
    _, copy = make_witnessed_log()
    body = sign_directory(copy.directory, stranger)
    for data in (body, b'{"versions":[%s]}' % body, b'{"directory":%s,"keys":[]}' % body, b'{"versions":[]}', b"[]"):
        with pytest.raises(SafelaneError):
            read_directory_copy(data, [AUTHORITY.public])
    good = sign_directory(copy.directory, AUTHORITY)
    for data in (good, b'{"versions":[%s]}' % good, b'{"directory":%s,"keys":[]}' % good):
        assert read_directory_copy(data, [AUTHORITY.public]).directory == copy.directory


def test_what_was_kept_before_must_lie_on_the_log_and_says_since_when(tmp_path: Path) -> None:
    log, copy = make_witnessed_log()
    path, verifier = tmp_path / "kept.json", copy.directory.hub.log_verifier
    assert read_remembered(path) is None
    verdict, note = check_log(URL, Known(NOW, directory=copy), transport=serve(log))
    assert verdict.exit_code == 0
    write_remembered(path, None, note, verifier)
    log.grow(500)
    cosign(log, ago=-timedelta(hours=1))
    kept = read_remembered(path)
    assert kept is not None
    later = check(log, directory=copy, remembered=[kept], now=NOW + timedelta(hours=1))
    assert later.exit_code == 0
    said = "it has only grown since 300 entries: what this file kept lies on it, the first by 26 November 2026 11:59:51 UTC"
    assert said in later.proved
    write_remembered(path, kept, log.note(), verifier)
    again = read_remembered(path)
    assert again is not None
    assert [c.size for c, _ in again.verified()] == [300, 800]

    story = ServedLog(log.entries[:100], log.jwk)
    story.grow(900, other="story")
    forked = check(story, key=verifier, remembered=[again])
    assert "the log told two stories: this file kept another head of 300 entries" in forked.broken[0]
    back = ServedLog(log.entries[:400], log.jwk)
    assert "the log went back: it shows 400 entries" in check(back, key=verifier, remembered=[again]).broken[0]
    strange = ServedLog()
    strange.grow(5)
    foreign = LogState("b", verifier, (strange.note(),))
    assert "not signed by this log's key" in check(log, key=verifier, remembered=[foreign]).open[-1]


def test_what_was_kept_of_an_earlier_epoch_must_be_what_the_authority_signed() -> None:
    """Whoever has the keys of both epochs writes the first anew and the second over it: the signed directory has the kept root."""
    log = ServedLog()
    log.grow(120)
    first = write_verifier("log.example.org/first", public_part(generate_ed25519_jwk(KeyUse.LOG)))
    kept = EarlierEpoch(
        epoch=1,
        log_origin="log.example.org/first",
        log_verifier=first,
        kept_size=100,
        kept_root=encode_base64url(log.root(0, 100)),
    )
    epoch = {"epoch": 2, "earlier": (kept,), "starting_checkpoint": log.note(110)}
    copy = sign(log, epoch=epoch)
    log_directory(log, copy)
    cosign(log)
    assert check(log, directory=copy).exit_code == 0
    story = ServedLog(log.entries[:60], log.jwk)
    story.grow(59, other="story")
    log_directory(story, copy)
    cosign(story)
    verdict = check(story, directory=copy)
    assert (verdict.exit_code, len(verdict.broken)) == (4, 1)
    assert "what was kept of an earlier epoch, 100 entries, is not what the authority signed" in verdict.broken[0]


def test_remembering_keeps_the_first_head_and_the_last_ones(tmp_path: Path) -> None:
    log = ServedLog()
    log.grow(80)
    verifier, path, kept = write_verifier(ORIGIN, public_part(log.jwk)), tmp_path / "kept.json", None
    for size in range(1, 81):
        write_remembered(path, kept, log.note(size), verifier)
        kept = read_remembered(path)
    assert kept is not None
    assert [c.size for c, _ in kept.verified()] == [1, *range(32, 81)]


def test_an_honest_log_is_proved_from_its_entries_and_from_its_tiles(log: ServedLog) -> None:
    key = write_verifier(ORIGIN, public_part(log.jwk))
    verdict = check(log, key=key)
    assert verdict.broken == []
    assert any(line.startswith("all 700 entries make the root") for line in verdict.proved)
    assert any("tiles make the signed root" in line for line in verdict.proved)
    assert verdict.exit_code == 1, "without the officers' directory nobody can say who else saw this log"
    unpinned = check(log)
    assert len(unpinned.open) == len(verdict.open) + 1


def test_entries_or_tiles_that_do_not_make_the_root_are_false(log: ServedLog) -> None:
    wrong = bytes(256 * 32)
    for changed in (
        {"tile_0_001": wrong},
        {"tile_1_000": wrong[:64]},
        {"tile_0_002": wrong[: 188 * 32]},
        {"tile_entries_000": b"\0\1x" * 256},
    ):
        assert check(log, changed=changed).exit_code == 4, changed
    other = ServedLog(log.entries[:5])
    key = write_verifier(ORIGIN, public_part(other.jwk))
    assert check(log, key=key).broken == ["the newest head is not signed by the log's key as it is known here"]


def test_rubbish_in_place_of_a_head_is_false(log: ServedLog) -> None:
    for path in ("checkpoint", "checkpoint/witnessed"):
        for data in (b"", b"rubbish", b"\xff\xfe"):
            verdict = check(log, changed={path: data})
            assert verdict.broken == ["what the hub serves as a head is not one"], (path, data)


def test_a_hub_that_does_not_answer_is_no_proof_of_anything(log: ServedLog) -> None:
    with pytest.raises(DependencyUnavailable):
        check_log(URL, Known(NOW), transport=httpx.MockTransport(lambda _: httpx.Response(503)))


def test_a_hub_that_cannot_be_reached_without_the_trust_file_is_told_apart(log: ServedLog) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("certificate verify failed", request=request)

    with pytest.raises(DependencyUnavailable, match="--trust"):
        check_log(URL, Known(NOW), transport=httpx.MockTransport(fail))
