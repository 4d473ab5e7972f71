"""Private keys are encrypted at rest, rotate weekly, and die."""

import fcntl
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.gateway.identity import sealed_secrets
from adapters.gateway.identity.keystore import KeyLifetimes, Keystore
from adapters.gateway.identity.sealed_secrets import KeyEncryptionKey, read_key_encryption_key, write_new_key_file
from schemas.canonical import encode_base64url
from schemas.errors import ConfigInvalid, DependencyUnavailable
from schemas.signed_directory import read_key_announcement

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
AGENCY = "csc.marchshire"
KEK = KeyEncryptionKey(key=bytes(32))
LIFETIMES = KeyLifetimes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keystore.json"


def test_it_opens_again_with_the_same_keys_and_holds_none_in_clear(path: Path) -> None:
    made = Keystore.create(path, AGENCY, KEK)
    made.rotate_encryption_key(NOW, LIFETIMES)
    made.keep_pepper("p1", b"s" * 32)
    opened = Keystore.open(path, AGENCY, KEK)
    assert opened.api_key() == made.api_key()
    assert opened.public_signing_jwks() == made.public_signing_jwks()
    assert opened.store_key() == made.store_key()
    assert opened.pepper() == ("p1", b"s" * 32)
    data = path.read_bytes()
    for secret in (
        made.api_key()["d"],
        made.witness_keys()[0]["d"],
        made.witness_keys()[1]["priv"],
        encode_base64url(made.store_key()),
        encode_base64url(b"s" * 32),
    ):
        assert secret.encode() not in data
    assert path.stat().st_mode & 0o777 == 0o600


def test_wrong_key_other_agency_or_change_does_not_open(path: Path) -> None:
    Keystore.create(path, AGENCY, KEK)
    with pytest.raises(ConfigInvalid):
        Keystore.open(path, AGENCY, KeyEncryptionKey(key=b"x" * 32))
    with pytest.raises(ConfigInvalid):
        Keystore.open(path, "gp.millbrook", KEK)
    outer = json.loads(path.read_bytes()) | {"agency": "gp.millbrook"}
    path.write_text(json.dumps(outer))
    with pytest.raises(ConfigInvalid):
        Keystore.open(path, "gp.millbrook", KEK)


def test_an_existing_keystore_is_never_overwritten(path: Path) -> None:
    Keystore.create(path, AGENCY, KEK)
    before = path.read_bytes()
    with pytest.raises(ConfigInvalid):
        Keystore.create(path, AGENCY, KEK)
    assert path.read_bytes() == before


def test_a_passphrase_opens_it_and_another_does_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_secrets, "SCRYPT_COST", {"n": 2**8, "r": 8, "p": 1})
    Keystore.create(path, AGENCY, KeyEncryptionKey(passphrase=b"correct horse"))
    Keystore.open(path, AGENCY, KeyEncryptionKey(passphrase=b"correct horse"))
    with pytest.raises(ConfigInvalid):
        Keystore.open(path, AGENCY, KeyEncryptionKey(passphrase=b"wrong horse!"))
    with pytest.raises(ConfigInvalid):
        Keystore.open(path, AGENCY, KEK)


def test_the_key_file_must_be_private_and_of_its_form(tmp_path: Path) -> None:
    file = tmp_path / "kek"
    made = write_new_key_file(file)
    assert read_key_encryption_key(file, None) == made
    file.chmod(0o640)
    with pytest.raises(ConfigInvalid):
        read_key_encryption_key(file, None)
    file.chmod(0o600)
    file.write_text("short")
    with pytest.raises(ConfigInvalid):
        read_key_encryption_key(file, None)
    with pytest.raises(ConfigInvalid):
        read_key_encryption_key(None, None)


def test_encryption_keys_rotate_weekly_and_old_ones_die_after_queue_limit_and_grace(path: Path) -> None:
    keystore = Keystore.create(path, AGENCY, KEK)
    assert keystore.rotate_encryption_key(NOW, LIFETIMES)
    assert not keystore.rotate_encryption_key(NOW + timedelta(days=6), LIFETIMES)
    assert keystore.rotate_encryption_key(NOW + timedelta(days=7), LIFETIMES)
    first = list(keystore.encryption_private_jwks(NOW + timedelta(days=7)))[-1]
    dies = NOW + LIFETIMES.announced + LIFETIMES.kept_after
    assert first in keystore.encryption_private_jwks(dies - timedelta(seconds=1))
    assert first not in keystore.encryption_private_jwks(dies)
    keystore.rotate_encryption_key(dies, LIFETIMES)
    assert first not in Keystore.open(path, AGENCY, KEK).encryption_private_jwks(NOW)  # destroyed, not only hidden


