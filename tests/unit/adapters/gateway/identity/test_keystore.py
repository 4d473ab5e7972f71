"""Private keys are encrypted at rest, rotate weekly, and die."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.gateway.identity import keystore as keystore_module
from adapters.gateway.identity.keystore import (
    KeyEncryptionKey,
    KeyLifetimes,
    Keystore,
    read_key_encryption_key,
    write_new_key_file,
)
from schemas.canonical import encode_base64url
from schemas.errors import ConfigInvalid
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
    monkeypatch.setattr(keystore_module, "SCRYPT_COST", {"n": 2**8, "r": 8, "p": 1})
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
    made._write({name: value for name, value in made._secrets.items() if name != "witness_ml_dsa_44"})
    old = Keystore.open(path, AGENCY, KEK)
    (first,) = old.witness_keys()
    old.complete_witness_keys()
    old.complete_witness_keys()
    opened = Keystore.open(path, AGENCY, KEK)
    assert opened.witness_keys() == old.witness_keys()
    assert [jwk["alg"] for jwk in opened.witness_keys()] == ["Ed25519", "ML-DSA-44"]
    assert opened.witness_keys()[0] == first
