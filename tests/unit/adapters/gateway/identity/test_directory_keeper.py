"""A directory is believed on the authority's signature alone, and only forwards."""

import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.gateway.identity.directory_keeper import DirectoryExpired, DirectoryKeeper
from schemas.canonical import parse_object
from schemas.errors import IntegrityBroken, Undeliverable
from schemas.keys import KeyUse, SigningKeys, generate_encryption_jwk, public_part
from schemas.signed_directory import announce_encryption_key, sign_directory
from schemas.trust import TrustFile, digest_pair
from tests.support.gateways import StubHub, fill_keystore

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
AGENCY = "csc.marchshire"
MAX = 1 << 24


@pytest.fixture
def hub(tmp_path: Path) -> StubHub:
    hub = StubHub.make("ca", lambda: NOW, issued_at=NOW)
    hub.keystores[AGENCY] = fill_keystore(tmp_path / "csc", AGENCY, NOW)
    return hub


def make_keeper(hub: StubHub, folder: Path, *, now: datetime = NOW, **trust: Any) -> DirectoryKeeper:
    return DirectoryKeeper(folder / "directory.json", TrustFile.model_validate(hub.trust() | trust), None, lambda: now)


def test_a_signed_directory_is_kept_over_a_restart(hub: StubHub, tmp_path: Path) -> None:
    make_keeper(hub, tmp_path).accept(hub.directory_body())
    known = make_keeper(hub, tmp_path).current()
    assert known.version == 1
    assert known.find_encryption_key(AGENCY, NOW).kid in hub.keystores[AGENCY].encryption_private_jwks(NOW)


def test_one_signed_by_the_hub_is_refused(hub: StubHub, tmp_path: Path) -> None:
    own, _ = SigningKeys.generate(KeyUse.AUTHORITY)
    with pytest.raises(IntegrityBroken):
        make_keeper(hub, tmp_path).accept(hub.directory_body(signer=own))


@pytest.mark.parametrize("damage", ["strip", "unsigned", "altered", "nothing"])
def test_an_unsigned_or_half_signed_one_is_refused(hub: StubHub, tmp_path: Path, damage: str) -> None:
    body = hub.directory_body()
    if damage == "strip":
        body["directory"]["signatures"].pop()
    elif damage == "unsigned":
        body["directory"]["signatures"] = []
    elif damage == "altered":
        body["directory"]["payload"] = hub.directory_body(hub.directory(lifetime=timedelta(days=99)))["directory"][
            "payload"
        ]
    else:
        del body["directory"]
    with pytest.raises(IntegrityBroken):
        make_keeper(hub, tmp_path).accept(body)


def test_an_expired_one_is_refused_and_one_that_expires_is_no_longer_used(hub: StubHub, tmp_path: Path) -> None:
    with pytest.raises(IntegrityBroken):
        make_keeper(hub, tmp_path, now=NOW + timedelta(days=31)).accept(hub.directory_body())
    make_keeper(hub, tmp_path).accept(hub.directory_body())
    with pytest.raises(DirectoryExpired):
        make_keeper(hub, tmp_path, now=NOW + timedelta(days=31)).current()


def test_an_older_one_is_refused_also_after_a_restart(hub: StubHub, tmp_path: Path) -> None:
    old = hub.directory_body()
    hub.version = 2
    make_keeper(hub, tmp_path).accept(hub.directory_body())
    with pytest.raises(IntegrityBroken, match="older"):
        make_keeper(hub, tmp_path).accept(old)


def test_two_directories_under_one_version_are_refused(hub: StubHub, tmp_path: Path) -> None:
    keeper = make_keeper(hub, tmp_path)
    keeper.accept(hub.directory_body(hub.directory(now=NOW)))
    with pytest.raises(IntegrityBroken, match="two directories"):
        keeper.accept(hub.directory_body(hub.directory(now=NOW, lifetime=timedelta(days=20))))


def test_a_key_that_the_hub_slips_in_is_left_out(hub: StubHub, tmp_path: Path) -> None:
    own, _ = SigningKeys.generate()
    span = {"not_before": NOW - timedelta(hours=1), "not_after": NOW + timedelta(days=7)}
    slipped = announce_encryption_key(AGENCY, generate_encryption_jwk(), signer=own, **span)
    body = hub.directory_body()
    body["keys"] = [parse_object(slipped, max_bytes=MAX)]
    known = make_keeper(hub, tmp_path).accept(body)
    with pytest.raises(Undeliverable):
        known.find_encryption_key(AGENCY, NOW)


def test_a_key_announced_for_another_agency_is_left_out(hub: StubHub, tmp_path: Path) -> None:
    signer = hub.keystores[AGENCY].signing_keys()
    span = {"not_before": NOW - timedelta(hours=1), "not_after": NOW + timedelta(days=7)}
    foreign = announce_encryption_key("gp.millbrook", generate_encryption_jwk(), signer=signer, **span)
    body = hub.directory_body()
    body["keys"].append(parse_object(foreign, max_bytes=MAX))
    known = make_keeper(hub, tmp_path).accept(body)
    assert "gp.millbrook" not in known.encryption_keys
    assert known.find_encryption_key(AGENCY, NOW)


def test_a_revoked_agency_gets_nothing(hub: StubHub, tmp_path: Path) -> None:
    directory = hub.directory()
    agencies = tuple(a.model_copy(update={"revoked_at": NOW}) if a.id == AGENCY else a for a in directory.agencies)
    known = make_keeper(hub, tmp_path).accept(hub.directory_body(directory.model_copy(update={"agencies": agencies})))
    with pytest.raises(Undeliverable):
        known.find_encryption_key(AGENCY, NOW)


def test_the_newest_valid_key_is_taken(hub: StubHub, tmp_path: Path) -> None:
    keystore = hub.keystores[AGENCY]
    later = NOW + timedelta(days=8)
    first = keystore.newest_announcement()
    from adapters.gateway.identity.keystore import KeyLifetimes

    keystore.rotate_encryption_key(later, KeyLifetimes())
    body = copy.deepcopy(hub.directory_body())
    body["keys"].append(parse_object(first, max_bytes=MAX))
    known = make_keeper(hub, tmp_path).accept(body)
    kids = list(keystore.encryption_private_jwks(later))
    assert known.find_encryption_key(AGENCY, NOW).kid == kids[1]
    assert known.find_encryption_key(AGENCY, later).kid == kids[0]


def test_only_the_pinned_successor_may_take_over(hub: StubHub, tmp_path: Path) -> None:
    successor, jwks = SigningKeys.generate(KeyUse.AUTHORITY)
    public = [public_part(jwk) for jwk in jwks]
    signed = parse_object(sign_directory(hub.directory(), successor), max_bytes=MAX)
    body = {"directory": signed, "keys": [], "authority": public}
    with pytest.raises(IntegrityBroken):
        make_keeper(hub, tmp_path).accept(body)
    known = make_keeper(hub, tmp_path, successor=digest_pair(public)).accept(body)
    assert known.version == 1
    assert make_keeper(hub, tmp_path, successor=digest_pair(public)).current().version == 1