def test_announcements_are_signed_by_the_identity_and_remembered(path: Path) -> None:
    keystore = Keystore.create(path, AGENCY, KEK)
    keystore.rotate_encryption_key(NOW, LIFETIMES)
    [(kid, announcement)] = keystore.announcements()
    key = read_key_announcement(announcement, AGENCY, [keystore.signing_keys().public])
    assert key.kid == kid
    assert "priv" not in key.jwk
    keystore.mark_announced(kid)
    assert Keystore.open(path, AGENCY, KEK).announcements() == []


def test_a_keystore_from_before_ml_dsa_cosignatures_opens_and_gets_the_second_key_when_it_is_enrolled_again(
    path: Path,
) -> None:
    made = Keystore.create(path, AGENCY, KEK)
    with made._sealed.changing() as secrets:
        del secrets["witness_ml_dsa_44"]
    old = Keystore.open(path, AGENCY, KEK)
    (first,) = old.witness_keys()
    old.complete_witness_keys()
    old.complete_witness_keys()
    opened = Keystore.open(path, AGENCY, KEK)
    assert opened.witness_keys() == old.witness_keys()
    assert [jwk["alg"] for jwk in opened.witness_keys()] == ["Ed25519", "ML-DSA-44"]
    assert opened.witness_keys()[0] == first


def test_what_another_process_writes_is_seen_and_never_written_over(path: Path) -> None:
    """``safelane gateway enrol`` beside a gateway that serves: neither loses the other's keys."""
    Keystore.create(path, AGENCY, KEK)
    serving, enrolling = (Keystore.open(path, AGENCY, KEK) for _ in range(2))
    with enrolling._sealed.changing() as secrets:
        del secrets["witness_ml_dsa_44"]
    assert [jwk["alg"] for jwk in serving.witness_keys()] == ["Ed25519"]
    serving.rotate_encryption_key(NOW, LIFETIMES)
    enrolling.complete_witness_keys()
    enrolling.rotate_encryption_key(NOW + timedelta(days=7), LIFETIMES)
    enrolling.keep_pepper("p2", b"t" * 32)
    assert serving.witness_keys() == enrolling.witness_keys()
    assert [jwk["alg"] for jwk in serving.witness_keys()] == ["Ed25519", "ML-DSA-44"]
    for kid, _ in serving.announcements():
        serving.mark_announced(kid)
    both = (serving, enrolling, Keystore.open(path, AGENCY, KEK))
    assert [len(keystore.encryption_private_jwks(NOW)) for keystore in both] == [2, 2, 2]
    assert [keystore.pepper() for keystore in both] == [("p2", b"t" * 32)] * 3
    assert [keystore.announcements() for keystore in both] == [[]] * 3


def test_changes_of_many_at_once_are_all_kept(path: Path) -> None:
    keystores = [Keystore.create(path, AGENCY, KEK), *(Keystore.open(path, AGENCY, KEK) for _ in range(7))]

    def add(number: int) -> None:
        with keystores[number]._sealed.changing() as secrets:
            secrets[f"added {number}"] = number

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    assert sum(name.startswith("added") for name in Keystore.open(path, AGENCY, KEK)._current()) == 8


def test_a_process_that_is_stuck_with_the_lock_does_not_take_the_gateway_with_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystore = Keystore.create(path, AGENCY, KEK)
    monkeypatch.setattr(sealed_secrets, "LOCK_SECONDS", 0.1)
    stuck = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(stuck, fcntl.LOCK_EX)
        with pytest.raises(DependencyUnavailable, match="end it, and try again"):
            keystore.rotate_encryption_key(NOW, LIFETIMES)
    finally:
        os.close(stuck)
    keystore.rotate_encryption_key(NOW, LIFETIMES)
    assert len(keystore.encryption_private_jwks(NOW)) == 1


def test_a_change_that_fails_halfway_changes_nothing(path: Path) -> None:
    keystore = Keystore.create(path, AGENCY, KEK)
    before, file = keystore.witness_keys(), path.read_bytes()

    def fail() -> None:
        with keystore._sealed.changing() as secrets:
            del secrets["witness"]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (keystore.witness_keys(), path.read_bytes()) == (before, file)


def test_another_identitys_keystore_in_its_place_is_refused(path: Path, tmp_path: Path) -> None:
    keystore = Keystore.create(path, AGENCY, KEK)
    other = tmp_path / "other.json"
    Keystore.create(other, AGENCY, KEK)
    other.replace(path)
    with pytest.raises(ConfigInvalid):
        keystore.api_key()
    with pytest.raises(ConfigInvalid):
        keystore.complete_witness_keys()
    path.unlink()
    assert keystore.public_signing_jwks() != Keystore.create(path, AGENCY, KEK).public_signing_jwks()
