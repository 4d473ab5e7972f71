"""A snapshot holds whose keys count now, and nothing that the authority and the agencies did not sign."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.registry.snapshot import DirectoryExpired, DirectorySnapshot, build_snapshot
from deploy.authority.directory_building import revoke_agency
from deploy.authority.signing import read_trusted_keys
from schemas.errors import IntegrityBroken
from tests.support.authority import AgencyKit, FoundedAuthority

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SCHOOL, PRACTICE = "school.oakfield", "gp.millbrook"


@pytest.fixture
def authority(tmp_path: Path) -> FoundedAuthority:
    return FoundedAuthority.found(tmp_path)


def build(authority: FoundedAuthority, body: bytes, announcements: list[tuple[str, bytes]]) -> DirectorySnapshot:
    return build_snapshot(body, announcements, 1, read_trusted_keys(authority.folder / "trust.json"))


def test_enrolled_agencies_have_keys_and_others_have_none(authority: FoundedAuthority) -> None:
    kit = AgencyKit.make(SCHOOL)
    snapshot = build(authority, authority.enrol(kit, now=NOW).body, [(SCHOOL, kit.announcement(now=NOW))])
    assert set(snapshot.signing_keys) == {SCHOOL}
    assert snapshot.signing_keys[SCHOOL][0].ed25519_kid == kit.signing_jwks[0]["kid"]
    assert {SCHOOL, "person:ann", "person:ben", "person:cai"} == set(snapshot.api_keys)
    key = snapshot.current_encryption_key(SCHOOL, NOW)
    assert key is not None
    assert key.kid == kit.encryption_jwk["kid"]
    assert snapshot.current_encryption_key(SCHOOL, NOW + timedelta(days=15)) is None
    assert snapshot.current_encryption_key(PRACTICE, NOW) is None


def test_announcements_that_the_agency_did_not_sign_do_not_count(authority: FoundedAuthority) -> None:
    kit, stranger = AgencyKit.make(SCHOOL), AgencyKit.make(SCHOOL)
    other = AgencyKit.make(PRACTICE)
    body = authority.enrol(kit, other, now=NOW).body
    announcements = [
        (SCHOOL, stranger.announcement(now=NOW)),
        (SCHOOL, other.announcement(now=NOW)),
        ("school.nowhere", b"{}"),
    ]
    snapshot = build(authority, body, [*announcements, (SCHOOL, b"not json"), (PRACTICE, other.announcement(now=NOW))])
    assert set(snapshot.encryption_keys) == {PRACTICE}
    assert len(snapshot.announcements) == 1


def test_a_revoked_identity_takes_its_announcements_along(authority: FoundedAuthority) -> None:
    kit = AgencyKit.make(SCHOOL)
    authority.enrol(kit, now=NOW)
    changed = revoke_agency(authority.state(), SCHOOL, now=NOW, thumbprint=kit.signing_jwks[1]["kid"])
    snapshot = build(authority, authority.sign(now=NOW, changed=changed).body, [(SCHOOL, kit.announcement(now=NOW))])
    assert snapshot.signing_keys[SCHOOL] == ()
    assert SCHOOL not in snapshot.encryption_keys
    assert snapshot.api_keys[SCHOOL]


def test_a_revoked_encryption_key_does_not_count(authority: FoundedAuthority) -> None:
    kit = AgencyKit.make(SCHOOL)
    authority.enrol(kit, now=NOW)
    changed = revoke_agency(authority.state(), SCHOOL, now=NOW, thumbprint=kit.encryption_jwk["kid"])
    snapshot = build(authority, authority.sign(now=NOW, changed=changed).body, [(SCHOOL, kit.announcement(now=NOW))])
    assert SCHOOL not in snapshot.encryption_keys


def test_a_revoked_agency_has_nothing(authority: FoundedAuthority) -> None:
    kit = AgencyKit.make(SCHOOL)
    authority.enrol(kit, now=NOW)
    gone = revoke_agency(authority.state(), SCHOOL, now=NOW)
    snapshot = build(authority, authority.sign(now=NOW, changed=gone).body, [(SCHOOL, kit.announcement(now=NOW))])
    assert SCHOOL not in snapshot.signing_keys
    assert SCHOOL not in snapshot.api_keys
    assert snapshot.find_active_agency(SCHOOL) is None
    assert snapshot.directory.find_agency(SCHOOL) is not None


def test_a_revoked_agency_takes_its_people_along(authority: FoundedAuthority) -> None:
    csc = AgencyKit.make("csc.marchshire")
    before = build(authority, authority.enrol(csc, now=NOW).body, [])
    gone = revoke_agency(authority.state(), "csc.marchshire", now=NOW)
    after = build(authority, authority.sign(now=NOW, changed=gone).body, [])
    assert before.api_keys["person:ann"]
    assert after.api_keys["person:ann"] == ()
    assert after.api_keys["person:ben"]


def test_a_directory_of_another_authority_breaks_integrity(authority: FoundedAuthority, tmp_path: Path) -> None:
    stranger = FoundedAuthority.found(tmp_path / "other")
    with pytest.raises(IntegrityBroken):
        build(authority, stranger.sign(now=NOW).body, [])


def test_freshness_is_checked_by_the_real_clock(authority: FoundedAuthority) -> None:
    snapshot = build(authority, authority.sign(now=NOW).body, [])
    snapshot.require_fresh(NOW + timedelta(days=30) - timedelta(seconds=1))
    with pytest.raises(DirectoryExpired):
        snapshot.require_fresh(NOW + timedelta(days=30))


def test_what_was_verified_under_the_same_directory_is_kept_and_under_another_is_not(
    authority: FoundedAuthority,
) -> None:
    kit, other = AgencyKit.make(SCHOOL), AgencyKit.make(PRACTICE)
    trusted = read_trusted_keys(authority.folder / "trust.json")
    first = authority.enrol(kit, other, now=NOW).body
    pairs = [(SCHOOL, kit.announcement(now=NOW))]
    before = build_snapshot(first, pairs, 1, trusted)
    more = [*pairs, (PRACTICE, other.announcement(now=NOW))]
    after = build_snapshot(first, more, 2, trusted, before=before)
    assert after.encryption_keys[SCHOOL][0] is before.encryption_keys[SCHOOL][0]
    assert set(after.encryption_keys) == {SCHOOL, PRACTICE}
    revoked = revoke_agency(authority.state(), SCHOOL, now=NOW, thumbprint=kit.encryption_jwk["kid"])
    later = build_snapshot(authority.sign(now=NOW, changed=revoked).body, more, 3, trusted, before=after)
    assert set(later.encryption_keys) == {PRACTICE}
    assert build_snapshot(first, [], 4, trusted, before=after).encryption_keys == {}
